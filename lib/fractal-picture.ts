import { z } from 'zod';
import { nativeJob, runFields } from './fractal-run.js';
import { checkIfs, type Ifs } from './ifs.js';
import type { Image } from './image.js';
import { follow, Job } from './job.js';
import { native, type PartProgress } from './native.js';
import { checkOptions, defined, positiveInt, seed } from './options.js';
import type { Tensor } from './tensor.js';
import { threads } from './threads.js';

/** Colours by name; the first is the background. */
export const PALETTES = {
  gray: ['#000000', '#ffffff'],
  ink: ['#fbf8f1', '#8a8f9c', '#1b2233'],
  ember: ['#0b0608', '#5b1120', '#c8381d', '#f7a13c', '#fff3d0'],
  lagoon: ['#04080f', '#0c3350', '#0f7f8c', '#6fd6b4', '#f4ffe8'],
  aurora: ['#07060f', '#2c1b63', '#7a2f93', '#e0567f', '#ffd9a0'],
  moss: ['#060a06', '#1d3a22', '#4f7d32', '#b5c95a', '#fdfbe0'],
} as const satisfies Record<string, readonly string[]>;

export type PaletteName = keyof typeof PALETTES;

const colour = z.string().regex(/^#[0-9a-f]{6}$/i, { error: 'a colour like #1b2233' });

const schema = z.strictObject({
  /** Pixels, both sides. 16 to 8192, default 2048. */
  size: z.int().min(16).max(8192).optional(),
  /** Points counted. 1 to 4e9, default 10 for each pixel. */
  points: positiveInt.max(4_000_000_000).optional(),
  /**
   * A name of `PALETTES`, or 2 to 1024 colours like '#1b2233'. The first is the background; by `density` the rest lead to full density, by `map` they are those
   * of the maps. Default `ember`.
   */
  palette: z.union([z.enum(Object.keys(PALETTES) as [PaletteName, ...PaletteName[]]), z.array(colour).min(2).max(1024)]).optional(),
  /** What decides the colour of a place: its `density` (default), or the maps that led there last (`map`); then density decides how bright it is. */
  colourBy: z.enum(['density', 'map']).optional(),
  /**
   * How density becomes brightness. `log` (default): `range` is the brightest density over the darkest one told from nothing (2 to 1e9, default 100);
   * `gamma`: brightness is density^(1 / gamma) (0.1 to 10, default 2.2).
   */
  tone: z.union([z.strictObject({ type: z.literal('log'), range: z.number().min(2).max(1e9).optional() }), z.strictObject({ type: z.literal('gamma'), gamma: z.number().min(0.1).max(10).optional() })]).optional(),
  /** Counters in a pixel, along each side: smooth edges. 1 to 4, default 2. */
  supersample: z.int().min(1).max(4).optional(),
  /** Empty share of the side, at each side. 0 to 0.45, default 0.04. */
  margin: z.number().min(0).max(0.45).optional(),
  /** `keep` the proportions (default) or fill the frame on both axes (`stretch`). */
  aspect: z.enum(['stretch', 'keep']).optional(),
  /** Decides the points. Default 0. */
  seed: seed.optional(),
  /** Megabytes of counters at once; larger pictures take one walk over all points for each part. 1 to 65,536, default 1024: one walk up to 8192 pixels. */
  memoryMb: z.int().min(1).max(65_536).optional(),
  ...runFields,
});

export type FractalPictureOptions = z.input<typeof schema>;

const numberOf = (text: string): number => Number.parseInt(text.slice(1), 16);

/**
 * One system as an RGB picture of the density of its points, made to be looked at. The same bytes for any number of threads and any `memoryMb`.
 *
 * @example
 * const image = await fractals.picture(fractals.sample({ maps: 3, sigmaFactor: 5 }), { size: 4096, palette: 'lagoon' });
 * await writeFile('fractal.png', await encodePng(image));
 */
export function picture(ifs: Ifs, options: FractalPictureOptions = {}): Job<PartProgress, Image> {
  const { signal, palette = 'ember', memoryMb, ...checked } = checkOptions(schema, options, 'fractals.picture');
  const colours = typeof palette === 'string' ? PALETTES[palette] : palette;
  const call = defined({ ...checked, palette: colours.map(numberOf), memory: memoryMb === undefined ? undefined : memoryMb * 2 ** 20, threads: threads(checked.threads) });
  const system = checkIfs(ifs);
  return new Job<PartProgress, Image>(
    async (context) => {
      const drawn = nativeJob<PartProgress, Tensor<'uint8'>>(context.signal, (listener) => native().drawPicture(system, call, listener));
      const { data, shape } = await follow(drawn, context.emit);
      return { data, width: shape[1] as number, height: shape[0] as number, channels: 3 };
    },
    { signal },
  );
}
