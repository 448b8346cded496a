#pragma once

#include <napi.h>

namespace seedbed::binding {

Napi::Value create_image_set(const Napi::CallbackInfo& info);     // ({ images, labels, classes }) -> handle
Napi::Value image_set_info(const Napi::CallbackInfo& info);       // (handle) -> { length, classes, bytes }

Napi::Value create_classifier(const Napi::CallbackInfo& info);    // (config with seed, or with weights) -> handle
Napi::Value classifier_info(const Napi::CallbackInfo& info);      // (handle) -> config and parameter count
Napi::Value classifier_adapter(const Napi::CallbackInfo& info);   // (handle) -> { factors, head } or undefined
Napi::Value classifier_fingerprint(const Napi::CallbackInfo& info);  // (handle) -> hash of the weights below the head, without the adapter
Napi::Value classifier_weights(const Napi::CallbackInfo& info);   // (handle) -> named tensors
Napi::Value save_classifier(const Napi::CallbackInfo& info);      // (handle, { path, dtype, metadata })
Napi::Value train_classifier(const Napi::CallbackInfo& info);     // (handle, options with train, synthetic and validation, listener) -> job
Napi::Value predict_classifier(const Napi::CallbackInfo& info);   // (handle, { images, ... }, listener) -> job of logits
Napi::Value evaluate_classifier(const Napi::CallbackInfo& info);  // (handle, { data, ... }, listener) -> job

// Disposes `value` if it is a classifier.
bool dispose_classifier(const Napi::Value& value);

// Parts of training on their own, for tests against references.
Napi::Value lr_at(const Napi::CallbackInfo& info);                // (schedule, step) -> number
Napi::Value mix_batch(const Napi::CallbackInfo& info);            // ({ pixels, labels, mix, smoothing, classes }) -> { pixels, targets }
Napi::Value apply_augment_op(const Napi::CallbackInfo& info);     // ({ image, op, magnitude, negative, fill }) -> image
Napi::Value resize_image(const Napi::CallbackInfo& info);         // ({ image, width, height, filter }) -> image
Napi::Value canny_edges(const Napi::CallbackInfo& info);          // ({ image, sigma, low, high }, listener) -> job of an image
Napi::Value augment_images(const Napi::CallbackInfo& info);       // ({ images, augment, size, mean, std, seed, threads }, listener) -> tensor [N, 3, size, size]

}  // namespace seedbed::binding
