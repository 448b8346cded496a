// Stable Diffusion's nets with random weights of the real sizes, beside diffusers (PyTorch) and OpenVINO on the same
// weights and threads: seconds per call, memory, and the time from a model folder to the first finished step. Each engine
// has a process of its own; rounds go in turn. Run it on an idle machine: SD 1.5 needs 20 GB of memory in all and takes long.
//
//   npm run bench -- diffusion [--quick] [--json]
//
// --quick: the small net only. BENCH_WORK names the folder for the weights (4.3 GB) and OpenVINO's models; BENCH_ENGINES
// takes some of the peers ("diffusers float32,openvino bfloat16"), BENCH_CASES some of the cases by a part of their title.

import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { compare, finish, flags, inTurn, modelFolder, Peer, requirePython, say } from './lib.mjs';

requirePython(['torch', 'diffusers', 'transformers', 'openvino'], 'pip install torch==2.13.0 diffusers transformers openvino accelerate');

const threads = Number(process.env.SEEDBED_THREADS ?? availableParallelism());
const work = process.env.BENCH_WORK ?? join(tmpdir(), 'seedbed-bench');
const CASES = [
  { title: 'small net, batch 2', size: 'small', part: 'unet', batch: 2, calls: 20, rounds: 7 },
  { title: 'small net, batch 16', size: 'small', part: 'unet', batch: 16, calls: 3, rounds: 7 },
  { title: 'text encode, 2 x 77 tokens', size: 'sd15', part: 'text', batch: 2, calls: 2, rounds: 5 },
  { title: 'VAE decode to 512 x 512', size: 'sd15', part: 'vae', batch: 1, calls: 1, rounds: 2 },
  { title: 'UNet call, 512 x 512 with guidance', size: 'sd15', part: 'unet', batch: 2, calls: 1, rounds: 2 },
  { title: 'folder to the first step', size: 'sd15', part: 'step', batch: 2, calls: 1, rounds: 1 },
];
const PEERS = (process.env.BENCH_ENGINES ?? 'diffusers float32,diffusers bfloat16,openvino float32,openvino bfloat16').split(',').map((name) => name.split(' '));

/** How to start each engine's process, by name. */
function contestants({ size, part, batch, calls }) {
  const folder = modelFolder(work, size);
  const numbers = [batch, calls, threads].map(String);
  const env = { OMP_NUM_THREADS: String(threads) };
  return [
    ...['float32', 'bfloat16'].map((dtype) => [`seedbed ${dtype}`, () => new Peer('seedbed.mjs', [folder, part, dtype, ...numbers], env)]),
    ...PEERS.map(([engine, dtype]) => [`${engine} ${dtype}`, () => new Peer('diffusion.py', ['run', folder, part, engine, dtype, ...numbers], env)]),
  ];
}

/** Reads a folder's files, so that they lie in the system's cache. */
function warm(folder) {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) if (entry.isFile()) execFileSync('cat', [join(entry.parentPath, entry.name)], { stdio: 'ignore' });
}

/** Each engine alone, one after the other, where several would not fit into memory or would warm each other's files. */
async function alone(test, starts) {
  const seconds = {};
  const told = {};
  for (const [name, start] of starts) {
    if (test.part === 'step') warm(modelFolder(work, test.size)); // no engine's first step waits for the disk
    const peer = start();
    told[name] = await peer.ready();
    const times = [];
    for (let round = 0; round < test.rounds && test.part !== 'step'; round++) times.push(await peer.round());
    seconds[name] = test.part === 'step' ? told[name].seconds : Math.min(...times);
    await peer.close();
  }
  return { seconds, told };
}

async function together(test, starts) {
  const peers = starts.map(([name, start]) => [name, start()]);
  const told = Object.fromEntries(await Promise.all(peers.map(async ([name, peer]) => [name, await peer.ready()])));
  const seconds = await inTurn(test.rounds, Object.fromEntries(peers.map(([name, peer]) => [name, () => peer.round()])));
  for (const [, peer] of peers) await peer.close();
  return { seconds, told };
}

say(`${threads} threads`);
const ratios = {};
const memory = {};
for (const test of CASES) {
  if (flags.quick && test.size !== 'small') continue;
  if (process.env.BENCH_CASES !== undefined && !process.env.BENCH_CASES.split(',').some((part) => test.title.includes(part))) continue;
  const starts = contestants(test);
  const { seconds, told } = await (test.size === 'small' || test.part === 'text' ? together : alone)(test, starts);
  const ours = ['seedbed float32', 'seedbed bfloat16'].sort((a, b) => seconds[a] - seconds[b])[0];
  const rates = Object.fromEntries(Object.entries(seconds).map(([name, s]) => [name, 1 / s]));
  Object.assign(ratios, compare(`${test.title} (ours: ${ours})`, 'calls/s', rates, ours));
  for (const [name, s] of Object.entries(seconds)) {
    const { peakMb, convertSeconds, compileSeconds } = told[name];
    const extra = [convertSeconds && `converted in ${convertSeconds.toFixed(1)} s`, compileSeconds && `compiled in ${compileSeconds.toFixed(1)} s`].filter(Boolean).join(', ');
    say(`  ${name.padEnd(20)} ${(s * 1000).toFixed(s < 1 ? 1 : 0).padStart(8)} ms   peak ${peakMb} MB   ${extra}`);
    memory[`${test.title}: ${name}`] = peakMb;
  }
}
finish('diffusion', ratios, { threads, memory });
