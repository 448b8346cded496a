import { z } from 'zod';
import { augmentSchema } from '../../augment.js';
import { Dataset } from '../../data/dataset.js';
import { Diffusion } from '../../diffusion/diffusion.js';
import { generateSchema } from '../../diffusion/generate-options.js';
import { DTYPES } from '../../diffusion/load.js';
import { abortSignal, defined, positiveInt, seed, share } from '../../options.js';
import { sentenceFields, sentencesAbout, type Sentences } from '../../sentences.js';
import { MODEL_NAMES } from '../../train-options.js';

const dataset = z.union([z.string().min(1), z.instanceof(Dataset)], { error: 'a path or a dataset' });
const { sampler } = generateSchema.shape;
const oneOrMore = <Schema extends z.ZodType<number>>(schema: Schema) => z.union([schema, z.array(schema).min(1)]).transform((value) => (Array.isArray(value) && value.length === 1 ? (value[0] as number) : value));

/** How the model learns the pictures: LoRA factors in the attention of UNet and text encoder. Where two defaults are named, the second is that of `mode: 'picture'`. */
const adaptSchema = z.strictObject({
  /** Inner width of the factors. Default 16, 2. */
  rank: positiveInt.max(4096).optional(),
  /** Passes over the pictures. Default 200, 600. */
  epochs: positiveInt.optional(),
  /** Updates, instead of passes. */
  steps: positiveInt.optional(),
  /** Pictures per update. Default 8, or as many as there are. */
  batchSize: positiveInt.max(1024).optional(),
  /** Default 1e-4, 1e-3. */
  lr: z.number().min(0).max(1000).optional(),
  /** After the warm-up. Default cosine. */
  lrSchedule: z.enum(['cosine', 'constant']).default('cosine'),
  /** Updates in which the rate grows. Default 100, at most a quarter of all; 10. */
  warmupSteps: z.int().min(0).optional(),
  /** Adapt the text encoder too. Default true, false. */
  textEncoder: z.boolean().optional(),
  /** Which square of a picture. Default random, center. */
  crop: z.enum(['random', 'center']).optional(),
  /** Half of the uses left-right. Default false: text and road signs have a side. */
  flip: z.boolean().default(false),
  /** Pixels of a side. Default: the model's own. */
  size: positiveInt.optional(),
});

const generateFields = z.strictObject({
  /** Pictures per class. Default 500. */
  perClass: positiveInt.max(10_000_000).default(500),
  /** Sentences to ask for pictures with, where not those that were learnt: a bank of backgrounds, say. Picture i gets the i-th in turn. */
  template: sentenceFields.template.optional(),
  /** What to ask for in place of a class's name: things of a kind, say, that its few pictures do not show. Takes the place of captions too. Default: `names` of the run. */
  names: sentenceFields.names,
  /** Of the sampler. Default 50. */
  steps: positiveInt.max(1000).default(50),
  /** Low, so that pictures differ. Of several, from variety to obedience say, each holds for `batchSize` pictures of a class in turn. Default 2. */
  guidanceScale: oneOrMore(z.number().min(0).max(1000)).default(2),
  /** Default: the model's own. */
  sampler,
  /**
   * Numbers to draw in, as `loadDiffusion` takes them; adapters are trained in float32. A run that goes on keeps what it began with. Default: auto, the fastest here; with `shard` float32, which is
   * the same on every machine. A loaded model draws, and learns, in its own.
   */
  dtype: z.enum(DTYPES).optional(),
  /** Pictures computed at once; part of the last bits of the result. Default 8. */
  batchSize: positiveInt.max(1024).default(8),
  /**
   * `perImage`: a picture's noise follows from the seed, its class and its number, whatever else is generated. `perClassRestart`: every class begins with the
   * same noise, as the released code. Default perImage.
   */
  seedPolicy: z.enum(['perImage', 'perClassRestart']).default('perImage'),
  /** What a picture begins with: `noise`, or `real`: a real picture of its class, each in turn, noised as far as `strength` says. Default noise. */
  init: z.enum(['noise', 'real']).default('noise'),
  /** With `init: 'real'`: share of the steps that are taken; the less, the more of the real picture stays. Of several, as with `guidanceScale`. Default 0.8. */
  strength: oneOrMore(share).default(0.8),
});

const someShare = share.refine((value) => value > 0, 'a number above 0').default(1);

const filterSchema = z.strictObject({
  /** Drop pictures that look like an earlier one of their class, or like a real one. Default true. */
  twins: z.boolean().default(true),
  /** Share of each class that is kept, those first that `judge` is surest of. Default 1: all. */
  keep: someShare,
  /**
   * Drop those of whose class `judge` is less sure than of this share of the real pictures, each judged by a classifier that did not learn from it (cross-fitted on up to four
   * parts; these classifiers together judge the generated ones). 0.05 drops what looks stranger than all but a twentieth of the real ones. Default 0: none.
   */
  agreementPercentile: share.default(0),
  /**
   * `classifier`: one that learns from the real pictures, as good as they are many; `clip`: the dual encoder `clip`, asked with the class's sentences, as good as it knows
   * them. Default classifier.
   */
  judge: z.enum(['classifier', 'clip']).default('classifier'),
  /** Share of each class that is kept, those first that are nearest to one of its real pictures as `clip` sees them. Default 1: all. */
  near: someShare,
  /**
   * Drop those that are farther from the nearest real picture of their class than this share of the real ones are from the nearest other, as `clip` sees them. 0.95 drops what
   * lies farther off than nearly all real ones do. Default 1: none.
   */
  distancePercentile: share.default(1),
  /** At most so many of each class, for variety: one after the other the one that is farthest from all chosen before, as `clip` sees them. Default all. */
  diverse: positiveInt.optional(),
  /** What `loadClip` takes. Default seedling. */
  clip: z.string().min(1).default('seedling'),
});

/** Views of few pictures. */
export const PLAIN = { scale: [0.5, 1], flip: 0.5 } satisfies z.input<typeof augmentSchema>;
/** Views that differ more, for one or two pictures of a class. */
export const VARIED = { scale: [0.25, 1], flip: 0.5, randAugment: true } satisfies z.input<typeof augmentSchema>;

/** In place of a value: the one that real pictures held out are best answered with. */
export const CHOOSE = 'choose';

const compareSchema = z.strictObject({
  /**
   * A CLIP to adapt with LoRA in both towers, the paper's classifier: what `loadClip` takes. It is also asked as it is ("zero-shot"). Default: none, a small network of
   * pictures learns instead.
   */
  clip: z.string().min(1).optional(),
  /** Architecture by name. Default: that of `init`. */
  model: z.enum(MODEL_NAMES).optional(),
  /** Where every classifier begins: a folder, a shipped name, or `random`. Default `fractal-resnet-nano`, with `model` random. */
  init: z.string().min(1).optional(),
  /** Updates of each classifier, the same for all. Default 300. */
  steps: positiveInt.default(300),
  /** Default 32. */
  batchSize: z.int().min(2).max(65536).default(32),
  /** Default 1e-3, with `clip` 1e-4. */
  lr: z.number().min(0).optional(),
  /**
   * Weight of the real half of each batch, lambda; with 1 generated pictures are left out. `choose`: 0.5 or 0.8 where that answers better about real pictures that are held out, by more than the standard error, else 1: cross-validation on two halves of the
   * real pictures, without the generated ones that begin with a held one or were made with its own adapter. Adapters of classes, captions and filters have seen the held pictures all the same. Where a class has one picture, or with `mode: 'picture'` two or
   * three, that cannot be tried, and it is 0.5. Default 0.8.
   */
  realWeight: z.union([share, z.literal(CHOOSE)]).default(0.8),
  /**
   * Views of pictures where generated ones are among them, as `trainClassifier` makes them; with others than the default, one more classifier learns from such views of the real ones alone. `choose`: squares of a quarter to all of a picture with RandAugment
   * where classifiers of real pictures alone answer better with them about held ones, as with `realWeight` and before it, else the default; where a class has one picture, the former. Default: squares of half to all of a picture, mirrored at times.
   */
  augment: z.union([augmentSchema, z.literal(CHOOSE)]).prefault(PLAIN),
  /** Runs of each way to train, paired. Default 5. */
  seeds: positiveInt.max(1000).default(5),
  /** Also train without generated pictures, and from these alone, and ask a CLIP as it is. Without that nothing says what they gained: to compare settings with each other, several times as fast. Default true. */
  rivals: z.boolean().default(true),
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
  /**
   * One adapter for each class, one for all, or one for each picture, of which two of a class are put together, half of each, when pictures are made: every pair as often
   * (LoFT, github.com/ExplainableML/LoFT). Default class.
   */
  mode: z.enum(['class', 'dataset', 'picture']).default('class'),
  /** Pictures per class to learn from. Default: all. */
  shots: positiveInt.optional(),
  ...sentenceFields,
  /** Sentences about a picture, with {class} and perhaps {domain}; of several, picture i gets the i-th in turn. Default 'a {domain}photo of a {class}'. */
  template: sentenceFields.template.default('a {domain}photo of a {class}'),
  /** Use pictures' own captions, where they have some, in place of `template`; generated pictures get those of their class in turn. Default true. */
  captions: z.boolean().default(true),
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

const PAPER = { rank: 16, epochs: 200, lr: 1e-4, textEncoder: true, crop: 'random' } as const;
const LOFT = { rank: 2, epochs: 600, lr: 1e-3, warmupSteps: 10, batchSize: 1, textEncoder: false, crop: 'center' } as const;

type Parsed = z.output<typeof dataDreamSchema>;
type Adapt = { [Name in keyof Parsed['adapt']]: Exclude<Parsed['adapt'][Name], undefined> };
export type DataDreamSettings = Omit<Parsed, 'adapt'> & { adapt: Adapt & Required<Pick<Adapt, keyof typeof PAPER>> };

/** With the defaults that depend on the mode. */
export const settingsOf = (parsed: Parsed): DataDreamSettings => ({ ...parsed, adapt: { ...(parsed.mode === 'picture' ? LOFT : PAPER), ...(defined(parsed.adapt) as Adapt) } });

/** Settings of the comparison. */
export type Compare = Exclude<DataDreamSettings['compare'], false>;

/** Name of the adapter of all classes together. */
export const ALL = 'all';

/** Names of the adapters of a class's pictures, with so many real ones. */
export function adaptersOf({ mode }: DataDreamSettings, className: string, shots: number): string[] {
  if (mode === 'dataset') return [ALL];
  return mode === 'class' ? [className] : Array.from({ length: shots }, (_, i) => `${className} ${i}`);
}

/** Who says how sure it is of a picture's class, if that is asked. */
export const judgeOf = (filter: DataDreamSettings['filter']): 'classifier' | 'clip' | undefined => (filter !== false && (filter.keep < 1 || filter.agreementPercentile > 0) ? filter.judge : undefined);

/** The dual encoder that is asked about pictures, if one is. */
export const clipOf = (filter: DataDreamSettings['filter']): string | undefined => (filter !== false && (filter.near < 1 || filter.distancePercentile < 1 || filter.diverse !== undefined || judgeOf(filter) === 'clip') ? filter.clip : undefined);

/** The sentence about picture `i` of a class. */
export function promptOf(sentences: Sentences, className: string, i: number): string {
  const all = sentencesAbout(className, sentences);
  return all[i % all.length] as string;
}
