import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const sha256 = (content: Buffer): string => createHash('sha256').update(content).digest('hex');
export const gitHash = (content: Buffer): string => createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');

export interface HubBehaviour {
  files: Record<string, Buffer>;
  commit: string;
  /** Answers 401 without this token. */
  token?: string;
  /** Cuts a file's connection after so many bytes. */
  cut?: { path: string; after: number };
  /** Sends other bytes of the same length. */
  spoil?: string;
  /** Entries of a page of the tree. */
  page?: number;
  /** Sends large files from another address. */
  redirect?: boolean;
}

export interface Asked {
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

export interface HubServer {
  url: string;
  asked: Asked[];
  server: Server;
}

const isLarge = (path: string): boolean => path.endsWith('.safetensors') || path.endsWith('.bin');

/** A server that speaks as much of the hub as a client needs to fetch a model named `tiny/model`. */
export async function serveHub(behaviour: HubBehaviour): Promise<HubServer> {
  const asked: Asked[] = [];
  const other = createServer((request, response) => {
    asked.push(describe(request, 'cdn'));
    send(request, response, decodeURIComponent(request.url ?? '').slice(1), behaviour);
  });
  const server = createServer((request, response) => {
    asked.push(describe(request));
    const { status, headers, body, file } = answer(request, behaviour, `http://127.0.0.1:${(other.address() as AddressInfo).port}`);
    if (file === undefined) response.writeHead(status, headers).end(body);
    else send(request, response, file, behaviour, headers);
  });
  for (const each of [server, other]) await new Promise<void>((resolve) => each.listen(0, '127.0.0.1', resolve));
  server.on('close', () => other.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, server };
}

const describe = (request: IncomingMessage, host = ''): Asked => ({ path: `${host}${request.url}`, range: request.headers.range, authorization: request.headers.authorization });

interface Answer {
  status: number;
  headers: Record<string, string>;
  body?: string;
  /** The path of the file to send instead of a body. */
  file?: string;
}

function answer(request: IncomingMessage, behaviour: HubBehaviour, cdn: string): Answer {
  const { files, commit, token, page = 1000, redirect = false } = behaviour;
  const refuse = (status: number, code: string): Answer => ({ status, headers: { 'x-error-code': code }, body: 'no' });
  const json = (content: unknown, headers: Record<string, string> = {}): Answer => ({ status: 200, headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(content) });
  const url = new URL(request.url ?? '', `http://${request.headers.host}`);
  const [api, resolve] = ['/api/models/tiny/model/', '/tiny/model/resolve/'];
  if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) return refuse(401, 'RepoNotFound');
  if (url.pathname.startsWith(`${api}revision/`)) {
    const known = ['main', commit].includes(decodeURIComponent(url.pathname.slice(`${api}revision/`.length)));
    return known ? json({ id: 'tiny/model', sha: commit, siblings: Object.keys(files).map((rfilename) => ({ rfilename })) }) : refuse(404, 'RevisionNotFound');
  }
  if (url.pathname === `${api}tree/${commit}`) {
    const from = Number(url.searchParams.get('cursor') ?? 0);
    const folders = [...new Set(Object.keys(files).flatMap((path) => (path.includes('/') ? [path.slice(0, path.lastIndexOf('/'))] : [])))].map((path) => ({ type: 'directory', path, oid: '0'.repeat(40), size: 0 }));
    const entries = [...folders, ...Object.entries(files).map(([path, content]) => ({ type: 'file', path, oid: gitHash(content), size: content.length, ...(isLarge(path) && { lfs: { oid: sha256(content), size: content.length, pointerSize: 134 } }) }))];
    url.searchParams.set('cursor', String(from + page));
    return json(entries.slice(from, from + page), from + page < entries.length ? { link: `<${url.href}>; rel="next"` } : {});
  }
  if (!url.pathname.startsWith(resolve)) return refuse(404, 'RepoNotFound');
  const path = decodeURIComponent(url.pathname.slice(resolve.length)).replace(/^[^/]+\//, '');
  const content = files[path];
  if (content === undefined) return refuse(404, 'EntryNotFound');
  const headers = { 'x-repo-commit': commit, etag: `"${gitHash(content)}"`, ...(isLarge(path) && { 'x-linked-etag': `"${sha256(content)}"`, 'x-linked-size': String(content.length) }) };
  if (redirect && isLarge(path)) return { status: 302, headers: { ...headers, location: `${cdn}/${encodeURIComponent(path)}` } };
  return { status: 200, headers, file: path };
}

function send(request: IncomingMessage, response: ServerResponse, path: string, { files, cut, spoil }: HubBehaviour, headers: Record<string, string> = {}): void {
  const whole = files[path] ?? Buffer.alloc(0);
  const content = spoil === path ? Buffer.from(whole.map((byte) => byte ^ 1)) : whole;
  const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
  const range = from > 0 ? { 'content-range': `bytes ${from}-${content.length - 1}/${content.length}` } : {};
  response.writeHead(from > 0 ? 206 : 200, { ...headers, ...range, 'content-length': content.length - from, 'accept-ranges': 'bytes' });
  if (request.method === 'HEAD') return void response.end();
  const body = content.subarray(from);
  if (cut?.path !== path) return void response.end(body);
  response.write(body.subarray(0, cut.after), () => void setTimeout(() => response.destroy(), 100)); // once the other side has read them
}
