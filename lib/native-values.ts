// What the addon sends: events, results and what loaded objects say of themselves.

import type { Image } from './image.js';
import type { ModelDtype, Tensor } from './tensor.js';

export interface ImageProgress {
  type: 'image';
  done: number;
  total: number;
}

/** Systems found so far by a search. */
export interface SystemProgress {
  type: 'system';
  done: number;
  total: number;
}

/** Parts of one picture. */
export interface PartProgress {
  type: 'part';
  done: number;
  total: number;
}

export interface StepEvent {
  type: 'step';
  /** Finished steps. */
  step: number;
  steps: number;
  /** Of the step's batch: mean cross-entropy in nats for classifiers, else what the run minimises. */
  loss: number;
  lr: number;
}

export interface EvaluationEvent {
  type: 'evaluation';
  step: number;
  /** Mean cross-entropy on the validation data, nats. */
  loss: number;
  /** Share of right answers on the validation data. */
  accuracy: number;
}

export interface CheckpointEvent {
  type: 'checkpoint';
  step: number;
}

export type TrainEvent = StepEvent | EvaluationEvent | CheckpointEvent;

export interface NativeTrainResult {
  steps: number;
  samples: number;
  losses: number[];
  evaluations: EvaluationEvent[];
  best?: EvaluationEvent;
}

interface ClassifierCounts {
  imageSize: number;
  width: number;
  classes: number;
  dropPath: number;
  parameters: number;
  /** Of its adapter; 0 without. */
  adapterParameters: number;
}

export interface VitInfo extends ClassifierCounts {
  type: 'vit';
  patchSize: number;
  depth: number;
  heads: number;
  mlpRatio: number;
}

export interface ResnetInfo extends ClassifierCounts {
  type: 'resnet';
  block: 'basic' | 'bottleneck';
  layers: [number, number, number, number];
  stem: 'large' | 'small';
}

export type NativeClassifierInfo = VitInfo | ResnetInfo;

/** One point of the noise process: x = sqrt(alphaCumprod) x0 + sqrt(1 - alphaCumprod) noise. */
export interface Level {
  /** As the network is told it; -1 past the last one. */
  timestep: number;
  /** sqrt((1 - alphaCumprod) / alphaCumprod). */
  sigma: number;
  alphaCumprod: number;
}

/** What a predictor is asked: x as the network sees it (variance preserving), float32 [batch, channels, height, width]. */
export interface PredictQuestion {
  x: Tensor<'float32'>;
  timestep: number;
  sigma: number;
}

export interface DiffusionStep {
  type: 'step';
  /** Finished steps. */
  step: number;
  steps: number;
  /** The noise that is left. */
  sigma: number;
}

export interface SystemInfo {
  builtForTorch: string;
  loadedTorch: string;
  cpuCapability: string;
  orbitKernel: string;
  /** Whether libtorch finds a GPU that it can use. */
  cuda: boolean;
}

export interface LoadEvent {
  type: 'load';
  /** The network that is read next. */
  part: string;
  done: number;
  total: number;
}

export interface NativeDiffusionInfo {
  parameters: number;
  bytes: number;
  dtype: ModelDtype;
  device: 'cpu' | 'cuda';
  unetParameters: number;
  vaeParameters: number;
  textEncoderParameters: number;
  /** Names that `attention` options refer to. */
  attentionLayers: string[];
}

/** An adapter of a loaded model. */
export interface LoraInfo {
  name: string;
  /** Strength of its calls, on top of alpha / rank. */
  scale: number;
  /** Whether it is part of the weights for now. */
  merged: boolean;
  unetLayers: number;
  textEncoderLayers: number;
  /** Numbers in its factors and embeddings. */
  parameters: number;
  /** Words of its textual-inversion embeddings, for prompts. */
  tokens: string[];
}

/** A word that stands for embeddings of an adapter: as many ids as it has vectors. */
export interface NativePlaceholder {
  token: string;
  firstId: number;
  vectors: number;
}

/** Pictures become latents before the first step. */
export interface EncodeEvent {
  type: 'encode';
  done: number;
  total: number;
}

/** Pictures that show what a training run has learnt so far. */
export interface NativeSampleEvent {
  type: 'sample';
  /** Finished steps. */
  step: number;
  steps: number;
  images: Image[];
}

export type LoraTrainEvent = StepEvent | CheckpointEvent | EncodeEvent | NativeSampleEvent;

export type NativeFactors = Record<string, { down: Tensor; up: Tensor; scale: number }>;

export interface NativeLoraResult {
  steps: number;
  samples: number;
  losses: number[];
  unet: NativeFactors;
  textEncoder: NativeFactors;
}

/** How well an autoencoder gives back pictures it did not learn from. */
export interface QualityEvent {
  type: 'evaluation';
  step: number;
  /** Mean absolute error of pixels in [-1, 1]. */
  error: number;
  /** Mean over the pictures of their peak signal-to-noise ratio, as 8-bit pictures, decibels. */
  psnr: number;
}

export type AutoencoderTrainEvent = StepEvent | CheckpointEvent | QualityEvent;

export interface NativeAutoencoderResult {
  training: { steps: number; samples: number; losses: number[]; evaluations: QualityEvent[] };
  weights: Record<string, Tensor>;
  mean: number[];
  deviation: number[];
}

/** Shares of pictures (or texts) whose own text (or picture) is the nearest of all, and among the five nearest. */
export interface Retrieval {
  top1: number;
  top5: number;
}

/** How often a held-out picture's caption is found among all. */
export interface RetrievalEvent extends Retrieval {
  type: 'evaluation';
  step: number;
}

export type ClipTrainEvent = StepEvent | CheckpointEvent | RetrievalEvent;

/** How well fixed noisy latents are understood, in mean square errors of x0. */
export interface CaptionCheck {
  type: 'check';
  step: number;
  /** By quarter of the timesteps, those with least noise first. */
  error: [number, number, number, number];
  /** Where nearly all is noise (the last tenth), with each picture's caption ... */
  right: number;
  /** ... and with that of another picture: no larger than `right` when captions are ignored. */
  shuffled: number;
}

export type DiffusionTrainEvent = StepEvent | CheckpointEvent | EncodeEvent | CaptionCheck;

export interface NativeDiffusionResult {
  steps: number;
  samples: number;
  losses: number[];
  check: CaptionCheck;
  weights: Record<string, Tensor>;
  textWeights: Record<string, Tensor>;
}

export interface NativeClipResult {
  training: { steps: number; samples: number; losses: number[]; evaluations: RetrievalEvent[] };
  weights: Record<string, Tensor>;
  logitScale: number;
  spread: number[];
  pictureToText?: Retrieval;
  textToPicture?: Retrieval;
}

/** What a tower of CLIP gives: states of all positions, that of the picture or text as a whole, and its projection. */
export interface ClipEncoding {
  states: Tensor<'float32'>;
  pooled: Tensor<'float32'>;
  projected?: Tensor<'float32'>;
}

/** The attention kernel by itself; the gradients are there when the output's gradient was given. */
/** What a kernel gives when it is handed the gradient of its output. */
export interface NativeGradients {
  out: Tensor;
  gradX: Tensor;
  gradWeight: Tensor;
  gradBias: Tensor;
  gradResidual: Tensor;
}

/** A kernel's output, and the gradients when the options hold one. */
export type WithGradients<O, Out = Tensor> = O extends { gradient: Tensor } ? NativeGradients : Out;

export interface NativeAttention {
  out: Tensor;
  forwardMs: number;
  gradQ?: Tensor;
  gradK?: Tensor;
  gradV?: Tensor;
  backwardMs?: number;
}
