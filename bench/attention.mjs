// Attention alone, forward and backward, beside PyTorch's scaled_dot_product_attention on the same threads, and the share
// of the processor's measured rate of matrix products.
//
//   npm run bench -- attention [--quick] [--json]

import { availableParallelism } from 'node:os';
import { native } from '../dist/lib/native.js';
import { compare, finish, flags, inTurn, median, Peer, requirePython, say } from './lib.mjs';

requirePython(['torch'], 'pip install torch==2.13.0');

const threads = Number(process.env.SEEDBED_THREADS ?? availableParallelism());
const rounds = flags.quick ? 2 : 7;
// Stable Diffusion 1.5 at 512 x 512 with guidance: 2 x 8 heads.
const CASES = [
  { heads: 16, queries: 4096, keys: 4096, d: 40 },
  { heads: 16, queries: 1024, keys: 1024, d: 80 },
  { heads: 16, queries: 256, keys: 256, d: 160 },
  { heads: 16, queries: 4096, keys: 4096, d: 64 },
  { heads: 16, queries: 4096, keys: 77, d: 40 },
];

/** Numbers that look like a normal distribution, as float32 or as bfloat16's bits. */
function noise(shape, salt, dtype) {
  const length = shape.reduce((a, b) => a * b, 1);
  const wave = Float32Array.from({ length }, (_, i) => Math.sin(i * 12.9898 + salt) + Math.sin(i * 78.233) + Math.sin(i * 37.719 * salt));
  return { data: dtype === 'float32' ? wave : Uint16Array.from(new Uint32Array(wave.buffer), (bits) => bits >>> 16), shape, dtype };
}

// One core's products of 1,024 x 384 by 384 x 384 in libtorch: what its matrix library reaches here.
const matrixRate = median(Array.from({ length: 5 }, () => native().measureMatmul('float32')));
say(`${threads} threads; ${rounds} rounds in turn, medians. One core multiplies float32 matrices at ${matrixRate.toFixed(0)} GFLOP/s`);

const ratios = {};
const shares = {};
for (const { heads, queries, keys, d } of CASES)
  for (const dtype of ['float32', 'bfloat16']) {
    const sides = (length, salt) => noise([1, length, heads, d], salt, dtype);
    const tensors = { q: sides(queries, 1), k: sides(keys, 2), v: sides(keys, 3), scale: 1 / Math.sqrt(d), threads };
    const gradient = sides(queries, 4);
    const peer = new Peer('attention.py', [heads, queries, keys, d, dtype, threads].map(String), { OMP_NUM_THREADS: String(threads) });
    const { torch } = await peer.ready();
    const ours = { forward: () => native().attention(tensors).forwardMs / 1000, backward: () => native().attention({ ...tensors, gradient }).backwardMs / 1000 };
    for (const direction of ['forward', 'backward']) {
      const products = direction === 'forward' ? 2 : 5;
      const gflop = (2 * products * heads * queries * keys * d) / 1e9;
      const seconds = await inTurn(rounds, { seedbed: async () => ours[direction](), [`PyTorch ${torch}`]: () => peer.round(direction) });
      const rates = Object.fromEntries(Object.entries(seconds).map(([name, s]) => [name, gflop / s]));
      const title = `${heads} heads, ${queries} x ${keys} tokens, head size ${d}, ${dtype}, ${direction}`;
      Object.assign(ratios, compare(title, 'GFLOP/s', rates));
      shares[title] = Number((rates.seedbed / threads / matrixRate).toFixed(3));
      say(`  ${(seconds.seedbed * 1000).toFixed(2)} ms, ${(shares[title] * 100).toFixed(0)} % of the matrix rate of ${threads} cores`);
    }
    await peer.close();
  }
finish('attention', ratios, { threads, matrixRate: Number(matrixRate.toFixed(1)), shares });
