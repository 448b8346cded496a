import { readdir, readFile, writeFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { readSafetensors, writeSafetensors, type Tensor } from 'seedbed';
import { golden, ramp, thrown, worst } from './support.js';

interface Golden {
  base64: string;
  values: Record<string, number[]>;
  shapes: Record<string, number[]>;
  metadata: Record<string, string>;
}

/** A file from a header (object or text) and data. */
function file(header: unknown, data: Uint8Array = new Uint8Array(), length?: bigint): Buffer {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(length ?? BigInt(text.length));
  return Buffer.concat([prefix, text, data]);
}

const f32 = (shape: number[], begin: number, end: number): object => ({ dtype: 'F32', shape, data_offsets: [begin, end] });

function bfloat16ToNumber(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0] ?? NaN;
}

function float16ToNumber(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  return (bits >> 15 ? -1 : 1) * (exponent === 0 ? 2 ** -14 * fraction : 2 ** (exponent - 15) * (1 + fraction));
}

function numbers({ data, dtype }: Tensor): number[] {
  if (dtype === 'float16') return Array.from(data as Uint16Array, float16ToNumber);
  if (dtype === 'bfloat16') return Array.from(data as Uint16Array, bfloat16ToNumber);
  return Array.from(data as Iterable<number | bigint>, Number);
}

t.test('bad files are refused whole, with a code and one line', async (t) => {
  const folder = t.testdir();
  const path = join(folder, 'x.safetensors');
  const eight = new Uint8Array(8);
  const cases: [string, Buffer, string, RegExp][] = [
    ['0 bytes', Buffer.alloc(0), 'ERR_FILE_FORMAT', /at least 8 bytes, found 0/],
    ['7 bytes', Buffer.alloc(7), 'ERR_FILE_FORMAT', /at least 8 bytes, found 7/],
    ['header of 2^63', file({}, eight, 2n ** 63n), 'ERR_FILE_FORMAT', /header length 9223372036854775808 is over the limit/],
    ['header longer than the file', file({}, eight, 500n), 'ERR_FILE_FORMAT', /header of 500 bytes in a file of 18/],
    ['not JSON', file('{"a": tru'), 'ERR_FILE_FORMAT', /not JSON/],
    ['not an object', file('[1, 2]'), 'ERR_FILE_FORMAT', /must begin with '\{'/],
    ['deeply nested', file(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`), 'ERR_FILE_FORMAT', /exactly dtype, shape and data_offsets/],
    ['duplicate names', file('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', eight), 'ERR_FILE_FORMAT', /names 'a' twice/],
    ['truncated data', file({ a: f32([2], 0, 8) }, new Uint8Array(5)), 'ERR_FILE_FORMAT', /bytes 0 to 8 of 5; the file is cut off/],
    ['unused bytes at the end', file({ a: f32([1], 0, 4) }, eight), 'ERR_FILE_FORMAT', /8 bytes of data, the header describes 4/],
    ['hole', file({ a: f32([1], 4, 8) }, eight), 'ERR_FILE_FORMAT', /4 unused bytes before 'a'/],
    ['overlap', file({ a: f32([2], 0, 8), b: f32([1], 4, 8) }, eight), 'ERR_FILE_FORMAT', /'b' overlaps/],
    ['backwards', file({ a: f32([1], 8, 4) }, eight), 'ERR_FILE_FORMAT', /bytes 8 to 4/],
    ['wrong size', file({ a: f32([3], 0, 8) }, eight), 'ERR_FILE_FORMAT', /needs 12 bytes, its range has 8/],
    ['shape overflow', file({ a: f32([2 ** 40, 2 ** 40], 0, 8) }, eight), 'ERR_FILE_FORMAT', /overflows/],
    ['negative shape', file({ a: f32([-1], 0, 8) }, eight), 'ERR_FILE_FORMAT', /non-negative integers/],
    ['fractional shape', file({ a: f32([1.5], 0, 8) }, eight), 'ERR_FILE_FORMAT', /non-negative integers/],
    ['missing field', file({ a: { dtype: 'F32', shape: [2] } }, eight), 'ERR_FILE_FORMAT', /exactly dtype, shape and data_offsets/],
    ['unknown element type', file({ a: { dtype: 'F8_E4M3', shape: [8], data_offsets: [0, 8] } }, eight), 'ERR_DTYPE', /'a': Unsupported element type 'F8_E4M3'/],
    ['metadata that is no text', file({ __metadata__: { n: 1 } }), 'ERR_FILE_FORMAT', /__metadata__ 'n' must be a string/],
  ];
  for (const [name, content, code, message] of cases) {
    await writeFile(path, content);
    const error = await thrown(() => readSafetensors(path));
    t.equal(error.code, code, `${name}: ${error.message}`);
    t.match(error.message, message, name);
    t.notMatch(error.message, /\n/, `${name}: one line`);
  }
  t.equal((await thrown(() => readSafetensors(join(folder, 'none')))).code, 'ERR_FILE_NOT_FOUND');
  const error = await thrown(() => readSafetensors(folder));
  t.equal(error.code, 'ERR_FILE_READ');
  t.match(error.message, /found a folder/);
});

t.test('reads what the Python library wrote', async (t) => {
  const reference = golden('safetensors') as Golden;
  const path = join(t.testdir(), 'x.safetensors');
  await writeFile(path, Buffer.from(reference.base64, 'base64'));
  const { tensors, metadata } = readSafetensors(path);
  t.same(metadata, reference.metadata);
  t.same(Object.keys(tensors).sort(), Object.keys(reference.values).sort());
  for (const [name, tensor] of Object.entries(tensors)) {
    t.same(tensor.shape, reference.shapes[name], name);
    t.same(numbers(tensor), reference.values[name], name);
  }
});

t.test('misaligned tensors are read too', async (t) => {
  const path = join(t.testdir(), 'x.safetensors');
  const header = '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}}';
  const data = Buffer.alloc(5);
  data.writeFloatLE(2.5, 1);
  await writeFile(path, file(header, data));
  t.same(readSafetensors(path).tensors['b']?.data, Float32Array.of(2.5));
});

t.test('what is written is read back, and is what the Python library would write', async (t) => {
  const folder = t.testdir();
  const reference = golden('safetensors') as Golden;
  const first = join(folder, 'first.safetensors');
  const second = join(folder, 'second.safetensors');
  await writeFile(first, Buffer.from(reference.base64, 'base64'));
  const content = readSafetensors(first);
  writeSafetensors(second, content.tensors, content.metadata);
  t.same(readSafetensors(second), content);
  const bytes = await readFile(second);
  t.equal((8 + Number(bytes.readBigUInt64LE())) % 8, 0, 'the data begins at a multiple of 8');
});

t.test('writing fails whole', async (t) => {
  const folder = t.testdir({ old: 'kept' });
  const tensors = { a: ramp(1, [3]) };
  t.equal((await thrown(() => writeSafetensors(join(folder, 'no', 'such', 'folder.safetensors'), tensors))).code, 'ERR_FILE_WRITE');
  t.equal((await thrown(() => writeSafetensors(join(folder, 'x'), { a: { ...ramp(1, [3]), shape: [4] } }))).code, 'ERR_SHAPE');
  t.equal((await thrown(() => writeSafetensors(join(folder, 'x'), { a: { ...ramp(1, [3]), dtype: 'float8' as never } }))).code, 'ERR_DTYPE');
  t.equal((await thrown(() => writeSafetensors(join(folder, 'x'), { a: [1, 2, 3] as never }))).code, 'ERR_INVALID_ARGUMENT');
  t.equal((await thrown(() => writeSafetensors(join(folder, 'x'), { __metadata__: ramp(1, [3]) }))).code, 'ERR_INVALID_ARGUMENT');
  await mkdir(join(folder, 'taken'));
  t.equal((await thrown(() => writeSafetensors(join(folder, 'taken'), tensors))).code, 'ERR_FILE_WRITE', 'a folder stands where the file should');
  t.same((await readdir(folder)).sort(), ['old', 'taken'], 'nothing half-written is left');
});

t.test('numbers survive exactly', async (t) => {
  const path = join(t.testdir(), 'x.safetensors');
  const tensor = ramp(9, [7, 5], 3);
  writeSafetensors(path, { tensor });
  t.equal(worst(readSafetensors(path).tensors['tensor']?.data as Float32Array, tensor.data, { rtol: 0, atol: Number.MIN_VALUE }), 0);
});
