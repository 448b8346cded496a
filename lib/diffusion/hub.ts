import { rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { z } from 'zod';
import { ArgumentError, SeedbedError } from '../errors.js';
import { abortSignal, checkOptions, show } from '../options.js';
import { download } from '../setup/download.js';
import { checkPipeline } from './architectures.js';
import { HubRepository, UnreachableError, type HubFile } from './hub-api.js';
import { CachedRepository, COMMIT, hubSettings, sizeOf } from './hub-cache.js';
import { readJson } from './json-file.js';
import { findModel } from './layout.js';
import { chooseWeights, WEIGHT_NAMES, type NetName } from './weight-files.js';

export interface FetchProgress {
  /** The file that is being fetched, by its path in the repository. */
  file: string;
  /** Bytes of the whole model on disk so far, of `total`. */
  done: number;
  total: number;
}

export interface FetchModelOptions {
  /** A branch, a tag or a commit. Default: `main`. */
  revision?: string;
  /** Weights of this kind, say `fp16`, where a net has them. Default: the plain ones. */
  variant?: string;
  signal?: AbortSignal;
  onProgress?: (progress: FetchProgress) => void;
}

const optionsSchema = z.strictObject({
  revision: z
    .string()
    .regex(/^(?!.*\.\.)[\w.+-]+(\/[\w.+-]+)*$/, 'a branch, a tag or a commit')
    .default('main'),
  variant: z.string().min(1).optional(),
  signal: abortSignal.optional(),
  onProgress: z.custom<(progress: FetchProgress) => void>((value) => typeof value === 'function', 'a function').optional(),
});
type Options = z.output<typeof optionsSchema>;

const NAME = /^(?!.*(\.\.|--))[\w-][\w.-]*\/[\w-][\w.-]*$/;
const INDEX = 'model_index.json';
const SMALL_FILES = [
  ...['vocab.json', 'merges.txt', 'tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json'].map((name) => `tokenizer/${name}`),
  'scheduler/scheduler_config.json',
];

/** Whether this is the hub's name of a model, `organisation/name`, rather than a path. */
export const isHubName = (text: string): boolean => NAME.test(text);

/**
 * Makes sure that a model of the Hugging Face hub is on this disk and returns its folder: in the cache that Python's
 * huggingface_hub uses, so neither fetches what the other has. Only what is needed is fetched: configs, tokenizer and
 * safetensors of the nets. Every file is checked; an interrupted one goes on at the next call. Honours `HF_HOME`,
 * `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE` and proxies. Without network a cached model is used.
 * Throws `ERR_DOWNLOAD`, `ERR_FILE_FORMAT` (another model, by name, before its weights are fetched), `ERR_DISK_FULL`.
 */
export async function fetchModel(name: string, options: FetchModelOptions = {}): Promise<string> {
  if (!isHubName(name)) throw new ArgumentError(`Expected a model's name as 'organisation/name', received ${show(name)}`);
  const checked = checkOptions(optionsSchema, options, 'fetchModel');
  checked.signal?.throwIfAborted();
  const settings = await hubSettings();
  const cached = new CachedRepository(settings.cache, name);
  const known = await cached.commitOf(checked.revision);
  const local = async (): Promise<string> => {
    if (known === undefined) throw new SeedbedError('ERR_DOWNLOAD', `Expected '${name}' (${checked.revision}) in '${settings.cache}', found nothing`);
    await findModel(cached.snapshot(known), checked); // throws when a part is missing
    return cached.snapshot(known);
  };
  if (COMMIT.test(checked.revision) || settings.offline) {
    const folder = await local().catch((error: unknown) => {
      if (!settings.offline) return undefined;
      throw new SeedbedError('ERR_DOWNLOAD', `'${name}' is not completely in the cache and HF_HUB_OFFLINE is set: ${(error as Error).message}`, { cause: error });
    });
    if (folder !== undefined) return folder;
  }
  const hub = new HubRepository(settings, name, checked.revision, checked.signal);
  try {
    return await fetchFrom(hub, cached, checked);
  } catch (error) {
    if (!(error instanceof UnreachableError)) throw error;
    return local().catch(() => {
      throw error;
    });
  }
}

async function fetchFrom(hub: HubRepository, cached: CachedRepository, options: Options): Promise<string> {
  const commit = COMMIT.test(hub.revision) ? hub.revision : await hub.commit();
  const files = await hub.files(commit);
  const index = files.find(({ path }) => path === INDEX);
  if (index === undefined) throw noIndex(hub, files);
  await cached.prepare();
  const indexPath = await fetchFile(hub, cached, commit, index, options);
  const json = (await readJson(indexPath)) as Record<string, unknown>;
  checkPipeline(String(json['_class_name']), hub.name);

  const wanted = chooseFiles(files, json, hub.name, options.variant);
  const total = wanted.reduce((sum, { size }) => sum + size, index.size);
  let done = index.size;
  for (const file of wanted) {
    const report = (bytes: number): void => options.onProgress?.({ file: file.path, done: done + bytes, total });
    const path = await fetchFile(hub, cached, commit, file, options, report);
    done += file.size;
    if (path === cached.blob(file.hash)) await cached.link(commit, file.path, file.hash);
    options.onProgress?.({ file: file.path, done, total });
  }
  if (indexPath === cached.blob(index.hash)) await cached.link(commit, INDEX, index.hash); // last: a snapshot that has it is complete
  await cached.setRef(hub.revision, commit);
  return cached.snapshot(commit);
}

function noIndex(hub: HubRepository, files: readonly HubFile[]): SeedbedError {
  const single = files.find(({ path }) => /^[^/]+\.safetensors$/.test(path))?.path;
  const hint = single === undefined ? '' : `; its single file '${single}' can be loaded by path once you have downloaded it`;
  return new SeedbedError('ERR_FILE_FORMAT', `Expected a diffusers model (${INDEX}) in '${hub.name}', found none${hint}`);
}

/** The files that loading needs. */
function chooseFiles(files: readonly HubFile[], index: Readonly<Record<string, unknown>>, name: string, variant: string | undefined): HubFile[] {
  const has = (part: string): boolean => Array.isArray(index[part]) && typeof index[part][0] === 'string';
  const inFolder = (folder: string): HubFile[] => files.filter(({ path }) => dirname(path) === folder);
  const wanted = files.filter(({ path }) => SMALL_FILES.includes(path) || (has('image_encoder') && path === 'feature_extractor/preprocessor_config.json'));
  for (const net of Object.keys(WEIGHT_NAMES) as NetName[]) {
    if (net === 'image_encoder' && !has(net)) continue;
    const present = inFolder(net);
    const chosen = chooseWeights(
      present.map(({ path }) => basename(path)),
      `${name}/${net}`,
      { ...WEIGHT_NAMES[net], variant },
    );
    const kind = chosen.sharded ? /\.index\.([^.]+)\.json$/.exec(chosen.file)?.[1] : undefined;
    const shard = new RegExp(`^${WEIGHT_NAMES[net].base}(\\.([^.-]+))?-\\d+-of-\\d+(\\.([^.]+))?\\.safetensors$`);
    wanted.push(
      ...present.filter(({ path }) => {
        const file = basename(path);
        const parts = chosen.sharded ? shard.exec(file) : null;
        return file === 'config.json' || file === chosen.file || (parts !== null && (parts[2] ?? parts[4]) === kind);
      }),
    );
  }
  return wanted.sort((a, b) => a.size - b.size); // small ones first: what is wrong with them shows at once
}

/** Two calls in this process that want the same blob: one fetches, the other waits. */
const underWay = new Map<string, Promise<string>>();

/** Where the file's content lies: at its place in the snapshot, or, newly or from another snapshot, in its blob. */
async function fetchFile(hub: HubRepository, cached: CachedRepository, commit: string, file: HubFile, options: Options, onBytes?: (done: number) => void): Promise<string> {
  const blob = cached.blob(file.hash);
  for (let other = underWay.get(blob); other !== undefined; other = underWay.get(blob)) await other.catch(() => {});
  options.signal?.throwIfAborted();
  const work = fetchBlob(hub, cached, commit, file, options, onBytes).finally(() => underWay.delete(blob));
  underWay.set(blob, work);
  return work;
}

async function fetchBlob(hub: HubRepository, cached: CachedRepository, commit: string, file: HubFile, { signal }: Options, onBytes?: (done: number) => void): Promise<string> {
  const [place, blob] = [cached.place(commit, file.path), cached.blob(file.hash)];
  if ((await sizeOf(place)) === file.size) return place;
  if ((await sizeOf(blob)) === file.size) return blob;
  await rm(blob, { force: true });
  const url = hub.fileUrl(commit, file.path);
  const source = { url, size: file.size, ...(file.large ? { sha256: file.hash } : { gitSha1: file.hash }) };
  await download(source, blob, { onBytes, signal, headers: hub.headers, refusal: (status, headers) => hub.refusal(status, headers, url) });
  return blob;
}
