// Fractal images per second of one core, beside NumPy and numba, and against the machine's own limit for scattered stores.
//
//   npm run bench -- fractal [--quick] [--json]

import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fractals } from '../dist/lib/index.js';
import { compare, finish, flags, inTurn, Peer, requirePython, say } from './lib.mjs';

requirePython(['numba', 'numpy'], 'pip install numba numpy');

const COPIES = 48;
const CALLS = 6; // of ours a round, which is then about as long as a peer's
const RENDER = { size: 512, points: 100_000 };
const rounds = flags.quick ? 3 : 9;

const family = await fractals.family({ count: COPIES, seed: 2, ...RENDER });
const folder = mkdtempSync(join(tmpdir(), 'bench-'));
const systems = join(folder, 'systems.json');
writeFileSync(systems, JSON.stringify({ systems: family.copies, ...RENDER }));
say(`${COPIES} perturbed copies of one system, 512 x 512 pixels, 100,000 points, one thread each; ${rounds} rounds in turn, medians`);

const out = new Uint8Array(COPIES * RENDER.size ** 2); // used again, as the peers use theirs
const ours = (options) => async () => {
  const begin = performance.now();
  for (let call = 0; call < CALLS; call++) await fractals.render(family.copies, { ...RENDER, threads: 1, out, ...options });
  return (performance.now() - begin) / 1000 / CALLS;
};
const peer = async (kind, draw) => {
  const process_ = new Peer('fractal.py', [systems, kind, draw]);
  await process_.ready();
  return process_;
};

const ratios = {};
for (const draw of ['point', 'patch']) {
  const plain = await peer('plain', draw);
  const frozen = await peer('frozen', draw);
  const seconds = await inTurn(rounds, {
    seedbed: ours({ draw }),
    'seedbed, exact': ours({ draw, precision: 'exact' }),
    'numba, a random number per step': () => plain.round(),
    'numba, frozen sequence': () => frozen.round(),
  });
  await plain.close();
  await frozen.close();
  const numpy = await peer('numpy', draw); // slow: two systems, once
  const numpySeconds = await numpy.round();
  await numpy.close();
  const rates = Object.fromEntries(Object.entries(seconds).map(([name, s]) => [name, COPIES / s]));
  Object.assign(ratios, compare(`${draw} pictures`, 'images/s', { ...rates, NumPy: 2 / numpySeconds }));
}

const scatter = await peer('scatter', 'point');
const seconds = await inTurn(rounds, { seedbed: ours({ draw: 'point' }), 'bare scatter of 100,000 bytes (numba)': () => scatter.round() });
await scatter.close();
compare('share of the store limit', 'images/s', Object.fromEntries(Object.entries(seconds).map(([name, s]) => [name, COPIES / s])));

const threads = await inTurn(rounds, { one: ours({}), two: ours({ threads: 2 }) });
say(`\ntwo threads are ${(threads.one / threads.two).toFixed(2)} times as fast as one`);
rmSync(folder, { recursive: true });
finish('fractal', ratios, { twoThreads: Number((threads.one / threads.two).toFixed(3)) });
