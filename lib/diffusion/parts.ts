import type { DiffusionHandle } from '../native.js';
import type { SchedulerConfig } from '../scheduler-config.js';
import { threads } from '../threads.js';
import type { DiffusionConfig } from './config.js';
import type { ClipTokenizer } from './tokenizer.js';

/** What a loaded model is made of. */
export interface DiffusionParts {
  name: string;
  handle: DiffusionHandle;
  config: DiffusionConfig;
  tokenizer: ClipTokenizer;
  tokenizerFolder: string;
  schedulerConfig: SchedulerConfig;
  threads: number | undefined;
}

/** Threads of a call: its own, else the model's, else all cores. */
export const threadsOf = (parts: DiffusionParts, options: { threads?: number | undefined }): number => threads(options.threads ?? parts.threads);
