import { z } from 'zod';
import { ArgumentError } from '../errors.js';
import { Job, runNative } from '../job.js';
import { native, type ImageProgress, type JudgeHandle } from '../native.js';
import { abortSignal, checkOptions, positiveInt } from '../options.js';
import { pictureTensor, type Pictures } from '../pretrain/pictures.js';
import { float32, type Tensor } from '../tensor.js';
import { threads } from '../threads.js';

const schema = z.strictObject({
  /** Default: all cores. */
  threads: positiveInt.max(1024).optional(),
  signal: abortSignal.optional(),
});

export type JudgeOptions = z.input<typeof schema>;

export interface Judgement {
  /** [N, 512]. */
  features: Tensor<'float32'>;
  /** Scores of ImageNet's classes, [N, 1000]. */
  logits: Tensor<'float32'>;
}

/** A network whose features stand for what pictures look like, and which had no part in making them. Holds native memory: `using` or `dispose()`. */
export class Judge implements Disposable {
  /** To be named beside every figure that its features gave. */
  readonly name = 'SqueezeNet 1.0 (ImageNet-1k)';
  readonly #handle: JudgeHandle;

  /** @internal */
  constructor(handle: JudgeHandle) {
    this.#handle = handle;
  }

  /** Features [N, 512] of pictures of one size, each resized to 227 x 227 as a whole: the channels of the last fire module, averaged. */
  features(pictures: Pictures, options: JudgeOptions = {}): Job<ImageProgress, Tensor<'float32'>> {
    return this.#judged(pictures, options, 'features', ({ features }) => features);
  }

  /** The same, and the scores of ImageNet's classes. */
  judge(pictures: Pictures, options: JudgeOptions = {}): Job<ImageProgress, Judgement> {
    return this.#judged(pictures, options, 'judge', (judgement) => judgement);
  }

  #judged<Result>(pictures: Pictures, options: JudgeOptions, name: string, choose: (judgement: Judgement) => Result): Job<ImageProgress, Result> {
    const o = checkOptions(schema, options, name);
    const call = { pictures: pictureTensor(pictures, 'pictures'), threads: threads(o.threads) };
    return new Job<ImageProgress, Result>(async ({ signal, emit }) => choose(await runNative<ImageProgress, Judgement>((listener) => native().judgePictures(this.#handle, call, listener), signal, emit)), o);
  }

  dispose(): void {
    native().dispose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * Loads SqueezeNet 1.0 (arXiv 1602.07360) from a safetensors file with torchvision's names, for weights that take blue, green and red minus
 * ImageNet's means. Throws `ERR_FILE_NOT_FOUND`, `ERR_FILE_FORMAT`, `ERR_WEIGHTS`.
 */
export function loadJudge(path: string): Judge {
  if (typeof path !== 'string' || path === '') throw new ArgumentError('Expected the path of a safetensors file for loadJudge');
  return new Judge(native().loadJudge({ path }));
}

const CELLS = 8; // per side
const DIRECTIONS = 8;
const PER_CELL = DIRECTIONS + 3;

/**
 * Features without a network, where there is none: in 8 x 8 cells, the strength of brightness gradients in 8 directions and the mean colour, [N, 704].
 * They see outlines and colours in their places, not things.
 */
export function gradientFeatures(pictures: Pictures): Tensor<'float32'> {
  const { data, shape } = pictureTensor(pictures, 'pictures');
  const [count = 0, height = 1, width = 1] = shape;
  const size = CELLS * CELLS * PER_CELL;
  const features = new Float32Array(count * size);
  const area = (width * height) / CELLS ** 2;
  for (let i = 0; i < count; i++) {
    const bytes = data.subarray(i * width * height * 3, (i + 1) * width * height * 3);
    const cells = features.subarray(i * size, (i + 1) * size);
    const add = (cell: number, value: number): void => {
      cells[cell] = (cells[cell] ?? 0) + value / area;
    };
    const brightness = (x: number, y: number): number => {
      const at = (Math.min(height - 1, Math.max(0, y)) * width + Math.min(width - 1, Math.max(0, x))) * 3;
      return (0.299 * (bytes[at] ?? 0) + 0.587 * (bytes[at + 1] ?? 0) + 0.114 * (bytes[at + 2] ?? 0)) / 255;
    };
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++) {
        const cell = (Math.floor((y * CELLS) / height) * CELLS + Math.floor((x * CELLS) / width)) * PER_CELL;
        const right = brightness(x + 1, y) - brightness(x - 1, y);
        const down = brightness(x, y + 1) - brightness(x, y - 1);
        const turn = ((Math.atan2(down, right) / (2 * Math.PI) + 1) * DIRECTIONS + 0.5) % DIRECTIONS;
        add(cell + Math.floor(turn), Math.hypot(right, down));
        for (let c = 0; c < 3; c++) add(cell + DIRECTIONS + c, (bytes[(y * width + x) * 3 + c] ?? 0) / 255);
      }
  }
  return float32(features, [count, size]);
}
