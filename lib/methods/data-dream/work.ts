import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Dataset } from '../../data/dataset.js';
import { ArgumentError, errorFromFile, SeedbedError } from '../../errors.js';
import { fileNameOf, writeFileWhole } from '../../files.js';
import { flattened } from '../../options.js';
import type { ModelDtype } from '../../tensor.js';
import type { DataDreamSettings } from './options.js';

/** Where the parts of a run lie. */
export class Work {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  get loras(): string {
    return join(this.folder, 'loras');
  }

  /** An image dataset with metadata.jsonl. */
  get images(): string {
    return join(this.folder, 'images');
  }

  /** Tars of the pictures that stay. */
  get shards(): string {
    return join(this.folder, 'shards');
  }

  get spec(): string {
    return join(this.folder, 'grow.json');
  }

  get dropped(): string {
    return join(this.folder, 'dropped.jsonl');
  }

  get record(): string {
    return join(this.folder, 'record.json');
  }

  get report(): string {
    return join(this.folder, 'report.html');
  }

  lora(name: string): string {
    return join(this.loras, `${fileNameOf(name)}.safetensors`);
  }

  /** Of picture `i` of a class, relative to `images`. */
  image(className: string, i: number): string {
    return `${fileNameOf(className)}/${String(i).padStart(6, '0')}.png`;
  }
}

/** What decides a run's files: another run in the same folder must have the same. */
export type Spec = Record<string, unknown>;

/** A digest of labelled pictures: names, labels, bytes, and captions if they are used. */
export async function digestOf(data: Dataset, { captions }: DataDreamSettings): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(data.classes));
  for await (const { key, label, image, caption } of data) hash.update(JSON.stringify([key, label, image.width, image.height, image.channels, ...(captions && caption !== undefined ? [caption] : [])])).update(image.data);
  return hash.digest('hex').slice(0, 16);
}

/** Temporary names of files that are written whole. */
const LEFTOVER = /\.(\d+)-\d+\.tmp$/;

/** Settings that do not change what is generated. */
const FREE = new Set(['out', 'signal', 'threads', 'shard', 'compare', 'filter', 'format', 'model', 'data', 'test']);

export function specOf(settings: DataDreamSettings, { learnt, ...given }: { model: string; data: string; learnt: ModelDtype }): Spec {
  return JSON.parse(JSON.stringify({ seedbed: 1, ...given, ...Object.fromEntries(Object.entries(settings).filter(([name]) => !FREE.has(name))), adapt: { ...settings.adapt, dtype: learnt } })) as Spec;
}

/** Numbers that the run in a folder draws in; undefined where there is none. */
export async function notedDtype(folder: string): Promise<ModelDtype | undefined> {
  const spec = await heldSpec(new Work(folder));
  return (spec?.['generate'] as { dtype?: ModelDtype } | undefined)?.dtype;
}

/** Opens the folder for a run, new or gone on with. Throws `ERR_INVALID_ARGUMENT` naming what differs from the run that it holds. */
export async function openWork(settings: DataDreamSettings, spec: Spec): Promise<Work> {
  const work = new Work(settings.out);
  await mkdir(work.folder, { recursive: true }).catch((error: unknown) => {
    throw errorFromFile(error, 'write', work.folder);
  });
  if (settings.shard === undefined) await removeLeftovers(work.folder);
  await isHeld(work, spec);
  return work;
}

/** Notes what another run in the folder must have. Throws as `openWork` where one began meanwhile. */
export async function claimWork(work: Work, spec: Spec): Promise<void> {
  if (!(await isHeld(work, spec))) await writeFileWhole(work.spec, `${JSON.stringify(spec, null, 1)}\n`);
}

/** Half-written files of processes that are gone. */
async function removeLeftovers(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const [, pid] = LEFTOVER.exec(entry.name) ?? [];
    if (entry.isFile() && pid !== undefined && !isRunning(Number(pid))) await rm(join(entry.parentPath, entry.name), { force: true });
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** What the folder's run noted, if there is one. */
async function heldSpec({ spec }: Work): Promise<Spec | undefined> {
  if (!existsSync(spec)) return undefined;
  try {
    return JSON.parse(await readFile(spec, 'utf8')) as Spec;
  } catch (error) {
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected the settings of a run in '${spec}', found something else`, { cause: error });
  }
}

/** Whether the folder holds a run. Throws where it is another one. */
async function isHeld(work: Work, spec: Spec): Promise<boolean> {
  const held = await heldSpec(work);
  if (held !== undefined) expectSame(spec, held, work.folder);
  return held !== undefined;
}

function expectSame(now: Spec, before: Spec, folder: string): void {
  const texts = (spec: Spec): Map<string, string> => new Map(Object.entries(flattened(spec)).map(([name, value]) => [name, JSON.stringify(value)]));
  const [old, fresh] = [texts(before), texts(now)];
  const other = [...new Set([...old.keys(), ...fresh.keys()])].find((name) => old.get(name) !== fresh.get(name));
  if (other === 'data') throw new ArgumentError(`Expected the pictures that the run in '${folder}' learnt from, received others: pictures came or went, their captions changed, or test, holdOut, shots or compare hold others out; go on as before or choose another folder`);
  if (other !== undefined) throw new ArgumentError(`Expected ${other} ${old.get(other) ?? 'to be left out'}, as in the run that '${folder}' holds, received ${fresh.get(other) ?? 'none'}; go on with the same settings or choose another folder`);
}
