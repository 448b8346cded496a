import { readFile } from 'node:fs/promises';
import { errorFromFile, SeedbedError } from '../errors.js';
import { writeFileWhole } from '../files.js';
import type { FewShotResult } from '../experiment/few-shot.js';
import type { Ifs } from '../ifs.js';
import type { Gain } from '../methods/data-dream/compare.js';
import type { EvaluationEvent } from '../native.js';
import type { ClassifierEvaluation } from '../evaluation.js';

/** The machine and program that made a record. */
export interface Origin {
  seedbed: string;
  created: string;
  cpu: string;
  threads: number;
}

export interface Part {
  name: string;
  seconds: number;
}

/** Copies of the fractal on the demo's page, at most. */
export const SHOWN_COPIES = 8;

/** Everything the demo's report shows; numbers come from the run, pictures are data URIs. */
export interface DemoRecord {
  kind: 'demo';
  origin: Origin;
  study: FewShotResult;
  /** How each arm was trained after its start. */
  fineTuning: { steps: number; batchSize: number; model: string; parameters: number };
  /** The pre-training shown live. */
  live: { samples: number; copies: number; losses: number[]; base: Ifs; sigmaFactor: number; delta: number };
  /** The shipped backbone's own record. */
  shipped: { kind: '1p-frac' | 'FractalDB'; samples: number; stages: { count: number; samples: number; finalLoss: number; chance: number }[] };
  pictures: { base: string; fractals: string; shots: string; answers: string };
  /** Summed over seeds for the last arm: confusion[i][j], class i called j. */
  confusion: number[][];
  parts: Part[];
}

export interface TrainRecord {
  kind: 'train';
  origin: Origin;
  data: { name: string; classes: readonly string[]; trainCounts: number[]; validationCounts: number[]; shots?: number | undefined };
  options: Record<string, unknown>;
  init: string | undefined;
  parameters: number;
  losses: number[];
  evaluations: EvaluationEvent[];
  /** On the validation pictures, after training. */
  evaluation: ClassifierEvaluation | undefined;
  parts: Part[];
}

/** A training run of a LoRA adapter; pictures are data URIs. */
export interface LoraRecord {
  kind: 'lora';
  origin: Origin;
  name: string;
  model: string;
  /** What the model computed in. */
  dtype: string;
  pictures: number;
  settings: Record<string, unknown>;
  /** Of the adapter. */
  layers: { unet: number; textEncoder: number };
  parameters: number;
  losses: number[];
  /** Of each update since the run was begun or resumed; the last ones. */
  seconds: number[];
  peakMb: number;
  samples: { prompts: string[]; steps: { step: number; pictures: (string | undefined | null)[] }[]; settings: Record<string, unknown> } | undefined;
  written: string[];
  warnings: string[];
  parts: Part[];
}

/** A run of DataDream; pictures are data URIs. */
export interface GrowRecord {
  kind: 'grow';
  origin: Origin;
  name: string;
  model: string;
  settings: Record<string, unknown>;
  warnings: string[];
  classes: {
    name: string;
    prompt: string;
    /** Real pictures that were learnt from. */
    shots: number;
    generated: number;
    dropped: number;
    /** Sheets, of the first classes; `dropped` where there are some. */
    pictures: { real: string; generated: string; dropped?: string } | undefined;
  }[];
  /** How often each reason came. */
  reasons: { reason: string; count: number }[];
  /** What the generated pictures were worth; else why it is not known. */
  gain: Gain | undefined;
  notCompared: string | undefined;
  /** Of the real test pictures, all runs together: confusion[i][j], class i called j; of classifiers of real pictures, and of both. */
  confusions: { real: number[][]; both: number[][] } | undefined;
  parts: Part[];
}

export type RunRecord = DemoRecord | TrainRecord | LoraRecord | GrowRecord;
const KINDS: readonly RunRecord['kind'][] = ['demo', 'train', 'lora', 'grow'];

export function writeRecord(path: string, record: RunRecord): Promise<void> {
  return writeFileWhole(path, `${JSON.stringify(record)}\n`);
}

/** Reads what `seedbed demo`, `seedbed grow`, `seedbed train` or `seedbed lora train` wrote. Throws `ERR_FILE_FORMAT` for anything else. */
export async function readRecord(path: string): Promise<RunRecord> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw errorFromFile(error, 'read', path);
  }
  let record: unknown;
  try {
    record = JSON.parse(text);
  } catch (error) {
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected the JSON record of a run in '${path}', found something else`, { cause: error });
  }
  const kind = (record as { kind?: unknown } | null)?.kind;
  if (!KINDS.some((known) => known === kind)) throw new SeedbedError('ERR_FILE_FORMAT', `Expected the record of a run (kind ${KINDS.join(', ')}) in '${path}', found kind ${String(kind)}`);
  return record as RunRecord;
}
