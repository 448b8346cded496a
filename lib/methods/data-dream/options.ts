import { z } from 'zod';
import { Dataset } from '../../data/dataset.js';
import { Diffusion } from '../../diffusion/diffusion.js';
import { generateSchema } from '../../diffusion/generate-options.js';
import { abortSignal, positiveInt, seed, share } from '../../options.js';
import { sentenceFields, sentencesAbout, type Sentences } from '../../sentences.js';
import { MODEL_NAMES } from '../../train-options.js';

const dataset = z.union([z.string().min(1), z.instanceof(Dataset)], { error: 'a path or a dataset' });
const { sampler } = generateSchema.shape;

/** How the model learns the pictures: LoRA factors in the attention of UNet and text encoder. */
const adaptSchema = z.strictObject({
  /** Inner width of the factors. Default 16. */
  rank: positiveInt.max(4096).default(16),
  /** Passes over the pictures. Default 200. */
  epochs: positiveInt.default(200),
  /** Updates, instead of passes. */
  steps: positiveInt.optional(),
  /** Pictures per update. Default 8, or as many as there are. */
  batchSize: positiveInt.max(1024).optional(),
  /** Default 1e-4. */
  lr: z.number().min(0).max(1000).default(1e-4),
  /** After the warm-up. Default cosine. */
  lrSchedule: z.enum(['cosine', 'constant']).default('cosine'),
  /** Updates in which the rate grows. Default 100, at most a quarter of all. */
  warmupSteps: z.int().min(0).optional(),
  /** Adapt the text encoder too. Default true. */
  textEncoder: z.boolean().default(true),
  /** Which square of a picture. Default random. */
  crop: z.enum(['random', 'center']).default('random'),
  /** Half of the uses left-right. Default false: text and road signs have a side. */
  flip: z.boolean().default(false),
  /** Pixels of a side. Default: the model's own. */
  size: positiveInt.optional(),
});

const generateFields = z.strictObject({
  /** Pictures per class. Default 500. */
  perClass: positiveInt.max(10_000_000).default(500),
  /** Of the sampler. Default 50. */
  steps: positiveInt.max(1000).default(50),
  /** Low, so that pictures differ. Default 2. */
  guidanceScale: z.number().min(0).max(1000).default(2),
  /** Default: the model's own. */
  sampler,
  /** Pictures computed at once; part of the last bits of the result. Default 8. */
  batchSize: positiveInt.max(1024).default(8),
  /**
   * `perImage`: a picture's noise follows from the seed, its class and its number, whatever else is generated. `perClassRestart`: every class begins with the
   * same noise, as the released code. Default perImage.
   */
  seedPolicy: z.enum(['perImage', 'perClassRestart']).default('perImage'),
  /** What a picture begins with: `noise`, or `real`: a real picture of its class, each in turn, noised as far as `strength` says. Default noise. */
  init: z.enum(['noise', 'real']).default('noise'),
  /** With `init: 'real'`: share of the steps that are taken; the less, the more of the real picture stays. Default 0.8. */
  strength: share.default(0.8),
});

const filterSchema = z.strictObject({
  /** Drop pictures that look like an earlier one of their class, or like a real one. Default true. */
  twins: z.boolean().default(true),
  /**
   * Share of each class that is kept, those first that a classifier of the real pictures is surest of. It is as good as that classifier: of few pictures
   * not very. Default 1: all.
   */
  keep: share.refine((value) => value > 0, 'a number above 0').default(1),
});

const compareSchema = z.strictObject({
  /**
   * A CLIP to adapt with LoRA in both towers, the paper's classifier: what `loadClip` takes. It is also asked as it is ("zero-shot"). Default: none, a vision transformer
   * learns instead.
   */
  clip: z.string().min(1).optional(),
  /** Architecture by name. Default: that of `init`. */
  model: z.enum(MODEL_NAMES).optional(),
  /** Where every classifier begins: a folder, a shipped name, or `random`. Default `fractal-vit-nano`, with `model` random. */
  init: z.string().min(1).optional(),
  /** Updates of each classifier, the same for all. Default 300. */
  steps: positiveInt.default(300),
  /** Default 32. */
  batchSize: z.int().min(2).max(65536).default(32),
  /** Default 1e-3, with `clip` 1e-4. */
  lr: z.number().min(0).optional(),
  /** Weight of the real half of each batch, lambda. Default 0.8. */
  realWeight: share.default(0.8),
  /** Runs of each way to train, paired. Default 5. */
  seeds: positiveInt.max(1000).default(5),
  /** Numbers of generated pictures per class to train with too, for a curve that shows how many are enough: [10, 50, 100]. Default none. */
  sweep: z.array(positiveInt).default([]),
});

export const dataDreamSchema = z.strictObject({
  /**
   * What is adapted: a loaded model without active adapters, or what `loadDiffusion` takes. While pictures are made an adapter is active on it; afterwards it is as it was.
   * Default: the one that comes with the package.
   */
  model: z.union([z.string().min(1), z.instanceof(Diffusion)], { error: 'a model, or the place of one' }).default('seedling'),
  /** Labelled pictures, a few of each class. */
  data: dataset,
  /** Pictures to say on what it gained. They are looked at once, at the end. Default: some of `data` are held out. */
  test: dataset.optional(),
  /** Without `test`: share of each class that is held out, where all classes have at least 4 pictures and one can be. 0: no comparison. Default 0.25. */
  holdOut: share.default(0.25),
  /** Folder of adapters, pictures and results. A run that was stopped goes on there. */
  out: z.string().min(1),
  /** One adapter for each class, or one for all. Default class. */
  mode: z.enum(['class', 'dataset']).default('class'),
  /** Pictures per class to learn from. Default: all. */
  shots: positiveInt.optional(),
  ...sentenceFields,
  /** Sentences about a picture, with {class} and perhaps {domain}; of several, picture i gets the i-th in turn. Default 'a {domain}photo of a {class}'. */
  template: sentenceFields.template.default('a {domain}photo of a {class}'),
  adapt: adaptSchema.prefault({}),
  generate: generateFields.prefault({}),
  /** What is left out of the generated pictures; false: nothing. */
  filter: z.union([z.literal(false), filterSchema]).prefault({}),
  /** Trains classifiers with and without the generated pictures; false: not at all. */
  compare: z.union([z.literal(false), compareSchema]).prefault({}),
  /** `webdataset`: the pictures that stay are written into tars below `shards` too. Default imagefolder. */
  format: z.enum(['imagefolder', 'webdataset']).default('imagefolder'),
  /** Part of the classes: shard `index` (from 1) of `count` adapts and generates every count-th one. When all are done, a run without `shard` goes on. */
  shard: z.strictObject({ index: positiveInt, count: positiveInt }).optional(),
  seed: seed.default(0),
  threads: positiveInt.max(1024).optional(),
  signal: abortSignal.optional(),
});

export type DataDreamOptions = z.input<typeof dataDreamSchema>;
export type DataDreamSettings = z.output<typeof dataDreamSchema>;

/** The sentence about picture `i` of a class. */
export function promptOf(sentences: Sentences, className: string, i: number): string {
  const all = sentencesAbout(className, sentences);
  return all[i % all.length] as string;
}
