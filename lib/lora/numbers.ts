import { SeedbedError } from '../errors.js';
import type { Dtype, Tensor } from '../tensor.js';

/** What factors may be stored in. */
export const LORA_DTYPES = ['float32', 'float16', 'bfloat16'] as const satisfies readonly Dtype[];
export type LoraDtype = (typeof LORA_DTYPES)[number];

export const isLoraDtype = (dtype: Dtype): dtype is LoraDtype => (LORA_DTYPES as readonly Dtype[]).includes(dtype);

const EXPONENT = { float16: 0x7c00, bfloat16: 0x7f80 };

/** Whether no number is NaN or infinite. */
export function allFinite({ data, dtype }: Tensor): boolean {
  if (dtype !== 'float16' && dtype !== 'bfloat16') return (data as Float32Array).every(Number.isFinite);
  const exponent = EXPONENT[dtype];
  return (data as Uint16Array).every((bits) => (bits & exponent) !== exponent);
}

const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

function bfloat16ToNumber(bits: number): number {
  word[0] = bits << 16;
  return float[0] as number;
}

function float16ToNumber(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const magnitude = exponent === 0 ? fraction * 2 ** -24 : exponent === 31 ? (fraction === 0 ? Infinity : NaN) : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return (bits & 0x8000) === 0 ? magnitude : -magnitude;
}

/** Nearest, ties to even; the sum may carry into the exponent, which is then right. */
function numberToBfloat16(value: number): number {
  float[0] = value;
  const bits = word[0] as number;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

const SMALLEST_NORMAL = 2 ** -14;
const SUBNORMAL_STEP = 2 ** -24;

function numberToFloat16(value: number): number {
  float[0] = value;
  const bits = word[0] as number;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = Math.abs(float[0]);
  if (magnitude < SMALLEST_NORMAL) return sign | roundHalfToEven(magnitude / SUBNORMAL_STEP);
  // 13 bits of the fraction go, and the exponent counts from 15 instead of 127.
  const rounded = ((bits & 0x7fffffff) + 0xfff + ((bits >>> 13) & 1)) >>> 13;
  return sign | Math.min(rounded - (112 << 10), EXPONENT.float16);
}

function roundHalfToEven(value: number): number {
  const low = Math.floor(value);
  const rest = value - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 === 1) ? low + 1 : low;
}

/** The numbers of a factor as float32, which holds the others exactly. */
export function toFloat32({ data, dtype }: Tensor): Float32Array {
  if (dtype === 'float16') return Float32Array.from(data as Uint16Array, float16ToNumber);
  if (dtype === 'bfloat16') return Float32Array.from(data as Uint16Array, bfloat16ToNumber);
  return data instanceof Float32Array ? data : Float32Array.from(data as Float64Array);
}

/** The same numbers in another type, rounded to nearest. Throws `ERR_NOT_FINITE` for one that is too large for float16. */
export function castTensor(tensor: Tensor, dtype: LoraDtype, name: string): Tensor {
  if (tensor.dtype === dtype) return tensor;
  const numbers = toFloat32(tensor);
  const data = dtype === 'float32' ? numbers : Uint16Array.from(numbers, dtype === 'float16' ? numberToFloat16 : numberToBfloat16);
  const result = { data, shape: tensor.shape, dtype } as Tensor;
  if (allFinite(tensor) && !allFinite(result)) throw new SeedbedError('ERR_NOT_FINITE', `Expected numbers that fit into ${dtype} in '${name}', found larger ones; write it as bfloat16 or float32`);
  return result;
}

/** Whether a type holds a number exactly. */
export function holds(dtype: LoraDtype, value: number): boolean {
  if (Math.fround(value) !== value) return false;
  return dtype === 'float32' || (dtype === 'float16' ? float16ToNumber(numberToFloat16(value)) : bfloat16ToNumber(numberToBfloat16(value))) === value;
}

/** A tensor of no dimensions. */
export function scalar(value: number, dtype: LoraDtype): Tensor {
  return castTensor({ data: Float32Array.of(value), shape: [], dtype: 'float32' }, dtype, 'alpha');
}

/** The numbers times a factor, in their type. */
export function scaled(tensor: Tensor, factor: number, name: string): Tensor {
  if (factor === 1) return tensor;
  const data = toFloat32(tensor).map((value) => value * factor);
  return castTensor({ data, shape: tensor.shape, dtype: 'float32' }, tensor.dtype as LoraDtype, name);
}
