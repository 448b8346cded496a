/** Typed array of each element type. The two 16-bit float types come as their bits. */
export interface TensorData {
  float32: Float32Array;
  float64: Float64Array;
  float16: Uint16Array;
  bfloat16: Uint16Array;
  uint8: Uint8Array;
  int8: Int8Array;
  int16: Int16Array;
  int32: Int32Array;
  int64: BigInt64Array;
  bool: Uint8Array;
}

export type Dtype = keyof TensorData;

/** Numbers that a diffusion model computes in. */
export type ModelDtype = Extract<Dtype, 'float32' | 'bfloat16' | 'float16'>;

/** Numbers with a shape, row by row. */
export interface Tensor<D extends Dtype = Dtype> {
  readonly data: TensorData[D];
  readonly shape: readonly number[];
  readonly dtype: D;
}

/** A float32 tensor of the given shape; its length is checked by the addon. */
export function float32(data: Float32Array | readonly number[], shape: readonly number[]): Tensor<'float32'> {
  return { data: data instanceof Float32Array ? data : Float32Array.from(data), shape, dtype: 'float32' };
}

/** A result of the addon, which leaves `data` to the caller's memory when it was given some. */
export function into<D extends Dtype>(out: TensorData[D] | undefined, made: Tensor<D>): Tensor<D> {
  return out === undefined ? made : { ...made, data: out };
}

/** Row `i` along the first dimension, as a view. */
export function row<D extends Dtype>(tensor: Tensor<D>, i: number): TensorData[D] {
  const length = tensor.shape.slice(1).reduce((product, size) => product * size, 1);
  return tensor.data.subarray(i * length, (i + 1) * length) as TensorData[D];
}
