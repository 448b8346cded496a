#pragma once

#include "fields.h"
#include "train/autoencoder_training.h"

// Options of training from pictures and captions alone.

namespace seedbed::binding {

train::AutoencoderOptions parse_autoencoder_options(const Fields& fields);

}  // namespace seedbed::binding
