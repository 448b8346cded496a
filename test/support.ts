import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Test } from 'tap';
import { packageRoot } from '#lib/setup/find.js';
import { writeSafetensors, type Image, type Tensor } from 'seedbed';

export const run = promisify(execFile);

/** A golden file, made by the script of the same name in scripts/golden. */
export function golden(name: string): unknown {
  return JSON.parse(readFileSync(join(packageRoot, 'test', 'golden', `${name}.json`), 'utf8'));
}

/** A file of the test data that does not come with the package: below `SEEDBED_DATA`, else beside the package. It may be absent. */
export function dataFile(path: string): string {
  return join(process.env['SEEDBED_DATA'] ?? join(packageRoot, '..', 'shared', 'data'), path);
}

/** The formula of scripts/golden/common.py. */
export function ramp(salt: number, shape: readonly number[], scale = 1): Tensor<'float32'> {
  const length = shape.reduce((a, b) => a * b, 1);
  return { data: Float32Array.from({ length }, (_, i) => (((i * 7919 + salt * 104729) % 1000) / 1000 - 0.5) * scale), shape, dtype: 'float32' };
}

/** The picture of scripts/golden/common.py. */
export function picture(width: number, height: number, channels: number, salt = 0): Image {
  const data = new Uint8Array(width * height * channels);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) for (let c = 0; c < channels; c++) data[(y * width + x) * channels + c] = (7 * x + 13 * y + 29 * c + 5 * ((x * y) % 17) + 31 * salt) % 256;
  return { data, width, height, channels };
}

/** The largest |actual − expected| / (atol + rtol |expected|): at most 1 when all are close. */
export function worst(actual: ArrayLike<number>, expected: ArrayLike<number>, { rtol = 1e-5, atol = 1e-6 }: { rtol?: number; atol?: number } = {}): number {
  if (actual.length !== expected.length) return Infinity;
  let ratio = 0;
  for (let i = 0; i < expected.length; i++) {
    const distance = Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN)) / (atol + rtol * Math.abs(expected[i] ?? NaN));
    ratio = Number.isNaN(distance) ? Infinity : Math.max(ratio, distance);
  }
  return ratio;
}

/** A folder that loadClassifier reads: sizes, and weights by name. */
export function writeClassifierFolder(folder: string, sizes: { imageSize: number; patchSize: number; width: number; depth: number; heads: number; classes: number }, weights: Record<string, Tensor>): string {
  writeSafetensors(join(folder, 'model.safetensors'), weights);
  return JSON.stringify({
    num_classes: sizes.classes,
    model_args: { img_size: sizes.imageSize, patch_size: sizes.patchSize, embed_dim: sizes.width, depth: sizes.depth, num_heads: sizes.heads },
    pretrained_cfg: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], crop_pct: 1 },
  });
}

/** Runs a program with this package in a process of its own. */
export async function runScript(source: string, options: { args?: string[]; flags?: string[]; env?: Record<string, string>; timeout?: number } = {}): Promise<{ code: number; stdout: string; stderr: string }> {
  const { args = [], flags = [], env = {}, timeout = 60_000 } = options;
  try {
    const done = await run(process.execPath, [...flags, '--input-type=module', '-e', source, ...args], { cwd: packageRoot, timeout, env: { ...process.env, ...env } });
    return { code: 0, ...done };
  } catch (error) {
    const { code, stdout, stderr, signal } = error as { code?: number; stdout: string; stderr: string; signal: string | null };
    return { code: code ?? (signal === null ? 1 : -1), stdout, stderr: `${stderr}${signal ?? ''}` };
  }
}

/** Calls and returns what was thrown. */
export async function thrown(call: () => unknown): Promise<{ code?: string; message: string; name?: string }> {
  try {
    await call();
  } catch (error) {
    return error as Error & { code?: string };
  }
  return { message: 'nothing was thrown' };
}

/** A table of wrong calls: each gives its code and a message of one line. */
export async function refused(t: Test, cases: readonly (readonly [name: string, call: () => unknown, code: string, message: RegExp])[]): Promise<void> {
  for (const [name, call, code, message] of cases) {
    const error = await thrown(call);
    t.equal(error.code, code, `${name}: ${error.message}`);
    t.match(error.message, message, name);
    t.notMatch(error.message, /\n/, `${name}: one line`);
  }
}
