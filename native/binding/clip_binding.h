#pragma once

#include <napi.h>

// CLIP: embeddings of texts and pictures, and classifiers from sentences.

namespace seedbed::binding {

Napi::Value create_clip(const Napi::CallbackInfo& info);             // (options) -> clip
Napi::Value clip_info(const Napi::CallbackInfo& info);               // (clip) -> sizes
Napi::Value encode_clip_texts(const Napi::CallbackInfo& info);       // (clip, options with ids, listener) -> job -> [N, P]
Napi::Value encode_clip_images(const Napi::CallbackInfo& info);      // (clip, options with images, listener) -> job -> [N, P]
Napi::Value create_clip_classifier(const Napi::CallbackInfo& info);  // (clip, options with ids, classes and factors) -> classifier
Napi::Value clip_classifier_factors(const Napi::CallbackInfo& info);  // (classifier) -> { text, vision }
Napi::Value train_clip_classifier(const Napi::CallbackInfo& info);   // (classifier, options with train and synthetic, listener) -> job
Napi::Value predict_clip_classifier(const Napi::CallbackInfo& info);  // (classifier, options with images, listener) -> job -> [N, classes]
bool dispose_clip(const Napi::Value& value);

}  // namespace seedbed::binding
