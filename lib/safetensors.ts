import { native } from './native.js';
import type { Tensor } from './tensor.js';

/** Tensors by name, and the file's string metadata. */
export interface SafetensorsContent {
  tensors: Record<string, Tensor>;
  metadata: Record<string, string>;
}

/**
 * Reads a safetensors file, validated as a whole first: header length, JSON, duplicate names, element types, shapes
 * against byte ranges, overlaps, holes, bounds. Throws `ERR_FILE_FORMAT`, `ERR_DTYPE`, `ERR_FILE_NOT_FOUND`, `ERR_FILE_READ`.
 */
export function readSafetensors(path: string): SafetensorsContent {
  return native().readSafetensors(path);
}

/** Writes a safetensors file whole or not at all. Throws `ERR_FILE_WRITE` or `ERR_DISK_FULL`. */
export function writeSafetensors(path: string, tensors: Readonly<Record<string, Tensor>>, metadata: Readonly<Record<string, string>> = {}): void {
  native().writeSafetensors(path, tensors, metadata);
}
