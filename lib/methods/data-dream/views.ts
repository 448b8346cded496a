import type { Clip } from '../../clip.js';
import type { Image } from '../../image.js';
import { row } from '../../tensor.js';

/** Pictures as a dual encoder sees them, of length 1. */
export async function featuresOf(clip: Clip, images: readonly Image[], options: { threads?: number; signal: AbortSignal }): Promise<Float32Array[]> {
  const features = await clip.encodeImages(images, options);
  return Array.from({ length: features.shape[0] ?? 0 }, (_, i) => row(features, i));
}

/** Of rows of length 1: 1 - cosine. */
export const apart = (a: Float32Array, b: Float32Array): number => 1 - a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
