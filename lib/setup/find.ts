import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SeedbedError } from '../errors.js';
import { TORCH_VERSION } from './manifest.js';

/** Opened in this order; what they need themselves lies beside them. */
export const LIBTORCH_LIBRARIES = ['libc10.so', 'libtorch_cpu.so'] as const;

/** Opened after those where the folder has them, in this order. What they need of NVIDIA's they find by their own RPATH, in a wheel `../../nvidia`. */
export const CUDA_LIBRARIES = ['libc10_cuda.so', 'libtorch_cuda.so'] as const;

export interface Libtorch {
  /** Has `include/` and `lib/`. */
  folder: string;
  /** Say "2.13.0+cpu". */
  version: string;
  source: 'SEEDBED_LIBTORCH' | 'cache' | 'python';
  /** Whether it brings what computes on NVIDIA's GPUs. */
  cuda: boolean;
}

export interface Addon {
  main: string;
  preload: string;
}

/** The folder of this package's `package.json`. */
export const packageRoot = findPackageRoot(dirname(fileURLToPath(import.meta.url)));

function findPackageRoot(folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder;
  return findPackageRoot(dirname(folder));
}

/** Where downloads are kept: `SEEDBED_CACHE`, else `$XDG_CACHE_HOME/seedbed`, else `~/.cache/seedbed`. */
export function cacheFolder(): string {
  return process.env['SEEDBED_CACHE'] ?? join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'seedbed');
}

export function cachedLibtorchFolder(): string {
  return join(cacheFolder(), `libtorch-${TORCH_VERSION}`);
}

/** The version a libtorch folder tells of itself, or undefined when it is none. */
export function libtorchVersion(folder: string): string | undefined {
  if (!LIBTORCH_LIBRARIES.every((library) => existsSync(join(folder, 'lib', library)))) return undefined;
  const archive = join(folder, 'build-version');
  if (existsSync(archive)) return readFileSync(archive, 'utf8').trim();
  const wheel = join(folder, 'version.py');
  return existsSync(wheel) ? /__version__ = '([^']+)'/.exec(readFileSync(wheel, 'utf8'))?.[1] : undefined;
}

/** The folder of the torch package that `python3` imports, or undefined. */
export function pythonTorchFolder(): string | undefined {
  const script = 'import importlib.util as u; s = u.find_spec("torch"); print(s.submodule_search_locations[0] if s else "")';
  const { stdout, status } = spawnSync('python3', ['-c', script], { encoding: 'utf8' });
  return status === 0 && stdout.trim() !== '' ? stdout.trim() : undefined;
}

/**
 * Finds libtorch: the folder in `SEEDBED_LIBTORCH` (or, when that is "python", Python's torch), then the cache.
 * Throws `ERR_LIBTORCH` when none is there or its version is another.
 */
export function findLibtorch(): Libtorch {
  const asked = process.env['SEEDBED_LIBTORCH'];
  if (asked === 'python') {
    const folder = pythonTorchFolder();
    if (folder === undefined) throw new SeedbedError('ERR_LIBTORCH', `Expected python3 to import torch (SEEDBED_LIBTORCH=python), it does not. Run: pip install torch==${TORCH_VERSION}`);
    return checkLibtorch(folder, 'python');
  }
  if (asked !== undefined && asked !== '') return checkLibtorch(asked, 'SEEDBED_LIBTORCH');
  return checkLibtorch(cachedLibtorchFolder(), 'cache');
}

function checkLibtorch(folder: string, source: Libtorch['source']): Libtorch {
  const version = libtorchVersion(folder);
  if (version === undefined) throw new SeedbedError('ERR_LIBTORCH', `Expected libtorch ${TORCH_VERSION} in '${folder}' (${source}), found none. Run: npx seedbed setup`);
  if (version.split('+')[0] !== TORCH_VERSION)
    throw new SeedbedError('ERR_LIBTORCH', `Expected libtorch ${TORCH_VERSION} in '${folder}' (${source}), found ${version}. Unset SEEDBED_LIBTORCH or run: npx seedbed setup`);
  return { folder, version, source, cuda: CUDA_LIBRARIES.every((library) => existsSync(join(folder, 'lib', library))) };
}

/** Folders that may hold the built addon: this package's, or the cache when the package's is read-only. */
export function addonFolders(): string[] {
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string };
  return [join(packageRoot, 'build'), join(cacheFolder(), `addon-${version}`)];
}

/** The built addon. Throws `ERR_NATIVE` when there is none. */
export function findAddon(): Addon {
  const folders = addonFolders().map((folder) => join(folder, 'Release'));
  for (const folder of folders) {
    const addon = { main: join(folder, 'seedbed.node'), preload: join(folder, 'seedbed_preload.node') };
    if (existsSync(addon.main) && existsSync(addon.preload)) return addon;
  }
  throw new SeedbedError('ERR_NATIVE', `Expected the built addon in ${folders.map((f) => `'${f}'`).join(' or ')}, found none. Run: npx seedbed setup`);
}
