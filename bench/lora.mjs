// Training a LoRA adapter, and using one, beside diffusers with PEFT, on the same random weights, draws and threads: seconds per step, peak
// memory, losses; the price of an active adapter in a call of the UNet; the time to switch adapters. Run it on an idle machine.
//
//   npm run bench -- lora [--quick] [--json]
//
// --quick: the small net only. BENCH_WORK names the folder for the weights (4.3 GB).

import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { compare, finish, flags, median, modelFolder, Peer, requirePython, say } from './lib.mjs';

requirePython(['torch', 'diffusers', 'transformers', 'peft'], 'pip install torch==2.13.0 diffusers transformers accelerate peft');

const threads = Number(process.env.SEEDBED_THREADS ?? availableParallelism());
const work = process.env.BENCH_WORK ?? join(tmpdir(), 'seedbed-bench');
const env = { OMP_NUM_THREADS: String(threads) };
const STEPS = 4; // the first one warms up
const TRAIN = [
  { title: 'small net, batch 8', size: 'small', batch: 8, steps: 8, contestants: { 'seedbed float32': ['float32'], 'seedbed bfloat16': ['bfloat16'], 'PEFT float32': [] } },
  {
    title: 'Stable Diffusion 1.5, 512 x 512, batch 1', size: 'sd15', batch: 1, steps: STEPS,
    contestants: { 'seedbed float32': ['float32'], 'seedbed float32, recomputed': ['float32', '--recompute'], 'seedbed bfloat16, recomputed': ['bfloat16', '--recompute'], 'PEFT float32': [], 'PEFT float32, recomputed': ['--recompute'] },
  },
];

const start = (name, folder, mode, batch, extra) => new Peer(name.startsWith('seedbed') ? 'lora.mjs' : 'lora.py', [folder, mode, batch, threads, ...extra].map(String), env);

const ratios = {};
const memory = {};
for (const { title, size, batch, steps, contestants } of TRAIN) {
  if (flags.quick && size !== 'small') continue;
  const folder = modelFolder(work, size);
  const seconds = {};
  const losses = {};
  for (const [name, extra] of Object.entries(contestants)) {
    const peer = start(name, folder, 'train', batch, extra);
    await peer.ready();
    const rounds = [];
    for (let step = 0; step < steps; step++) rounds.push(await peer.tell('step'));
    seconds[name] = median(rounds.slice(1).map((round) => round.seconds));
    losses[name] = rounds.map((round) => round.loss);
    memory[`${title}: ${name}`] = rounds.at(-1).peakMb;
    await peer.close();
  }
  Object.assign(ratios, compare(`Training, ${title}`, 'steps/s', Object.fromEntries(Object.entries(seconds).map(([name, s]) => [name, 1 / s])), 'seedbed float32'));
  for (const [name, s] of Object.entries(seconds)) {
    const distance = Math.max(...losses[name].map((loss, i) => Math.abs(loss / losses['PEFT float32'][i] - 1)));
    say(`  ${name.padEnd(30)} ${s.toFixed(3).padStart(8)} s   peak ${memory[`${title}: ${name}`]} MB   losses within ${(100 * distance).toFixed(3)} % of PEFT's`);
  }
}

for (const [size, rounds] of [['small', 15], ['sd15', 3]]) {
  if (flags.quick && size !== 'small') continue;
  const folder = modelFolder(work, size);
  const times = {};
  for (const name of ['seedbed float32', 'PEFT float32']) {
    const peer = start(name, folder, 'infer', 2, name.startsWith('seedbed') ? ['float32'] : []);
    await peer.ready();
    const all = { plain: [], adapter: [], merged: [], switch: [] };
    for (let round = 0; round < rounds + 1; round++) for (const kind of Object.keys(all)) all[kind].push(await peer.round(kind));
    times[name] = Object.fromEntries(Object.entries(all).map(([kind, list]) => [kind, median(list.slice(1))]));
    await peer.close();
  }
  say(`\nInference, ${size === 'small' ? 'small net' : 'Stable Diffusion 1.5'}, batch 2`);
  for (const [name, { plain, adapter, merged, switch: change }] of Object.entries(times))
    say(`  ${name.padEnd(18)} call ${(plain * 1000).toFixed(1)} ms, with an adapter ${(adapter * 1000).toFixed(1)} ms (+${(100 * (adapter / plain - 1)).toFixed(1)} %), merged ${(merged * 1000).toFixed(1)} ms (+${(100 * (merged / plain - 1)).toFixed(1)} %), switching ${(change * 1000).toFixed(3)} ms`);
  ratios[`switching adapters, ${size}`] = Number((times['PEFT float32'].switch / times['seedbed float32'].switch).toFixed(1));
  ratios[`price of an adapter, ${size}`] = Number((times['seedbed float32'].adapter / times['seedbed float32'].plain - 1).toFixed(4));
}
finish('lora', ratios, { threads, memory });
