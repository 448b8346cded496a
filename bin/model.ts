import { InvalidArgumentError } from 'commander';
import type { Diffusion } from '../lib/diffusion/diffusion.js';
import { loadDiffusion, type LoadDiffusionOptions } from '../lib/diffusion/load.js';
import { withBar, type Report } from './tasks.js';

/** A diffusion model for a command, with its progress. */
export async function loadModel(model: string, options: LoadDiffusionOptions, report: Report): Promise<Diffusion> {
  const job = loadDiffusion(model, options);
  for await (const event of job) {
    if (event.type === 'load') report(`${event.part}, ${event.done + 1} of ${event.total}`);
    else report(withBar(event.done / Math.max(1, event.total), `${event.file}, ${(event.done / 1e6).toFixed(0)} of ${(event.total / 1e6).toFixed(0)} MB`));
  }
  return job;
}

/** An adapter as command lines name it: a path, with `:0.8` behind it for another strength than 1. */
export interface LoraArgument {
  path: string;
  scale: number;
}

/** Parses one value of an option that may stand several times. */
export function loraArgument(text: string, before: readonly LoraArgument[] = []): LoraArgument[] {
  const [, path = '', scale] = /^(.*?)(?::(-?[\d.]+))?$/.exec(text) ?? [];
  const value = scale === undefined ? 1 : Number(scale);
  if (path === '' || !Number.isFinite(value)) throw new InvalidArgumentError("Expected a LoRA's path, perhaps with ':' and its strength.");
  return [...before, { path, scale: value }];
}

/** Adds adapters to a model. */
export function addLoras(sd: Diffusion, loras: readonly LoraArgument[]): void {
  for (const { path, scale } of loras) sd.loras.add(path, { scale });
}
