import { ADAPTER_METADATA } from './peft.js';
import { familyOfFile } from './inspect.js';
import { readLora } from './read.js';
import { knownSites, type LoraSites } from './sites.js';
import { writeLora, type WriteLoraOptions } from './write.js';

export interface ConvertLoraOptions extends Omit<WriteLoraOptions, 'metadata'> {
  /** The layers of the model. Default: of the family that the file's widths tell. */
  sites?: LoraSites;
}

/** Metadata that is true of the old file only: of its form, hashes of its bytes, and where a list without names says ranks and classes. */
const OF_THE_FORM = /^(format|unet|text_encoder|ss_network_(dim|alpha)|sshs_.*|(unet|text_encoder):\d+:rank)$/;

/** Writes an adapter in another format; other metadata come along. Returns the paths that were written. Throws what `readLora` and `writeLora` throw. */
export async function convertLora(path: string, out: string, { sites, ...options }: ConvertLoraOptions): Promise<string[]> {
  const family = options.family ?? familyOfFile(path);
  const { weights, metadata } = readLora(path, sites ?? knownSites(family ?? 'sd1'));
  const kept = Object.entries(metadata).filter(([name, value]) => !OF_THE_FORM.test(name) && name !== ADAPTER_METADATA && value !== '<embed>');
  return writeLora(out, weights, { ...options, ...(family && { family }), metadata: Object.fromEntries(kept) });
}
