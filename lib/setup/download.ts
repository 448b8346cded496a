import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { EnvHttpProxyAgent, request, type Dispatcher } from 'undici';
import { errorFromFile, SeedbedError } from '../errors.js';

const CONNECT_TIMEOUT_MS = 15_000;
const LARGEST_REDIRECTS = 5;

/** A file on a server, and what it must be. */
export interface RemoteFile {
  url: string;
  /** Bytes. */
  size: number;
  /** Of the content; or `gitSha1`, Git's hash of it as a blob. */
  sha256?: string;
  gitSha1?: string;
}

export interface DownloadOptions {
  onBytes?: OnBytes | undefined;
  signal?: AbortSignal | undefined;
  /** Sent to the file's own server only, not to where it redirects. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** The error for an answer other than 200 and 206. */
  refusal?: (status: number, headers: Readonly<Record<string, string | string[] | undefined>>) => SeedbedError;
}

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

async function gitSha1Of(path: string, size: number): Promise<string> {
  const hash = createHash('sha1').update(`blob ${size}\0`);
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/**
 * Fetches a file to `path`. An interrupted download lies in `path.part` and goes on from there; `path` appears only when
 * size and hash are right. Honours `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`. Throws `ERR_DOWNLOAD` or `ERR_DISK_FULL`.
 */
export async function download(file: RemoteFile, path: string, options: DownloadOptions = {}): Promise<void> {
  const part = `${path}.part`;
  await mkdir(dirname(path), { recursive: true });
  if ((await bytesIn(part)) > file.size) await rm(part);
  const begin = await bytesIn(part);
  if (begin < file.size) await fetchFrom(file, part, begin, options);
  await checkFile(file, part);
  await rename(part, path);
}

/** A GET request that follows redirects. Its errors are the caller's to translate. */
export async function get(url: string, dispatcher: Dispatcher, headers: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<Dispatcher.ResponseData> {
  const { origin } = new URL(url);
  let target = new URL(url);
  for (let redirects = 0; ; redirects++) {
    const own = target.origin === origin ? headers : Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'authorization'));
    const response = await request(target, { dispatcher, headers: own, ...(signal && { signal }) });
    const { location } = response.headers;
    if (response.statusCode < 301 || response.statusCode > 308 || typeof location !== 'string' || redirects === LARGEST_REDIRECTS) return response;
    await response.body.dump();
    target = new URL(location, target);
  }
}

/** Sends requests through the environment's proxies. To be closed. */
export const proxyAgent = (): Dispatcher => new EnvHttpProxyAgent({ connect: { timeout: CONNECT_TIMEOUT_MS } });

async function fetchFrom(file: RemoteFile, part: string, begin: number, { onBytes, signal, headers = {}, refusal }: DownloadOptions): Promise<void> {
  const dispatcher = proxyAgent();
  try {
    const { statusCode, headers: answered, body } = await get(file.url, dispatcher, { ...headers, ...(begin > 0 && { range: `bytes=${begin}-` }) }, signal);
    if (statusCode !== 200 && statusCode !== 206) {
      await body.dump();
      throw refusal?.(statusCode, answered) ?? new SeedbedError('ERR_DOWNLOAD', `Expected ${file.url} to answer 200, it answered ${statusCode}`);
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

async function checkFile(file: RemoteFile, part: string): Promise<void> {
  const size = await bytesIn(part);
  if (size !== file.size) throw new SeedbedError('ERR_DOWNLOAD', `Expected ${file.size} bytes from ${file.url}, received ${size}; run again to go on from there`);
  const [kind, expected] = file.sha256 === undefined ? ['Git hash', file.gitSha1] : ['sha256', file.sha256];
  const actual = file.sha256 === undefined ? await gitSha1Of(part, size) : await sha256Of(part);
  if (actual === expected) return;
  await rm(part);
  throw new SeedbedError('ERR_DOWNLOAD', `Expected ${kind} ${expected} from ${file.url}, received ${actual}; the file was removed`);
}
