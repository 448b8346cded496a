import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { SeedbedError } from '../errors.js';
import { addonFolders, packageRoot, type Libtorch } from './find.js';
import { cudaAsked } from './toolchain.js';

/** One compiler needs about this much memory at its peak, the precompiled header included. */
const BYTES_PER_COMPILER = 1.5e9;
const LINES_OF_A_FAILURE = 20;

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** Changes when anything does that the addon is built from. */
export function sourceFingerprint(libtorch: Libtorch): string {
  const hash = createHash('sha256').update(`${libtorch.folder}\0${libtorch.version}\0${cudaAsked()}\0`);
  const folders = ['native', 'test/native'].map((folder) => join(packageRoot, folder)).filter(existsSync); // the second not in the published package
  for (const path of [join(packageRoot, 'CMakeLists.txt'), ...folders.flatMap(sources)]) hash.update(path).update(readFileSync(path));
  return hash.digest('hex');
}

/** The first addon folder that can be written. */
function buildFolder(): string {
  const [own, cached] = addonFolders() as [string, string];
  try {
    accessSync(existsSync(own) ? own : packageRoot, constants.W_OK);
    return own;
  } catch {
    return cached;
  }
}

/** Whether the addon on disk is the one these sources make. */
export function isBuilt(libtorch: Libtorch): boolean {
  const folder = buildFolder();
  const stamp = join(folder, 'fingerprint');
  return existsSync(join(folder, 'Release', 'seedbed.node')) && existsSync(stamp) && readFileSync(stamp, 'utf8') === sourceFingerprint(libtorch);
}

/** Compiles the addon, as many files at a time as cores and memory allow; only what changed. Throws `ERR_NATIVE`. */
export async function buildAddon(libtorch: Libtorch, onProgress: (done: number, total: number) => void = () => {}): Promise<void> {
  const folder = buildFolder();
  const fingerprint = sourceFingerprint(libtorch);
  await mkdir(folder, { recursive: true });
  await rm(join(folder, 'CMakeCache.txt'), { force: true }); // or cmake-js would keep the choices of the build before
  const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
  const parallel = Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / BYTES_PER_COMPILER)));
  const choices = [`--CDSEEDBED_LIBTORCH=${libtorch.folder}`, `--CDSEEDBED_CUDA=${cudaAsked() ? 'ON' : 'OFF'}`];
  const child = spawn(process.execPath, [cmakeJs, 'build', '-d', packageRoot, '-O', folder, '-p', String(parallel), ...choices], {
    cwd: packageRoot,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const tail: string[] = [];
  for (const stream of [child.stdout, child.stderr])
    createInterface(stream).on('line', (line) => {
      tail.push(line);
      if (tail.length > 400) tail.shift();
      const ninja = /^\[(\d+)\/(\d+)\]/.exec(line);
      const make = /^\[\s*(\d+)%\]/.exec(line);
      if (ninja) onProgress(Number(ninja[1]), Number(ninja[2]));
      else if (make) onProgress(Number(make[1]), 100);
    });
  const status = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (status !== 0) {
    const errors = tail.filter((line) => /error|Error|FAILED|fatal/.test(line));
    throw new SeedbedError('ERR_NATIVE', `The native addon does not build:\n${(errors.length > 0 ? errors : tail).slice(-LINES_OF_A_FAILURE).join('\n')}`);
  }
  await writeFile(join(folder, 'fingerprint'), fingerprint);
}
