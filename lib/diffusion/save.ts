import { existsSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { writeFileWhole, writeFolderWhole } from '../files.js';
import { runNative } from '../job.js';
import { native } from '../native.js';
import type { Dtype } from '../tensor.js';
import { toDiffusersConfig } from './config.js';
import type { DiffusionParts } from './parts.js';

export interface SaveEvent {
  type: 'save';
  /** The network that is written next. */
  part: string;
  done: number;
  total: number;
}

const FILES = {
  textEncoder: 'text_encoder/model.safetensors',
  unet: 'unet/diffusion_pytorch_model.safetensors',
  vae: 'vae/diffusion_pytorch_model.safetensors',
  imageEncoder: 'image_encoder/model.safetensors',
};
/** Whichever of them a tokenizer's folder holds. */
export const TOKENIZER_FILES = ['vocab.json', 'merges.txt', 'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json'];

/** Of each network, and of those that are not named. */
export type StoredDtypes = Partial<Record<keyof typeof FILES, Dtype>> & { other: Dtype };

/** Writes a model as a folder of diffusers' layout, whole or not at all. */
export async function saveFolder(parts: DiffusionParts, folder: string, { dtypes, ...options }: { dtypes: StoredDtypes; threads: number }, emit: (event: SaveEvent) => void, signal: AbortSignal): Promise<void> {
  const { config, handle, tokenizerFolder } = parts;
  const nets = Object.entries(FILES).filter(([part]) => part !== 'imageEncoder' || config.imageEncoder !== undefined);
  await writeFolderWhole(folder, async (temporary) => {
    for (const [path, json] of Object.entries(toDiffusersConfig(config, parts.schedulerConfig))) {
      await mkdir(dirname(join(temporary, path)), { recursive: true });
      await writeFileWhole(join(temporary, path), `${JSON.stringify(json, null, 2)}\n`);
    }
    await mkdir(join(temporary, 'tokenizer'));
    for (const name of TOKENIZER_FILES) if (existsSync(join(tokenizerFolder, name))) await copyFile(join(tokenizerFolder, name), join(temporary, 'tokenizer', name));
    for (const [done, [part, path]] of nets.entries()) {
      emit({ type: 'save', part, done, total: nets.length });
      await runNative<never, undefined>((listener) => native().saveDiffusion(handle, { ...options, dtype: dtypes[part as keyof StoredDtypes] ?? dtypes.other, part, path: join(temporary, path) }, listener), signal);
    }
  });
}
