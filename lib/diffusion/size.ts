import { totalmem } from 'node:os';
import { ArgumentError, SeedbedError } from '../errors.js';
import type { Image } from '../image.js';
import type { DiffusionConfig } from './config.js';

export interface Size {
  width: number;
  height: number;
}

/** Pixels per latent. */
export const factorOf = ({ vae }: DiffusionConfig): number => 2 ** (vae.blockOutChannels.length - 1);

/** Pixels of the side that the model was trained at. */
export const trainedSide = (config: DiffusionConfig): number => config.unet.sampleSize * factorOf(config);

/** Width and height as asked for, else of the picture to begin with, else as trained. Throws `ArgumentError`. */
export function sizeOf(config: DiffusionConfig, { width, height, image }: { width?: number | undefined; height?: number | undefined; image?: Image | readonly Image[] | undefined }): Size {
  const f = factorOf(config);
  const picture = Array.isArray(image) ? (image[0] as Image) : (image as Image | undefined);
  const fallback = (side: number | undefined): number => (side === undefined ? trainedSide(config) : Math.max(f, Math.floor(side / f) * f));
  const size = { width: width ?? fallback(picture?.width), height: height ?? fallback(picture?.height) };
  for (const [name, side] of Object.entries(size)) if (side % f !== 0) throw new ArgumentError(`Expected a multiple of ${f} for ${name}, received ${side}`);
  return size;
}

const BYTES = 4;
/** Feature maps that are held at once. */
const MAPS = 4;
/** The widest channels at full size are this many times those of the first level. */
const WIDENING = 8;

/** A few maps of the widest channels at full size, of decoding; encoding needs less. */
function autoencoderBytes({ vae }: DiffusionConfig, { width, height }: Size, tiled: boolean): number {
  const atOnce = tiled ? Math.min(vae.sampleSize, Math.max(width, height)) ** 2 : width * height;
  return MAPS * BYTES * atOnce * (vae.blockOutChannels[1] ?? vae.blockOutChannels[0] ?? 1) + 3 * BYTES * width * height;
}

/** For `generate`: `batch` pictures are denoised at once and decoded one by one. Throws `ERR_OUT_OF_MEMORY`. */
export function checkMemory(config: DiffusionConfig, size: Size, tiled: boolean, batch: number): void {
  const denoise = 2 * batch * MAPS * BYTES * ((size.width * size.height) / factorOf(config) ** 2) * WIDENING * (config.unet.blockOutChannels[0] ?? 1);
  checkFits(Math.max(autoencoderBytes(config, size, tiled), denoise), size, tiled);
}

/** For the autoencoder alone, on `batch` pictures at once. Throws `ERR_OUT_OF_MEMORY`. */
export function checkAutoencoderMemory(config: DiffusionConfig, size: Size, tiled: boolean, batch: number): void {
  checkFits(batch * autoencoderBytes(config, size, tiled), size, tiled);
}

/** A refusal is better than a process that the system kills. */
function checkFits(needed: number, { width, height }: Size, tiled: boolean): void {
  if (needed <= totalmem()) return;
  const gigabytes = (value: number): string => `${(value / 1e9).toFixed(1)} GB`;
  throw new SeedbedError('ERR_OUT_OF_MEMORY', `Expected pictures that fit into memory, ${width} x ${height} needs about ${gigabytes(needed)} of ${gigabytes(totalmem())}; make it smaller${tiled ? '' : ', or set tiled'}`);
}
