#pragma once

#include "fields.h"
#include "train/autoencoder_training.h"
#include "train/clip_training.h"
#include "train/diffusion_training.h"

// Options of training from pictures and captions alone.

namespace seedbed::binding {

train::AutoencoderOptions parse_autoencoder_options(const Fields& fields);
train::ClipOptions parse_clip_options(const Fields& fields);
train::DiffusionTrainOptions parse_diffusion_train_options(const Fields& fields);

}  // namespace seedbed::binding
