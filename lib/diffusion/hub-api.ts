import type { Dispatcher } from 'undici';
import { z } from 'zod';
import { SeedbedError } from '../errors.js';
import { get, proxyAgent } from '../setup/download.js';
import { COMMIT, type HubSettings } from './hub-cache.js';

/** A file of a repository at a commit. */
export interface HubFile {
  path: string;
  size: number;
  /** Name of its blob in the cache: the sha256 of a large file, Git's hash of a small one. */
  hash: string;
  large: boolean;
}

/** No answer from the server: it may be unreachable for now. */
export class UnreachableError extends SeedbedError {
  constructor(url: string, cause: unknown) {
    super('ERR_DOWNLOAD', `Cannot reach ${url}: ${reason(cause)}`, { cause });
  }
}

function reason(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException;
  return message === '' ? (code ?? 'no reason given') : message;
}

const revisionSchema = z.object({ sha: z.string().regex(COMMIT) });
const treeSchema = z.array(
  z.object({
    type: z.string(),
    path: z.string(),
    size: z.int().min(0).default(0),
    oid: z.string().optional(),
    lfs: z.object({ oid: z.string().regex(/^[0-9a-f]{64}$/), size: z.int().min(0) }).optional(),
  }),
);

/** A model repository on the hub. */
export class HubRepository {
  constructor(
    readonly settings: HubSettings,
    readonly name: string,
    readonly revision: string,
    readonly signal: AbortSignal | undefined,
  ) {}

  get headers(): Record<string, string> {
    return { 'user-agent': 'seedbed', ...(this.settings.token !== undefined && { authorization: `Bearer ${this.settings.token}` }) };
  }

  fileUrl(commit: string, path: string): string {
    return `${this.settings.endpoint}/${this.name}/resolve/${commit}/${path.split('/').map(encodeURIComponent).join('/')}`;
  }

  /** The commit of the revision now. */
  async commit(): Promise<string> {
    const url = `${this.settings.endpoint}/api/models/${this.name}/revision/${encodeURIComponent(this.revision)}`;
    return this.#parse(revisionSchema, await this.#json(url), url).sha;
  }

  async files(commit: string): Promise<HubFile[]> {
    const files: HubFile[] = [];
    let url: string | undefined = `${this.settings.endpoint}/api/models/${this.name}/tree/${commit}?recursive=true&expand=false`;
    while (url !== undefined) {
      const answer = await this.#json(url);
      for (const { type, path, size, oid, lfs } of this.#parse(treeSchema, answer, url)) {
        const hash = lfs?.oid ?? oid;
        if (type === 'file' && hash !== undefined && /^[0-9a-f]{40,64}$/.test(hash)) files.push({ path, size: lfs?.size ?? size, hash, large: lfs !== undefined });
      }
      const next = /<([^>]+)>;\s*rel="next"/.exec(String(answer.headers['link'] ?? ''))?.[1];
      url = next === undefined ? undefined : new URL(next, url).href;
    }
    return files;
  }

  /** What an answer other than 200 means, and what to do. */
  refusal(status: number, headers: Dispatcher.ResponseData['headers'], url: string): SeedbedError {
    const kind = headers['x-error-code'];
    const { token } = this.settings;
    const permission = token === undefined ? 'If it is private or asks for acceptance of its terms, set HF_TOKEN' : 'HF_TOKEN is set; has its owner access, and accepted the terms on its page?';
    const what =
      status === 401 || status === 403
        ? `it answered ${status}: '${this.name}' does not exist or needs permission. ${permission}`
        : status === 404
          ? `it answered 404: ${kind === 'RevisionNotFound' ? `'${this.name}' has no revision '${this.revision}'` : kind === 'EntryNotFound' ? 'there is no such file' : `there is no model '${this.name}'`}`
          : `it answered ${status}`;
    return new SeedbedError('ERR_DOWNLOAD', `Cannot fetch ${url}: ${what}`);
  }

  #parse<S extends z.ZodType>(schema: S, { content }: Answer, url: string): z.output<S> {
    const parsed = schema.safeParse(content);
    if (!parsed.success) throw new SeedbedError('ERR_DOWNLOAD', `Expected the hub's description of a model from ${url}, received something else`);
    return parsed.data;
  }

  async #json(url: string): Promise<Answer> {
    const dispatcher = proxyAgent();
    try {
      const { statusCode, headers, body } = await get(url, dispatcher, this.headers, this.signal);
      if (statusCode >= 500) throw new UnreachableError(url, new Error(`it answered ${statusCode}`));
      if (statusCode !== 200) {
        await body.dump();
        throw this.refusal(statusCode, headers, url);
      }
      const text = await body.text();
      return { headers, content: parseJson(text) };
    } catch (error) {
      if (this.signal?.aborted) throw this.signal.reason;
      throw error instanceof SeedbedError ? error : new UnreachableError(url, error);
    } finally {
      await dispatcher.destroy();
    }
  }
}

interface Answer {
  headers: Dispatcher.ResponseData['headers'];
  content: unknown;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a web page, say; told apart by its schema
  }
}
