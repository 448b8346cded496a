import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isPickle, pickleRefusal } from '../diffusion/weight-files.js';
import { errorFromFile, SeedbedError } from '../errors.js';

/** One safetensors file of an adapter. */
export interface LoraFile {
  path: string;
  /** PEFT's adapter_config.json of this file. */
  config?: string;
}

const PEFT_WEIGHTS = 'adapter_model.safetensors';
const PEFT_CONFIG = 'adapter_config.json';
const DIFFUSERS_WEIGHTS = 'pytorch_lora_weights.safetensors';
/** Folders of PEFT's adapters, one for each net. */
const NETS = ['unet', 'text_encoder'];

/**
 * The files at a path: one file, a folder of PEFT's, folders of PEFT's for each net, or a folder that diffusers saved into.
 * Throws `ERR_FILE_NOT_FOUND`, and `ERR_FILE_FORMAT` for pickles.
 */
export function findLoraFiles(path: string): LoraFile[] {
  if (!isFolder(path)) {
    if (isPickle(path)) throw pickleRefusal('a LoRA in a safetensors file or a folder', `'${path}'`);
    const config = join(dirname(path), PEFT_CONFIG);
    return [{ path, ...(path.endsWith(PEFT_WEIGHTS) && existsSync(config) && { config }) }];
  }
  const own = adapterIn(path);
  const found = own === undefined ? NETS.flatMap((net) => adapterIn(join(path, net)) ?? []) : [own];
  if (found.length > 0) return found;
  const diffusers = join(path, DIFFUSERS_WEIGHTS);
  if (existsSync(diffusers)) return [{ path: diffusers }];
  const names = readdirSync(path);
  const pickle = names.find((name) => isPickle(name));
  if (pickle !== undefined) throw pickleRefusal(`a LoRA in '${path}'`, `only ${pickle}`);
  throw new SeedbedError('ERR_FILE_NOT_FOUND', `Expected ${PEFT_WEIGHTS} with ${PEFT_CONFIG}, or ${DIFFUSERS_WEIGHTS}, in '${path}', found ${names.length === 0 ? 'nothing' : `${names.length} other entries`}; give the path of the file itself if it has another name`);
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    throw errorFromFile(error, 'read', path);
  }
}

function adapterIn(folder: string): LoraFile | undefined {
  const [path, config] = [join(folder, PEFT_WEIGHTS), join(folder, PEFT_CONFIG)];
  const [weights, settings] = [existsSync(path), existsSync(config)];
  if (weights && settings) return { path, config };
  if (weights) throw new SeedbedError('ERR_FILE_NOT_FOUND', `Expected ${PEFT_CONFIG} beside '${path}', which holds rank and alpha; found none`);
  if (!settings) return undefined;
  const pickle = readdirSync(folder).find((name) => isPickle(name));
  if (pickle !== undefined) throw pickleRefusal(`'${path}'`, `only ${pickle}`);
  throw new SeedbedError('ERR_FILE_NOT_FOUND', `Expected '${path}' beside its ${PEFT_CONFIG}, found none`);
}
