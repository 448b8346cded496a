// Shared by the benchmarks: a peer process that times rounds on request, medians, and the report of ratios.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));

export const { values: flags } = parseArgs({ options: { quick: { type: 'boolean', default: false }, json: { type: 'boolean', default: false } } });

export const say = (text) => void (flags.json ? process.stderr : process.stdout).write(`${text}\n`);

export const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Python for the peers: SEEDBED_PYTHON, else python3. */
export const python = process.env.SEEDBED_PYTHON ?? 'python3';

/** Ends the benchmark with the command to run when Python lacks a module. */
export function requirePython(modules, install) {
  const missing = `import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in ${JSON.stringify(modules)}))`;
  if (spawnSync(python, ['-c', missing]).status === 0) return;
  console.error(`seedbed: the peers need Python with ${modules.join(', ')} (SEEDBED_PYTHON names another interpreter). Run:\n  ${install}`);
  process.exit(1);
}

/** The folder in `work` of a model with random weights, 'small' or 'sd15'; written when it is not there. */
export function modelFolder(work, size) {
  const folder = join(work, size);
  if (existsSync(join(folder, 'model_index.json'))) return folder;
  mkdirSync(work, { recursive: true });
  say(`Writing random weights to ${folder}`);
  if (spawnSync(python, [join(here, 'peers', 'diffusion.py'), 'make', folder, size], { stdio: 'inherit' }).status !== 0) process.exit(1);
  return folder;
}

/** A peer (Python, or Node for ours where memory counts) that stays warm: each `round` sends one line and waits for the seconds it took. */
export class Peer {
  constructor(script, args, env = {}) {
    const program = script.endsWith('.mjs') ? process.execPath : python;
    this.child = spawn(program, [join(here, 'peers', script), ...args], { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } });
    this.lines = createInterface(this.child.stdout)[Symbol.asyncIterator]();
  }

  async line() {
    const { value, done } = await this.lines.next();
    if (done) throw new Error('The peer ended early; its message stands above');
    return JSON.parse(value);
  }

  /** What the peer tells of itself when it is ready. */
  ready() {
    return this.line();
  }

  /** What the peer answers to a line. */
  tell(line) {
    this.child.stdin.write(`${line}\n`);
    return this.line();
  }

  /** Seconds of one round; `line` says which when the peer knows several. */
  async round(line = 'go') {
    return (await this.tell(line)).seconds;
  }

  async close() {
    this.child.stdin.end();
    await once(this.child, 'exit');
  }
}

/** Times ours and the peers in turn, `rounds` times; returns the median seconds of each by name. */
export async function inTurn(rounds, contestants) {
  const times = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
  for (let round = 0; round < rounds + 1; round++)
    for (const [name, run] of Object.entries(contestants)) {
      const seconds = await run();
      if (round > 0) times[name].push(seconds); // the first round warms up
    }
  return Object.fromEntries(Object.entries(times).map(([name, seconds]) => [name, median(seconds)]));
}

/** Prints rates and ratios of one case and returns { ratio name: ours against the peer }. */
export function compare(title, unit, rates, ours = 'seedbed') {
  say(`\n${title}`);
  const width = Math.max(...Object.keys(rates).map((name) => name.length));
  for (const [name, rate] of Object.entries(rates))
    say(`  ${name.padEnd(width)}  ${rate.toPrecision(4).padStart(9)} ${unit}${name === ours ? '' : `   seedbed is ${(rates[ours] / rate).toFixed(2)} times as fast`}`);
  return Object.fromEntries(Object.entries(rates).filter(([name]) => name !== ours).map(([name, rate]) => [`${title}: ${name}`, Number((rates[ours] / rate).toFixed(3))]));
}

/** The last line with --json: one object with every ratio. */
export function finish(name, ratios, extra = {}) {
  if (flags.json) process.stdout.write(`${JSON.stringify({ bench: name, machine: cpus()[0]?.model, ratios, ...extra })}\n`);
}
