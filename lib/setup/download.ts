import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { EnvHttpProxyAgent, request } from 'undici';
import { errorFromFile, SeedbedError } from '../errors.js';
import type { Download } from './manifest.js';

const CONNECT_TIMEOUT_MS = 15_000;

/** Bytes on disk so far, of `size`. */
export type OnBytes = (done: number) => void;

async function bytesIn(path: string): Promise<number> {
  return stat(path).then(
    (info) => info.size,
    () => 0,
  );
}

export async function sha256Of(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/**
 * Fetches a file to `path`. An interrupted download lies in `path.part` and goes on from there; `path` appears only when
 * size and sha256 are right. Honours `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`. Throws `ERR_DOWNLOAD` or `ERR_DISK_FULL`.
 */
export async function download(file: Download, path: string, options: { onBytes?: OnBytes; signal?: AbortSignal } = {}): Promise<void> {
  const part = `${path}.part`;
  await mkdir(dirname(path), { recursive: true });
  if ((await bytesIn(part)) > file.size) await rm(part);
  const begin = await bytesIn(part);
  if (begin < file.size) await fetchFrom(file, part, begin, options);
  await checkFile(file, part);
  await rename(part, path);
}

async function fetchFrom(file: Download, part: string, begin: number, { onBytes, signal }: { onBytes?: OnBytes; signal?: AbortSignal }): Promise<void> {
  const dispatcher = new EnvHttpProxyAgent({ connect: { timeout: CONNECT_TIMEOUT_MS } });
  try {
    const headers = begin > 0 ? { range: `bytes=${begin}-` } : {};
    const { statusCode, body } = await request(file.url, { dispatcher, headers, ...(signal && { signal }) });
    if (statusCode !== 200 && statusCode !== 206) {
      await body.dump();
      throw new SeedbedError('ERR_DOWNLOAD', `Expected ${file.url} to answer 200, it answered ${statusCode}`);
    }
    let done = statusCode === 206 ? begin : 0; // a server without ranges sends the whole file again
    const count = new Transform({
      transform(chunk: Buffer, _encoding, next) {
        done += chunk.length;
        onBytes?.(done);
        next(done > file.size ? new SeedbedError('ERR_DOWNLOAD', `Expected ${file.size} bytes from ${file.url}, it sends more`) : null, chunk);
      },
    });
    await pipeline(body, count, createWriteStream(part, { flags: statusCode === 206 ? 'a' : 'w' }));
  } catch (error) {
    if (error instanceof SeedbedError) throw error;
    if (signal?.aborted) throw signal.reason;
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EROFS' || code === 'EACCES') throw errorFromFile(error, 'write', part);
    throw new SeedbedError('ERR_DOWNLOAD', `Cannot fetch ${file.url}: ${(error as Error).message || code}`, { cause: error });
  } finally {
    await dispatcher.close();
  }
}

async function checkFile(file: Download, part: string): Promise<void> {
  const size = await bytesIn(part);
  if (size !== file.size) throw new SeedbedError('ERR_DOWNLOAD', `Expected ${file.size} bytes from ${file.url}, received ${size}; run again to go on from there`);
  const sha256 = await sha256Of(part);
  if (sha256 === file.sha256) return;
  await rm(part);
  throw new SeedbedError('ERR_DOWNLOAD', `Expected sha256 ${file.sha256} from ${file.url}, received ${sha256}; the file was removed`);
}
