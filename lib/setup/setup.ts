import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { SeedbedError } from '../errors.js';
import { Job, type JobContext } from '../job.js';
import { buildAddon, isBuilt } from './build.js';
import { download } from './download.js';
import { cachedLibtorchFolder, cacheFolder, findLibtorch, packageRoot, type Libtorch } from './find.js';
import { DOWNLOADS, PIP_COMMAND, TORCH_VERSION } from './manifest.js';
import { checkDiskSpace, checkToolchain } from './toolchain.js';
import { unpackLibtorch } from './unpack.js';

const LIBTORCH_DISK_BYTES = 0.9e9; // archive and unpacked files together
const BUILD_DISK_BYTES = 1.2e9; // two precompiled headers

export interface SetupOptions {
  /** A wheel or official archive on disk to take libtorch from. */
  wheel?: string | undefined;
  /** Only this way of getting libtorch; default: the official file, then pip. */
  from?: 'download' | 'pip' | undefined;
  /** Compile even when the addon is up to date. */
  rebuild?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

export type SetupEvent =
  | { type: 'message'; text: string }
  /** `done` of `total` in `unit`s of `task`. */
  | { type: 'progress'; task: 'download' | 'unpack' | 'build'; done: number; total: number };

export interface SetupResult {
  libtorch: Libtorch;
  /** Whether anything had to be done. */
  changed: boolean;
}

/**
 * Makes the package ready: finds or fetches libtorch, compiles the addon when it is missing or its sources changed.
 * Nothing is half-written when it is interrupted, and a download goes on where it stopped.
 */
export function setup(options: SetupOptions = {}): Job<SetupEvent, SetupResult> {
  return new Job(async (context: JobContext<SetupEvent>) => {
    const existing = options.wheel === undefined ? existingLibtorch() : undefined;
    if (existing !== undefined && !options.rebuild && isBuilt(existing)) return { libtorch: existing, changed: false };
    const tools = await checkToolchain();
    context.emit({ type: 'message', text: `Compiler: ${tools.compilerVersion}; ${tools.cmakeVersion}` });
    const libtorch = existing ?? (await fetchLibtorch(options, context));
    await build(libtorch, context);
    return { libtorch, changed: true };
  }, options);
}

/** What is there already; an explicit but wrong `SEEDBED_LIBTORCH` is the user's to mend, so that error stands. */
function existingLibtorch(): Libtorch | undefined {
  try {
    return findLibtorch();
  } catch (error) {
    if ((process.env['SEEDBED_LIBTORCH'] ?? '') !== '') throw error;
    return undefined;
  }
}

async function build(libtorch: Libtorch, context: JobContext<SetupEvent>): Promise<void> {
  await checkDiskSpace(join(packageRoot, 'build'), BUILD_DISK_BYTES, 'building the addon').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES' && (error as NodeJS.ErrnoException).code !== 'EROFS') throw error; // then the cache is used
  });
  context.emit({ type: 'message', text: `Compiling the native addon on ${availableParallelism()} cores` });
  await buildAddon(libtorch, (done, total) => context.emit({ type: 'progress', task: 'build', done, total }));
}

async function fetchLibtorch(options: SetupOptions, context: JobContext<SetupEvent>): Promise<Libtorch> {
  await checkDiskSpace(cacheFolder(), LIBTORCH_DISK_BYTES, `libtorch ${TORCH_VERSION}`);
  if (options.wheel !== undefined) return unpack(options.wheel, context);
  const failures: string[] = [];
  for (const [name, fetchBy] of [
    ['download', byDownload],
    ['pip', byPip],
  ] as const) {
    if (options.from !== undefined && options.from !== name) continue;
    try {
      return await fetchBy(context);
    } catch (error) {
      if (!(error instanceof SeedbedError) || error.code !== 'ERR_DOWNLOAD') throw error;
      context.emit({ type: 'message', text: error.message });
      failures.push(error.message);
    }
  }
  throw new SeedbedError(
    'ERR_LIBTORCH',
    `Cannot get libtorch ${TORCH_VERSION} (${failures.join('; ')}). Bring a wheel from another machine and run: npx seedbed setup --wheel FILE, or name an unpacked libtorch in SEEDBED_LIBTORCH`,
  );
}

async function byDownload(context: JobContext<SetupEvent>): Promise<Libtorch> {
  const platform = `${process.platform}-${process.arch}`;
  const file = DOWNLOADS[platform];
  if (file === undefined) throw new SeedbedError('ERR_DOWNLOAD', `No official libtorch is listed for ${platform}`);
  const archive = join(cacheFolder(), file.file);
  context.emit({ type: 'message', text: `Downloading libtorch ${TORCH_VERSION} (${(file.size / 1e6).toFixed(1)} MB) from ${file.url}` });
  await download(file, archive, { signal: context.signal, onBytes: (done) => context.emit({ type: 'progress', task: 'download', done, total: file.size }) });
  const libtorch = await unpack(archive, context);
  await rm(archive);
  return libtorch;
}

async function byPip(context: JobContext<SetupEvent>): Promise<Libtorch> {
  await mkdir(cacheFolder(), { recursive: true });
  const folder = await mkdtemp(join(cacheFolder(), 'pip-'));
  try {
    const size = DOWNLOADS[`${process.platform}-${process.arch}`]?.size;
    context.emit({ type: 'message', text: `Fetching the wheel${size === undefined ? '' : ` (about ${Math.round(size / 1e6)} MB)`}: ${PIP_COMMAND.join(' ')}` });
    await pip(folder, context.signal);
    const [wheel] = (await readdir(folder)).filter((name) => name.endsWith('.whl'));
    if (wheel === undefined) throw new SeedbedError('ERR_DOWNLOAD', `Expected '${PIP_COMMAND.join(' ')}' to write a wheel, it wrote none`);
    return await unpack(join(folder, wheel), context);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function pip(folder: string, signal: AbortSignal): Promise<void> {
  const [, ...args] = PIP_COMMAND;
  const child = spawn('python3', ['-m', 'pip', ...args, '--dest', folder, '--disable-pip-version-check', '--progress-bar', 'off'], { signal, stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const status = await new Promise<number | null>((resolve) => {
    child.on('close', resolve).on('error', (error) => {
      errors += error.message;
      resolve(null);
    });
  });
  signal.throwIfAborted();
  const reason = errors.split('\n').filter((line) => line.startsWith('ERROR')).at(-1) ?? errors.trim().split('\n').at(-1) ?? '';
  if (status !== 0) throw new SeedbedError('ERR_DOWNLOAD', `'${PIP_COMMAND.join(' ')}' failed: ${reason}`);
}

async function unpack(archive: string, context: JobContext<SetupEvent>): Promise<Libtorch> {
  context.emit({ type: 'message', text: 'Unpacking libraries and headers' });
  await unpackLibtorch(archive, cachedLibtorchFolder(), (done, total) => context.emit({ type: 'progress', task: 'unpack', done, total }));
  return findLibtorch();
}
