import { clipTextJson, clipVisionJson, type ClipTextConfig, type ClipVisionConfig } from './clip-config.js';
import { unetJson, type UnetConfig } from './unet-config.js';
import { vaeJson, type VaeConfig } from './vae-config.js';

export { parseClipTextConfig, parseClipVisionConfig, type ClipTextConfig, type ClipVisionConfig } from './clip-config.js';
export { parseUnetConfig, usualUnet, type UnetConfig } from './unet-config.js';
export { parseVaeConfig, type VaeConfig } from './vae-config.js';

/** The sizes of a model's nets. */
export interface DiffusionConfig {
  unet: UnetConfig;
  vae: VaeConfig;
  textEncoder: ClipTextConfig;
  imageEncoder?: ClipVisionConfig;
}

/** The version whose fields the files below follow. */
const DIFFUSERS_VERSION = '0.42.1';

/**
 * The JSON files of a folder that diffusers' `StableDiffusionPipeline.from_pretrained` loads, by path in the folder; weights and
 * tokenizer lie beside them. `scheduler` is a scheduler_config.json, with its `_class_name`.
 */
export function toDiffusersConfig(config: DiffusionConfig, scheduler: Readonly<Record<string, unknown>>): Record<string, Record<string, unknown>> {
  const { unet, vae, textEncoder, imageEncoder } = config;
  const text = clipTextJson(textEncoder);
  const versioned = (json: Readonly<Record<string, unknown>>): Record<string, unknown> => ({ ...json, _diffusers_version: DIFFUSERS_VERSION });
  return {
    'model_index.json': {
      _class_name: 'StableDiffusionPipeline',
      _diffusers_version: DIFFUSERS_VERSION,
      feature_extractor: [null, null],
      image_encoder: imageEncoder === undefined ? [null, null] : ['transformers', 'CLIPVisionModelWithProjection'],
      requires_safety_checker: false,
      safety_checker: [null, null],
      scheduler: ['diffusers', scheduler['_class_name']],
      text_encoder: ['transformers', (text['architectures'] as string[])[0]],
      tokenizer: ['transformers', 'CLIPTokenizer'],
      unet: ['diffusers', 'UNet2DConditionModel'],
      vae: ['diffusers', 'AutoencoderKL'],
    },
    'unet/config.json': versioned(unetJson(unet)),
    'vae/config.json': versioned(vaeJson(vae)),
    'text_encoder/config.json': text,
    'scheduler/scheduler_config.json': versioned(scheduler),
    ...(imageEncoder !== undefined && { 'image_encoder/config.json': clipVisionJson(imageEncoder) }),
  };
}
