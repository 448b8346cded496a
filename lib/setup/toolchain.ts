import { execFile } from 'node:child_process';
import { mkdtemp, rm, statfs, writeFile, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SeedbedError } from '../errors.js';

const run = promisify(execFile);

const PROBE = '#include <concepts>\n#include <span>\ntemplate <std::integral T> T f(T x) { return x; }\nint main() { return f(0); }\n';
const INSTALL = 'apt-get install -y g++ cmake ninja-build (Debian, Ubuntu) or dnf install gcc-c++ cmake ninja-build (Fedora)';

export interface Toolchain {
  compiler: string;
  compilerVersion: string;
  cmakeVersion: string;
}

async function compiles(compiler: string): Promise<boolean> {
  const folder = await mkdtemp(join(tmpdir(), 'seedbed-'));
  try {
    await writeFile(join(folder, 'probe.cpp'), PROBE);
    await run(compiler, ['-std=c++20', '-fsyntax-only', join(folder, 'probe.cpp')]);
    return true;
  } catch {
    return false;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const firstLine = async (command: string): Promise<string> => ((await run(command, ['--version'])).stdout.split('\n')[0] ?? '').trim();

/** Whether the fractal renderer for GPUs is to be compiled, too: `SEEDBED_CUDA=1`. */
export const cudaAsked = (): boolean => process.env['SEEDBED_CUDA'] === '1';

async function checkNvcc(): Promise<void> {
  await run('nvcc', ['--version']).catch(() => {
    throw new SeedbedError('ERR_TOOLCHAIN', 'Expected nvcc in PATH for SEEDBED_CUDA=1, found none. Install the CUDA toolkit (12 or later), or unset SEEDBED_CUDA');
  });
}

/** Finds a C++20 compiler (`CXX`, else c++, g++, clang++) and cmake 3.18 or later, and nvcc where that is asked for. Throws `ERR_TOOLCHAIN` with the command to run. */
export async function checkToolchain(): Promise<Toolchain> {
  const asked = process.env['CXX'];
  const candidates = asked === undefined ? ['c++', 'g++', 'clang++'] : [asked];
  let compiler: string | undefined;
  for (const candidate of candidates) if (compiler === undefined && (await compiles(candidate))) compiler = candidate;
  if (compiler === undefined) throw new SeedbedError('ERR_TOOLCHAIN', `Expected a C++20 compiler (tried ${candidates.join(', ')}), found none. Run: ${INSTALL}`);
  const cmake = await firstLine('cmake').catch(() => '');
  const [major = 0, minor = 0] = (/(\d+)\.(\d+)/.exec(cmake) ?? []).slice(1).map(Number);
  if (major < 3 || (major === 3 && minor < 18)) throw new SeedbedError('ERR_TOOLCHAIN', `Expected cmake 3.18 or later, found ${cmake === '' ? 'none' : cmake}. Run: ${INSTALL}`);
  if (cudaAsked()) await checkNvcc();
  return { compiler, compilerVersion: await firstLine(compiler), cmakeVersion: cmake };
}

/** Throws `ERR_DISK_FULL` when the disk of `folder`, which is made, has less than `bytes` free. */
export async function checkDiskSpace(folder: string, bytes: number, purpose: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const { bavail, bsize } = await statfs(folder);
  const megabytes = (count: number): number => Math.floor(count / 1e6);
  if (bavail * bsize < bytes) throw new SeedbedError('ERR_DISK_FULL', `Expected ${megabytes(bytes)} MB free in '${folder}' for ${purpose}, found ${megabytes(bavail * bsize)} MB`);
}
