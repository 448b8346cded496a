import { existsSync, readdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { writeGenerationSettings } from '../lib/diffusion/png-metadata.js';
import { errorFromFile } from '../lib/errors.js';
import { writeFileWhole } from '../lib/files.js';
import { encodePng, readImage, scaleImage } from '../lib/image.js';
import type { LoraSampleEvent } from '../lib/lora/train.js';
import type { LoraRecord } from '../lib/report/record.js';

/** Of a picture in a record, for screens of twice the pixels. */
const SHOWN_WIDTH = 256;
/** Columns that a record shows at most: the first, the last, and some between. */
const MOST_SHOWN = 10;
const NAME = /^(\d+)-(\d+)\.png$/;

/** Pictures made during a training run, in a folder: UPDATE-PROMPT.png. Those of a run that was resumed are there already. */
export class SampleFiles {
  readonly written: string[] = [];
  readonly #folder: string;
  readonly #lora: string;
  readonly #prompts: string[];
  #settings: Record<string, unknown> = {};

  constructor(folder: string, lora: string, prompts: string[]) {
    this.#folder = folder;
    this.#lora = basename(lora);
    this.#prompts = prompts;
  }

  async write({ step, steps, images, settings }: LoraSampleEvent): Promise<void> {
    await mkdir(this.#folder, { recursive: true }).catch((error: unknown) => {
      throw errorFromFile(error, 'write', this.#folder);
    });
    for (const [i, image] of images.entries()) {
      const path = join(this.#folder, `${String(step).padStart(String(steps).length, '0')}-${i}.png`);
      const own = settings[i] ?? { prompt: this.#prompts[i] ?? '' };
      this.#settings = own;
      await writeFileWhole(path, writeGenerationSettings(await encodePng(image), { ...own, lora: this.#lora, loraUpdate: step }));
      this.written.push(path);
    }
  }

  /** The pictures of this run, small; of a run that was resumed also those that were there, of updates up to `last`. */
  async forRecord(last: number, resumed: boolean): Promise<LoraRecord['samples']> {
    const names = resumed && existsSync(this.#folder) ? readdirSync(this.#folder) : this.written.map((path) => basename(path));
    const updates = [...new Set(names.flatMap((name) => Number(NAME.exec(name)?.[1] ?? Infinity)))].filter((step) => step <= last).sort((a, b) => a - b);
    const shown = updates.filter((_, i) => updates.length <= MOST_SHOWN || shownAmong(updates.length).has(i));
    const picture = async (step: number, i: number): Promise<string | undefined> => {
      const name = names.find((one) => Number(NAME.exec(one)?.[1]) === step && Number(NAME.exec(one)?.[2]) === i);
      if (name === undefined) return undefined;
      const image = await readImage(join(this.#folder, name));
      const png = await encodePng(image.width > SHOWN_WIDTH ? await scaleImage(image, SHOWN_WIDTH) : image);
      return `data:image/png;base64,${png.toString('base64')}`;
    };
    const steps = await Promise.all(shown.map(async (step) => ({ step, pictures: await Promise.all(this.#prompts.map((_, i) => picture(step, i))) })));
    return { prompts: this.#prompts, steps, settings: this.#settings };
  }
}

/** Places evenly among so many, the first and the last with them. */
const shownAmong = (length: number): Set<number> => new Set(Array.from({ length: MOST_SHOWN }, (_, i) => Math.round((i * (length - 1)) / (MOST_SHOWN - 1))));
