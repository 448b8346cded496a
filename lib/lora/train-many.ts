import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { Diffusion } from '../diffusion/diffusion.js';
import { readSafetensorsHeaderSync } from '../diffusion/safetensors-header.js';
import { ArgumentError, errorFromFile } from '../errors.js';
import { fileNameOf } from '../files.js';
import { follow, Job } from '../job.js';
import { checkOptions } from '../options.js';
import { pictures, prompts, trainLora, type Lora, type LoraEvent, type TrainLoraOptions } from './train.js';
import type { WriteLoraOptions } from './write.js';

const classSchema = z.strictObject({
  /** Also names its file. */
  name: z.string().min(1).max(200),
  images: pictures,
  prompt: prompts.optional(),
});

const ownSchema = z.strictObject({
  /** Where the adapters go, NAME.safetensors each. */
  folder: z.string().min(1),
  /** Default diffusers. */
  format: z.enum(['diffusers', 'kohya']).default('diffusers'),
  /** Leave out classes whose file is there, and go on where the last one was stopped. Default false. */
  resume: z.boolean().default(false),
  signal: z.instanceof(AbortSignal).optional(),
});

/** A class to train an adapter for: `name`, and what `trainLora` takes. */
export type LoraClass = { name: string } & Pick<TrainLoraOptions, 'images' | 'prompt'>;

export type TrainLorasOptions = Omit<TrainLoraOptions, 'images' | 'prompt' | 'checkpoint'> & { folder: string; format?: Exclude<WriteLoraOptions['format'], 'peft'> };

/** Which class all further events are of, until the next. */
export interface LoraClassEvent {
  type: 'class';
  name: string;
  /** Classes before it. */
  done: number;
  total: number;
  /** Its file was there. */
  skipped: boolean;
}

export type LorasEvent = LoraClassEvent | (LoraEvent & { class: string });

export interface TrainedClass {
  name: string;
  path: string;
  /** Undefined where the file was there already. */
  lora: Lora | undefined;
}

/**
 * Trains one adapter per class from one loaded model, one after the other: `images` and `prompt` by class, all other options of `trainLora` for all. Each is
 * written when it is done; a run that is stopped leaves a checkpoint of the class it was at, and `resume` goes on there. Throws what `trainLora` throws, and
 * `ERR_INVALID_ARGUMENT` for names that occur twice and for a finished file that was made with other options.
 */
export function trainLoras(sd: Diffusion, classes: readonly LoraClass[], options: TrainLorasOptions): Job<LorasEvent, TrainedClass[]> {
  const { folder, format, resume, signal, ...shared } = options as TrainLorasOptions & { checkpoint?: never };
  const own = checkOptions(ownSchema, { folder, ...(format && { format }), ...(resume !== undefined && { resume }), ...(signal && { signal }) }, 'trainLoras');
  const all = checkOptions(z.array(classSchema).min(1), classes, 'trainLoras') as LoraClass[];
  const twice = all.find(({ name }, i) => all.findIndex((other) => fileNameOf(other.name) === fileNameOf(name)) !== i);
  if (twice !== undefined) throw new ArgumentError(`Expected names of classes that differ, received '${twice.name}' twice`);
  if ('checkpoint' in shared) throw new ArgumentError('Expected no checkpoint for trainLoras, which keeps one of each class in the folder');
  return new Job<LorasEvent, TrainedClass[]>(async ({ emit, signal: inner }) => {
    await mkdir(own.folder, { recursive: true }).catch((error: unknown) => {
      throw errorFromFile(error, 'write', own.folder);
    });
    const trained: TrainedClass[] = [];
    for (const [done, { name, images, prompt }] of all.entries()) {
      const path = join(own.folder, `${fileNameOf(name)}.safetensors`);
      const skipped = own.resume && existsSync(path);
      if (skipped) {
        checkSettings(path, shared);
        await rm(checkpointOf(path), { force: true }); // left by a run that was killed right after the adapter was written
      }
      emit({ type: 'class', name, done, total: all.length, skipped });
      trained.push({ name, path, lora: skipped ? undefined : await trainOne({ name, images, ...(prompt !== undefined && { prompt }) }, path, inner) });
    }
    return trained;

    async function trainOne({ name, ...what }: LoraClass, path: string, stop: AbortSignal): Promise<Lora> {
      const checkpoint = checkpointOf(path);
      const lora = await follow(trainLora(sd, { ...shared, ...what, checkpoint, resume: own.resume, signal: stop }), (event) => emit({ ...event, class: name }));
      await lora.save(path, { format: own.format });
      await rm(checkpoint, { force: true });
      return lora;
    }
  }, own);
}

const checkpointOf = (path: string): string => path.replace(/\.safetensors$/, '.checkpoint.safetensors');

/** Throws when a finished adapter was made with other options than those given now. */
function checkSettings(path: string, given: Readonly<Record<string, unknown>>): void {
  let stored: Record<string, unknown> = {};
  try {
    stored = JSON.parse(readSafetensorsHeaderSync(path).metadata['seedbed.training'] ?? '{}') as Record<string, unknown>;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  // A run's warm-up is as long as the run at most.
  const options = typeof given['warmupSteps'] === 'number' ? { ...given, warmupSteps: Math.min(given['warmupSteps'], Number(stored['steps'] ?? Infinity)) } : given;
  const other = Object.keys(options).find((name) => name in stored && options[name] !== undefined && !isDeepStrictEqual(stored[name], options[name]));
  if (other !== undefined) throw new ArgumentError(`Expected '${path}' to be made with ${other} ${JSON.stringify(options[other])}, it was with ${JSON.stringify(stored[other])}; remove it or choose another folder`);
}
