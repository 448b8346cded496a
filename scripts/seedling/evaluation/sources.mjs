// Where the pictures come from that are measured: a model, or real pictures in their place, to test the measures.

import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadDiffusion } from '../../../dist/lib/index.js';
import { PICTURE_BYTES, PIXELS } from '../variations.mjs';
import { blockOf, joined } from './pictures.mjs';
import { digest, writeWhole } from './judging.mjs';

const CHUNK = 64; // requests that are drawn and kept together
const BATCH = 16;

/** Of all files of a model's folder. */
/** Differs when any weight of the model does. */
export const versionOf = (model) => (existsSync(model) ? digestOfFolder(model) : model);

function digestOfFolder(folder) {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name));
  return digest(...files.sort().map((path) => readFileSync(path)));
}

/**
 * A loaded model that answers requests; what it drew is kept in `work`, so that a run that was stopped goes on. `settings` are options of `generate`.
 */
export async function openModel(folder, { work, settings, threads, dtype, say }) {
  const sd = await loadDiffusion(folder, { ...threads, dtype });
  const kept = join(work, 'pictures');
  mkdirSync(kept, { recursive: true });
  const { info } = sd;
  const version = digest(versionOf(folder), JSON.stringify(settings), info.dtype);

  async function chunk(requests) {
    const prompt = requests.map(({ caption }) => caption);
    const [{ seed }] = requests;
    const file = join(kept, `${digest(version, String(seed), ...prompt)}.u8`);
    if (existsSync(file)) return new Uint8Array(readFileSync(file));
    const { images } = await sd.generate({ prompt, seed, ...settings, width: PIXELS, height: PIXELS, batchSize: BATCH, ...threads });
    const { data } = joined(images.map((image) => image.data));
    writeWhole(file, data);
    return data;
  }

  async function pictures(requests, name = 'pictures') {
    const out = new Uint8Array(requests.length * PICTURE_BYTES);
    for (let first = 0; first < requests.length; first += CHUNK) {
      const part = requests.slice(first, first + CHUNK);
      if (part.some(({ seed }, i) => seed !== part[0].seed + i)) throw new Error('Expected seeds one after the other');
      out.set(await chunk(part), first * PICTURE_BYTES);
      say(`${name}: ${Math.min(requests.length, first + CHUNK)} of ${requests.length}`);
    }
    return blockOf(out);
  }

  /** Pictures through the autoencoder and back. */
  async function rebuilt(block) {
    const images = [];
    for (let first = 0; first < block.count; first += CHUNK) {
      const count = Math.min(CHUNK, block.count - first);
      const part = Array.from({ length: count }, (_, i) => ({ data: block.data.subarray((first + i) * PICTURE_BYTES, (first + i + 1) * PICTURE_BYTES), width: PIXELS, height: PIXELS, channels: 3 }));
      images.push(...(await sd.decodeLatents(await sd.encodeImage(part, threads), threads)));
    }
    return joined(images.map(({ data }) => data));
  }
  return { name: `${info.model}, ${(info.parameters / 1e6).toFixed(1)} M parameters, ${info.dtype}`, pictures, rebuilt, dispose: () => sd.dispose() };
}

/** The asked picture itself where the corpus has it, else another of the same variation: every measure must come out near its best. */
export function openReal({ sets, drawings }) {
  const plain = new Map(Object.values(drawings).flat().map((drawing) => [`${drawing.style}/${drawing.concept}`, drawing.picture]));
  const { entries, picture } = sets.train;
  const alike = (request) => (entry) =>
    entry.style !== 'photo' && entry.place === request.place && (entry.count ?? 1) === (request.count ?? 1) && JSON.stringify(entry.background?.names) === JSON.stringify(request.background?.names) && entry.background?.type === request.background?.type && entry.size === undefined && entry.concept === request.concept;
  const photos = sets['fashion-test'].entries.map((entry, i) => ({ ...entry, i })).filter(({ ground }) => ground !== 'white');
  const answer = (request, i) => {
    if (request.style === 'photo') {
      const same = photos.filter(({ concept }) => concept === request.concept);
      return sets['fashion-test'].picture(same[i % same.length].i);
    }
    const varied = request.place !== undefined || request.background !== undefined || (request.count ?? 1) > 1;
    return varied ? picture(entries.findIndex(alike(request))) : plain.get(`${request.style}/${request.concept}`);
  };
  return {
    name: 'real pictures in place of generated ones',
    pictures: (requests) => Promise.resolve(joined(requests.map(answer))),
    rebuilt: (block) => Promise.resolve(block),
    dispose: () => {},
  };
}
