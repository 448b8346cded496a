import { native, type ActiveLorasHandle, type DiffusionHandle } from '../native.js';
import type { SchedulerConfig } from '../scheduler-config.js';
import { threads } from '../threads.js';
import type { DiffusionConfig } from './config.js';
import type { ClipTokenizer } from './tokenizer.js';

/** `seedbed.json` in a model's folder. */
export type GenerationDefaults = { steps?: number | undefined; guidanceScale?: number | undefined };

/** What a loaded model is made of. */
export interface DiffusionParts {
  name: string;
  handle: DiffusionHandle;
  config: DiffusionConfig;
  tokenizer: ClipTokenizer;
  tokenizerFolder: string;
  schedulerConfig: SchedulerConfig;
  /** What `generate` takes where it is told nothing. */
  defaults: GenerationDefaults;
  threads: number | undefined;
}

const known = new WeakMap<object, DiffusionParts>();

/** Lets functions outside of the class know what a model is made of. */
export const keepParts = (model: object, parts: DiffusionParts): void => void known.set(model, parts);
export const partsOf = (model: object): DiffusionParts => known.get(model) as DiffusionParts;

/** What every native call on a model is told. */
export interface NativeCall {
  threads: number;
  loras: ActiveLorasHandle;
}

/** Threads of a call (its own, else the model's, else all cores) and the adapters that are active now, with the call's own scales. */
export const nativeCall = (parts: DiffusionParts, o: { threads?: number | undefined; loras?: Readonly<Record<string, number>> | undefined }): NativeCall => ({
  threads: threads(o.threads ?? parts.threads),
  loras: native().activeLoras(parts.handle, { scales: Object.entries(o.loras ?? {}).map(([name, scale]) => ({ name, scale })) }),
});
