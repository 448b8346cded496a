import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { SeedbedError } from '../errors.js';
import { missingCuda, native, type SystemInfo } from '../native.js';
import { threads } from '../threads.js';
import { cacheFolder, findAddon, findLibtorch, type Addon, type Libtorch } from './find.js';
import { checkToolchain, type Toolchain } from './toolchain.js';

/** A thing that was found, or why it was not. */
export type Finding<T> = { ok: true; value: T } | { ok: false; reason: string };

export interface Diagnosis {
  node: string;
  platform: string;
  cpu: { model: string; cores: number; avx2: boolean; avx512: boolean; avx512Bf16: boolean; amxBf16: boolean };
  /** Bytes. */
  memory: { total: number; free: number };
  /** Threads that jobs use unless told otherwise. */
  threads: number;
  cacheFolder: string;
  toolchain: Finding<Toolchain>;
  libtorch: Finding<Libtorch>;
  addon: Finding<Addon>;
  native: Finding<SystemInfo>;
  /** A GPU to compute on. */
  cuda: Finding<true>;
  /** Matrix product rate of one core, GFLOP/s, by element type: some processors are slower in bfloat16. */
  matmul: Finding<{ float32: number; bfloat16: number }>;
  /** What this machine should use. */
  choice: { device: 'cpu' | 'cuda'; precision: 'float32' | 'bfloat16' | 'float16' };
  ready: boolean;
}

async function attempt<T>(look: () => T | Promise<T>): Promise<Finding<T>> {
  try {
    return { ok: true, value: await look() };
  } catch (error) {
    return { ok: false, reason: (error as Error).message.split('\n')[0] ?? '' };
  }
}

function findCuda(): true {
  const reason = missingCuda();
  if (reason !== undefined) throw new SeedbedError('ERR_NO_CUDA', reason);
  return true;
}

function cpuFlags(): ReadonlySet<string> {
  try {
    return new Set((/^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? '').trim().split(/\s+/));
  } catch {
    return new Set();
  }
}

/** What is installed, what the machine can do, and what would be chosen. Never throws. */
export async function doctor(): Promise<Diagnosis> {
  const flags = cpuFlags();
  const binding = await attempt(() => native().systemInfo());
  const matmul = await attempt(() => ({ float32: native().measureMatmul('float32'), bfloat16: native().measureMatmul('bfloat16') }));
  const bfloat16 = matmul.ok && matmul.value.bfloat16 > matmul.value.float32;
  const cuda = await attempt(findCuda);
  return {
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    cpu: {
      model: cpus()[0]?.model ?? 'unknown',
      cores: availableParallelism(),
      avx2: flags.has('avx2'),
      avx512: flags.has('avx512f'),
      avx512Bf16: flags.has('avx512_bf16'),
      amxBf16: flags.has('amx_bf16'),
    },
    memory: { total: totalmem(), free: freemem() },
    threads: threads(),
    cacheFolder: cacheFolder(),
    toolchain: await attempt(checkToolchain),
    libtorch: await attempt(findLibtorch),
    addon: await attempt(findAddon),
    native: binding,
    cuda,
    matmul,
    choice: cuda.ok ? { device: 'cuda', precision: 'float16' } : { device: 'cpu', precision: bfloat16 ? 'bfloat16' : 'float32' },
    ready: binding.ok,
  };
}
