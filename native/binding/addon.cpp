#include <napi.h>

#include "clip_binding.h"
#include "diffusion_binding.h"
#include "environment.h"
#include "errors.h"
#include "family_binding.h"
#include "fractal_binding.h"
#include "kernel_binding.h"
#include "lora_binding.h"
#include "metrics_binding.h"
#include "pretrain_binding.h"
#include "sampler_binding.h"
#include "system_binding.h"
#include "train_binding.h"
#include "parallel/openmp_team.h"

namespace seedbed::binding {

namespace {

using Function = Napi::Value (*)(const Napi::CallbackInfo&);

struct Export {
  const char* name;
  Function function;
};

// Everything JavaScript can call. `lib/native.ts` holds the same list as types.
constexpr Export kExports[] = {
    {"systemInfo", system_info},
    {"nameTables", name_tables},
    {"measureMatmul", measure_matmul},
    {"cancelJob", cancel_job},
    {"stopJobs", stop_jobs},
    {"answerJob", answer_job},
    {"dispose", dispose_handle},
    {"readSafetensors", read_safetensors},
    {"writeSafetensors", write_safetensors},

    {"sampleIfs", sample_ifs},
    {"describeIfs", describe_ifs},
    {"perturbIfs", perturb_ifs},
    {"weighIfs", weigh_ifs},
    {"mapSequence", map_sequence},
    {"makeFamily", make_family},
    {"renderFractals", render_fractals},
    {"fractalPictures", fractal_pictures},
    {"searchSystems", search_systems},
    {"fractalInstances", fractal_instances},
    {"drawContourClasses", draw_contour_classes},
    {"drawContours", draw_contours},
    {"drawImageCopy", draw_image_copy},
    {"drawPicture", draw_picture},

    {"createImageSet", create_image_set},
    {"imageSetInfo", image_set_info},
    {"createClassifier", create_classifier},
    {"classifierInfo", classifier_info},
    {"classifierAdapter", classifier_adapter},
    {"classifierFingerprint", classifier_fingerprint},
    {"classifierWeights", classifier_weights},
    {"saveClassifier", save_classifier},
    {"trainClassifier", train_classifier},
    {"predictClassifier", predict_classifier},
    {"evaluateClassifier", evaluate_classifier},

    {"createClip", create_clip},
    {"clipInfo", clip_info},
    {"encodeClipTexts", encode_clip_texts},
    {"encodeClipImages", encode_clip_images},
    {"createClipClassifier", create_clip_classifier},
    {"clipClassifierFactors", clip_classifier_factors},
    {"trainClipClassifier", train_clip_classifier},
    {"predictClipClassifier", predict_clip_classifier},

    {"loadDiffusion", load_diffusion},
    {"diffusionInfo", diffusion_info},
    {"diffusionWeights", diffusion_weights},
    {"saveDiffusion", save_diffusion},
    {"encodeText", encode_text},
    {"encodeVision", encode_vision},
    {"predictNoise", predict_noise},
    {"encodePixels", encode_pixels},
    {"decodeLatents", decode_latents},

    {"addLora", add_lora},
    {"changeLora", change_lora},
    {"removeLora", remove_lora},
    {"listLoras", list_loras},
    {"activeLoras", active_loras},
    {"loraPlaceholders", lora_placeholders},
    {"trainLora", train_lora},
    {"loraLayers", lora_layers},

    {"loadJudge", load_judge},
    {"judgePictures", judge_pictures},
    {"frechetDistance", frechet_distance},
    {"kernelDistance", kernel_distance},
    {"precisionRecall", precision_recall},
    {"nearestRows", nearest_rows},
    {"rankRows", rank_rows},

    {"trainAutoencoder", train_autoencoder},
    {"trainClip", train_clip},
    {"trainDiffusion", train_diffusion},

    {"generate", generate},
    {"invert", invert},
    {"replayInversion", replay_inversion},
    {"planSampling", plan_sampling},
    {"sampleLatents", sample_latents},

    {"lrAt", lr_at},
    {"mixBatch", mix_batch},
    {"applyAugmentOp", apply_augment_op},
    {"resizeImage", resize_image},
    {"cannyEdges", canny_edges},
    {"augmentImages", augment_images},

    {"vectorCodes", vector_codes},
    {"attention", attention},
    {"groupNorm", group_norm},
    {"geglu", geglu},
    {"changePrecision", change_precision},
    {"trainedLinear", trained_linear},
    {"lowRank", low_rank},
    {"trainedLowRank", trained_low_rank},
    {"emulateBlocks", emulate_blocks},
    {"frozenConvolution", frozen_convolution},
    {"winogradConvolution", winograd_convolution},
    {"winogradFilterGradient", winograd_filter_gradient},
};

// Of the JavaScript thread.
struct TeamEnd {
  ~TeamEnd() { end_openmp_team(); }
};

// Calls an export; whatever it throws becomes one JavaScript error.
Napi::Value call(const Napi::CallbackInfo& info) {
  const TeamEnd end;
  try {
    return static_cast<const Export*>(info.Data())->function(info);
  } catch (...) {
    throw to_js_error(info.Env(), std::current_exception());
  }
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment(env));
  for (const Export& row : kExports) exports.Set(row.name, Napi::Function::New(env, call, row.name, const_cast<Export*>(&row)));
  return exports;
}

}  // namespace

}  // namespace seedbed::binding

static Napi::Object initialise_addon(Napi::Env env, Napi::Object exports) { return seedbed::binding::initialise(env, exports); }

NODE_API_MODULE(seedbed, initialise_addon)
