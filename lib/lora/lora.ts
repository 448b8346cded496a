import type { Tensor } from '../tensor.js';

/** The nets that an adapter may change. */
export type LoraPart = 'unet' | 'textEncoder';
export const LORA_PARTS = ['unet', 'textEncoder'] as const satisfies readonly LoraPart[];

/**
 * Factors of one layer: its weight changes by scale * up * down, with scale = alpha / rank (alpha / sqrt(rank) for rsLoRA).
 * Linear layers: down [r, in], up [out, r]. Convolutions: down [r, in, k, k], with k = 1 too, up [out, r].
 * The numbers are float32, float16 or bfloat16, as in the file.
 */
export interface LoraFactors {
  down: Tensor;
  up: Tensor;
  alpha: number;
  scale: number;
}

/** An adapter: factors by the names of the layers, and textual-inversion embeddings by token, [width] or [vectors, width]. */
export interface LoraWeights {
  unet: Record<string, LoraFactors>;
  textEncoder: Record<string, LoraFactors>;
  embeddings: Record<string, Tensor>;
}

export const rankOf = ({ down }: Pick<LoraFactors, 'down'>): number => down.shape[0] ?? 0;
