import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { Transform } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import yauzl from 'yauzl';
import { errorFromFile, SeedbedError } from '../errors.js';
import { libtorchVersion } from './find.js';
import { TORCH_VERSION } from './manifest.js';

/** Libraries of the archive that are not for us: Python's, the tests', and CUDA's, which a CPU build never opens. */
const LEFT_OUT = /lib(torch_python|torchbind_test|jitbackend_test|aoti_custom_ops|backend_with_compiler|shm|caffe2_nvrtc|torch_cuda|c10_cuda|torch_nvshmem|nv|cu)/;

/** Where a file of a wheel (`torch/…`) or of the official archive (`libtorch/…`) goes, or undefined to leave it out. */
function placeOf(name: string): string | undefined {
  const inside = /^(?:lib)?torch\/(.+[^/])$/.exec(name)?.[1];
  if (inside === undefined) return undefined;
  if (inside === 'version.py' || inside === 'build-version' || inside.startsWith('include/')) return inside;
  return /^lib\/[^/]+\.so(\.\d+)*$/.test(inside) && !LEFT_OUT.test(inside) ? inside : undefined;
}

/** The sha256 (base64url) of each file as the wheel's RECORD states it; empty for other archives. */
async function readRecord(zip: yauzl.ZipFile, entries: readonly yauzl.Entry[]): Promise<ReadonlyMap<string, string>> {
  const record = entries.find(({ fileName }) => /^torch-[^/]+\.dist-info\/RECORD$/.test(fileName));
  const text = record === undefined ? '' : (await buffer(await zip.openReadStreamPromise(record))).toString('utf8');
  return new Map([...text.matchAll(/^"?([^",\n]+)"?,sha256=([^,\n]+),/gm)].map(([, name, sha256]) => [name ?? '', sha256 ?? '']));
}

async function writeEntry(stream: Readable, path: string, name: string, sha256: string | undefined): Promise<void> {
  const hash = createHash('sha256');
  const tap = new Transform({
    transform(chunk: Buffer, _encoding, next) {
      hash.update(chunk);
      next(null, chunk);
    },
  });
  await mkdir(dirname(path), { recursive: true });
  await pipeline(stream, tap, createWriteStream(path));
  const actual = hash.digest('base64url');
  if (sha256 !== undefined && actual !== sha256) throw new SeedbedError('ERR_LIBTORCH', `Expected sha256 ${sha256} for ${name} in the wheel, received ${actual}; the file is damaged`);
}

/**
 * Unpacks what is needed of libtorch (C++ libraries, headers, version) from a wheel or official archive into `folder`,
 * whole or not at all. Throws `ERR_LIBTORCH` when the archive holds something else or another version.
 */
export async function unpackLibtorch(archive: string, folder: string, onFile: (done: number, total: number) => void = () => {}): Promise<void> {
  const temporary = `${folder}.${process.pid}.tmp`;
  let zip: yauzl.ZipFile;
  try {
    zip = await yauzl.openPromise(archive, { lazyEntries: true, autoClose: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== undefined) throw errorFromFile(error, 'read', archive);
    throw new SeedbedError('ERR_LIBTORCH', `Expected a wheel or archive of libtorch in '${archive}', found something else (${(error as Error).message})`, { cause: error });
  }
  try {
    const entries: yauzl.Entry[] = [];
    for await (const entry of zip.eachEntry()) entries.push(entry);
    const record = await readRecord(zip, entries);
    const wanted = entries.filter((entry) => placeOf(entry.fileName) !== undefined);
    await rm(temporary, { recursive: true, force: true });
    for (const [done, entry] of wanted.entries()) {
      onFile(done, wanted.length);
      await writeEntry(await zip.openReadStreamPromise(entry), join(temporary, placeOf(entry.fileName) as string), entry.fileName, record.get(entry.fileName));
    }
    const version = libtorchVersion(temporary);
    if (version?.split('+')[0] !== TORCH_VERSION) throw new SeedbedError('ERR_LIBTORCH', `Expected libtorch ${TORCH_VERSION} in '${archive}', found ${version ?? 'none'}`);
    await rm(folder, { recursive: true, force: true });
    await rename(temporary, folder);
  } catch (error) {
    throw errorFromFile(error, 'write', folder);
  } finally {
    zip.close();
    await rm(temporary, { recursive: true, force: true });
  }
}
