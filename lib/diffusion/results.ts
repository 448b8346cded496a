import type { Image } from '../image.js';
import type { NativeDiffusionInfo } from '../native.js';
import type { SamplerName } from '../sampler-options.js';
import type { Tensor } from '../tensor.js';
import type { AttentionRecord } from './attention.js';
import type { GenerationSettings } from './png-metadata.js';

export interface StepProgress {
  type: 'step';
  /** Finished steps of all batches. */
  step: number;
  steps: number;
  /** Noise left, standard deviation over the signal's scale. */
  sigma: number;
  /** With `previewEvery`. */
  preview?: Image[];
}

export interface WarningEvent {
  type: 'warning';
  message: string;
}

export type GenerateEvent = StepProgress | WarningEvent;

export interface Generated {
  images: Image[];
  /** [pictures, channels, h, w] before decoding. */
  latents: Tensor<'float32'>;
  /** Of each picture. */
  seeds: number[];
  /** What made each picture; `writeGenerationSettings` puts it into a PNG file. */
  settings: GenerationSettings[];
  /** With `attention.record`. */
  attention?: AttentionRecord[];
}

/** What `generate` would do. */
export interface GenerationPlan {
  /** Of the sampler; with `strength` fewer are taken. */
  steps: number;
  width: number;
  height: number;
  /** Of each picture. */
  seeds: number[];
  settings: GenerationSettings[];
}

/** The UNet's output; with `attention.record` what its attention layers looked at. */
export interface NoisePrediction extends Tensor<'float32'> {
  attention?: AttentionRecord[];
}

export interface Inversion {
  kind: 'ddim' | 'edit-friendly';
  steps: number;
  /** Timestep of each of `latents`. */
  timesteps: number[];
  /** x at each timestep, [1, channels, h, w] each; ddim: from the least noise to the most; edit-friendly: from the most to the least. */
  latents: Tensor<'float32'>[];
  /** edit-friendly: the noise of each step. */
  noises: Tensor<'float32'>[];
}

export interface DiffusionInfo extends NativeDiffusionInfo {
  model: string;
  /** What the UNet predicts: epsilon, v_prediction or sample. */
  predictionType: string;
  /** Pixels the model was trained at. */
  imageSize: number;
  /** Pixels per latent. */
  factor: number;
  latentChannels: number;
  crossAttentionDim: number;
  /** What `generate` uses unless told otherwise. */
  sampler: SamplerName;
}
