import { z } from 'zod';
import { renderFields } from './fractal.js';
import { nativeJob } from './fractal-run.js';
import { FLIPS, ifsSchema, type FractalInstance, type Ifs } from './ifs.js';
import type { Job } from './job.js';
import { native, type ImageProgress, type ImageSetHandle } from './native.js';
import { defined, share } from './options.js';
import { threads } from './threads.js';

/** Where the pictures are while a network learns from them. */
export const storageField = {
  /**
   * `resident` (default): drawn once and kept, a bit for each pixel (32 kB at 512 x 512). `onDemand`: drawn whenever one is read, which takes no memory; the same pictures. `fresh`: as
   * `onDemand`, with other random patches in each pass after the first.
   */
  storage: z.enum(['resident', 'onDemand', 'fresh']).optional(),
  /**
   * With `fresh` the systems differ from pass to pass, too: each number of their maps is multiplied by U(1 − freshDelta, 1 + freshDelta). Far below what classes differ by (`delta`), or they overlap. 0 to 1, default
   * 0. Where the copy lights less than 5 % of its picture the system itself is drawn.
   */
  freshDelta: share.optional(),
};

const instance = z.object({ ifs: ifsSchema, textureSeed: z.bigint().min(0n), flip: z.enum(FLIPS) });

/** A system, whose patches follow from its place in the list, or what `fractals.instances` and `fractals.ofdb` give. */
export const fractalPictureSchema = z.union([ifsSchema, instance], { error: 'a system or an instance of one' });

export type FractalPicture = Ifs | Pick<FractalInstance, 'ifs' | 'textureSeed' | 'flip'>;

/** How the pictures are drawn. */
export const renderSchema = z.strictObject(renderFields);

export type FractalSetOptions = z.input<typeof renderSchema> & { storage?: 'resident' | 'onDemand' | 'fresh' | undefined; freshDelta?: number | undefined; threads?: number | undefined; signal?: AbortSignal | undefined };

/** Pictures to train on, without files, while `use` runs: those of class k are `classes[k]`. */
export async function withFractalSet<Result>(classes: readonly (readonly FractalPicture[])[], options: FractalSetOptions, use: (set: ImageSetHandle) => Promise<Result>): Promise<Result> {
  const set = await fractalSet(classes, options);
  try {
    return await use(set);
  } finally {
    native().dispose(set);
  }
}

function fractalSet(classes: readonly (readonly FractalPicture[])[], { signal, ...options }: FractalSetOptions): Job<ImageProgress, ImageSetHandle> {
  const all = classes.flat().map((picture, i) => ('ifs' in picture ? picture : { ifs: picture, textureSeed: BigInt(i), flip: 'none' as const }));
  const call = defined({
    ...options,
    systems: all.map(({ ifs }) => ifs),
    textureSeeds: all.map(({ textureSeed }) => textureSeed),
    flips: all.map(({ flip }) => flip),
    labels: classes.flatMap((pictures, label) => pictures.map(() => label)),
    classes: classes.length,
    threads: threads(options.threads),
  });
  return nativeJob<ImageProgress, ImageSetHandle>(signal, (listener) => native().fractalPictures(call, listener));
}
