import { isDeepStrictEqual } from 'node:util';
import { SeedbedError } from '../errors.js';
import { writeFileWhole } from '../files.js';
import { encodePng, scaleImage, type Image } from '../image.js';
import { Job } from '../job.js';
import type { Diffusion } from './diffusion.js';
import type { GenerateOptions } from './generate-options.js';
import { readGenerationSettings, writeGenerationSettings, type GenerationSettings } from './png-metadata.js';
import type { WarningEvent } from './results.js';

/** A picture that a run stands for. */
export interface PictureFile {
  file: string;
  seed: number;
  prompt: string;
  /** Written into the file; a picture that is there must have the same. */
  settings: GenerationSettings;
  /** That picture is there. */
  exists: boolean;
  /** What it begins with, with `strength` in the call. */
  image?: Image;
}

/** What all pictures of a run share. */
export type PictureCall = Omit<GenerateOptions, 'prompt' | 'count' | 'batchSize' | 'signal'>;

export interface PictureProgress {
  type: 'progress';
  /** Pictures of the batches up to this one. */
  picture: number;
  pictures: number;
  step: number;
  steps: number;
  secondsPerStep: number;
  /** In [0, 1], of all pictures. */
  share: number;
}

interface PlanOptions {
  /** Where the picture of a seed goes. */
  fileOf: (seed: number, index: number) => string;
  /** Goes into a picture's settings too. */
  provenance?: (index: number) => Readonly<Record<string, unknown>>;
  /** What the picture of each prompt begins with. */
  images?: readonly Image[];
}

interface LookOptions {
  /** Make pictures anew that were made with other settings. Default: an error names the first. */
  overwrite?: boolean;
  /** What that error advises. */
  advice?: string;
}

/** One picture for each prompt, with seeds one after the other; none is looked for. */
export function planPictureFiles(sd: Diffusion, call: PictureCall, prompts: readonly string[], { fileOf, provenance, images }: PlanOptions): PictureFile[] {
  const { seeds, settings } = sd.plan({ ...call, prompt: [...prompts], ...(images && { image: [...images] }) });
  return seeds.map((seed, i) => ({ file: fileOf(seed, i), seed, prompt: prompts[i] as string, settings: { ...(settings[i] as GenerationSettings), ...provenance?.(i) }, exists: false, ...(images && { image: images[i] as Image }) }));
}

/** Notes which of them are there. Throws `ERR_FILE_WRITE` for a file that holds something else. */
export async function lookForPictures(pictures: readonly PictureFile[], { overwrite = false, advice = 'choose another folder' }: LookOptions = {}): Promise<void> {
  for (const picture of pictures) picture.exists = (await stateOf(picture, overwrite, advice)) === 'there';
}

async function stateOf({ file, settings }: PictureFile, overwrite: boolean, advice: string): Promise<'there' | 'to write'> {
  try {
    if (isDeepStrictEqual(await readGenerationSettings(file), JSON.parse(JSON.stringify(settings)))) return 'there';
  } catch (error) {
    if ((error as SeedbedError).code === 'ERR_FILE_NOT_FOUND') return 'to write';
    if ((error as SeedbedError).code !== 'ERR_IMAGE') throw error;
  }
  if (overwrite) return 'to write';
  throw new SeedbedError('ERR_FILE_WRITE', `Expected '${file}' to be absent or made with the same settings, it is another picture; ${advice}`);
}

interface MakeOptions {
  /** Pictures computed at once; they are written together. */
  batchSize: number;
  /** Write each picture as many times larger too, as name@4x.png. Default 1: no. */
  enlarge?: number;
  signal?: AbortSignal;
}

/**
 * Makes the pictures that are missing, batch by batch, each file whole or not at all. A batch of which one is missing is computed whole, so that its
 * bytes do not depend on what was there. Their folders must exist.
 */
export function makePictureFiles(sd: Diffusion, call: PictureCall, pictures: readonly PictureFile[], { batchSize, enlarge = 1, ...options }: MakeOptions): Job<PictureProgress | WarningEvent, void> {
  return new Job<PictureProgress | WarningEvent, void>(async ({ emit, signal }) => {
    for (let first = 0; first < pictures.length; first += batchSize) {
      const batch = pictures.slice(first, first + batchSize);
      if (batch.every(({ exists }) => exists)) continue;
      const beginnings = batch.flatMap(({ image }) => (image === undefined ? [] : [image]));
      const job = sd.generate({ ...call, ...(beginnings.length > 0 && { image: beginnings }), prompt: batch.map(({ prompt }) => prompt), seed: (batch[0] as PictureFile).seed, batchSize, signal });
      const begin = performance.now();
      for await (const event of job) {
        if (event.type === 'warning') {
          emit(event);
          continue;
        }
        const { step, steps } = event;
        const share = (first + (batch.length * step) / steps) / pictures.length;
        emit({ type: 'progress', picture: first + batch.length, pictures: pictures.length, step, steps, secondsPerStep: (performance.now() - begin) / 1000 / step, share });
      }
      const { images } = await job;
      for (const [i, { file, settings, exists }] of batch.entries()) {
        if (exists) continue;
        const picture = images[i] as Image;
        if (enlarge > 1) await writeFileWhole(file.replace(/\.png$/, `@${enlarge}x.png`), await encodePng(await scaleImage(picture, picture.width * enlarge)));
        await writeFileWhole(file, writeGenerationSettings(await encodePng(picture), settings));
      }
    }
  }, options);
}
