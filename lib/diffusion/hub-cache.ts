import { mkdir, readFile, rm, stat, symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { errorFromFile } from '../errors.js';
import { writeFileWhole } from '../files.js';

/** Settings of Python's huggingface_hub, from the environment; read at each use. */
export interface HubSettings {
  endpoint: string;
  token: string | undefined;
  offline: boolean;
  /** The folder of all repositories. */
  cache: string;
}

const DEFAULT_ENDPOINT = 'https://huggingface.co';
export const COMMIT = /^[0-9a-f]{40}$/;

/** A variable that is set and not empty. */
const variable = (name: string): string | undefined => (process.env[name] === '' ? undefined : process.env[name]);

function expandHome(path: string): string {
  return resolve(path.replace(/^~(?=\/|$)/, homedir()).replace(/\$(\w+)|\$\{(\w+)\}/g, (whole, a?: string, b?: string) => process.env[a ?? b ?? ''] ?? whole));
}

/** `HF_ENDPOINT`, `HF_TOKEN` (or the file that `hf auth login` writes), `HF_HUB_OFFLINE`, `HF_HUB_CACHE`, `HF_HOME`. */
export async function hubSettings(): Promise<HubSettings> {
  const home = expandHome(variable('HF_HOME') ?? join(variable('XDG_CACHE_HOME') ?? join(homedir(), '.cache'), 'huggingface'));
  const saved = readFile(expandHome(variable('HF_TOKEN_PATH') ?? join(home, 'token')), 'utf8').catch(() => '');
  const token = (variable('HF_TOKEN') ?? variable('HUGGING_FACE_HUB_TOKEN') ?? (await saved)).trim();
  return {
    endpoint: (variable('HF_ENDPOINT') ?? DEFAULT_ENDPOINT).replace(/\/+$/, ''),
    token: token === '' ? undefined : token,
    offline: /^(1|on|yes|true)$/i.test(variable('HF_HUB_OFFLINE') ?? variable('TRANSFORMERS_OFFLINE') ?? ''),
    cache: expandHome(variable('HF_HUB_CACHE') ?? variable('HUGGINGFACE_HUB_CACHE') ?? join(home, 'hub')),
  };
}

/** One repository in the cache: `blobs/<hash>`, `refs/<branch>` holding a commit, `snapshots/<commit>/<path>` linking to blobs. */
export class CachedRepository {
  readonly folder: string;

  constructor(cache: string, name: string) {
    this.folder = join(cache, `models--${name.replace('/', '--')}`);
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit);
  }

  blob(hash: string): string {
    return join(this.folder, 'blobs', hash);
  }

  /** Makes the folder of blobs. Throws the error of writing there. */
  async prepare(): Promise<void> {
    const blobs = join(this.folder, 'blobs');
    await mkdir(blobs, { recursive: true }).catch((error: unknown) => {
      throw errorFromFile(error, 'write', blobs);
    });
  }

  /** The commit that a revision was when it was last fetched. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (COMMIT.test(revision)) return revision;
    const text = await readFile(join(this.folder, 'refs', revision), 'utf8').catch(() => '');
    return COMMIT.test(text.trim()) ? text.trim() : undefined;
  }

  async setRef(revision: string, commit: string): Promise<void> {
    if (revision === commit || (await this.commitOf(revision)) === commit) return;
    const path = join(this.folder, 'refs', revision);
    await mkdir(dirname(path), { recursive: true });
    await writeFileWhole(path, commit);
  }

  /** Where a file of a snapshot is. */
  place(commit: string, path: string): string {
    return join(this.snapshot(commit), path);
  }

  /** Puts a blob into a snapshot under a path. */
  async link(commit: string, path: string, hash: string): Promise<void> {
    const place = this.place(commit, path);
    try {
      await mkdir(dirname(place), { recursive: true });
      await rm(place, { force: true });
      await symlink(relative(dirname(place), this.blob(hash)), place).catch((error: unknown) => {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // somebody else made the same link just now
      });
    } catch (error) {
      throw errorFromFile(error, 'write', place);
    }
  }
}

/** Bytes in a file, through links; undefined when there is none. */
export async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    (info) => info.size,
    () => undefined,
  );
}
