import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import tar from 'tar-stream';
import { z } from 'zod';
import { SeedbedError } from '../errors.js';
import { writeFolderWhole } from '../files.js';
import { encodePng } from '../image.js';
import { checkOptions, positiveInt } from '../options.js';
import type { Sample } from './dataset.js';

const SAMPLES_PER_SHARD = 10_000;
const EPOCH = new Date(0); // tars of the same samples are the same bytes

const writeSchema = z.strictObject({
  /** One folder per class (default), or tars with a `.cls` index per picture and `classes.txt` beside them. Captions become `.txt` files of the same name. */
  format: z.enum(['imagefolder', 'webdataset']).optional(),
  /** Pictures per tar. Default 10,000. */
  samplesPerShard: positiveInt.optional(),
});

export type WriteDatasetOptions = z.input<typeof writeSchema>;

type Samples = Iterable<Sample> | AsyncIterable<Sample>;

/**
 * Writes samples as PNG files into a new folder, whole or not at all. Returns how many were written.
 * Throws `ERR_FILE_WRITE` when the folder is not empty, `ERR_DISK_FULL` when there is no room; nothing is left then.
 */
export async function writeDataset(folder: string, samples: Samples, options: WriteDatasetOptions = {}): Promise<number> {
  const { format = 'imagefolder', samplesPerShard = SAMPLES_PER_SHARD } = checkOptions(writeSchema, options, 'writeDataset');
  let count = 0;
  await writeFolderWhole(folder, async (temporary) => {
    count = format === 'imagefolder' ? await writeImageFolder(temporary, samples) : await writeShards(temporary, samples, samplesPerShard);
  });
  return count;
}

/** The file name of a sample: its key without extension, in one level. */
function fileName(sample: Sample, count: number): string {
  const base = sample.key.replace(/\.[^./]+$/, '').split('/').at(-1) ?? '';
  return /^[\w.-]+$/.test(base) ? base : String(count).padStart(6, '0');
}

async function writeImageFolder(root: string, samples: Samples): Promise<number> {
  const written = new Set<string>();
  for await (const sample of samples) {
    const path = join(root, sample.className, `${fileName(sample, written.size)}.png`);
    if (dirname(path) === root || written.has(path)) throw new SeedbedError('ERR_DATASET', `Expected different keys within class '${sample.className}', received '${sample.key}' twice`);
    written.add(path);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, await encodePng(sample.image));
    if (sample.caption !== undefined) await writeFile(path.replace(/png$/, 'txt'), sample.caption);
  }
  return written.size;
}

async function writeShards(root: string, samples: Samples, perShard: number): Promise<number> {
  const classes: string[] = [];
  let pack: tar.Pack | undefined;
  let done: Promise<void> | undefined;
  let count = 0;
  const add = async (name: string, content: Buffer): Promise<void> => {
    const written = new Promise<void>((resolve, reject) => {
      pack?.entry({ name, mtime: EPOCH, uid: 0, gid: 0, mode: 0o644 }, content, (error) => (error ? reject(error) : resolve()));
    });
    // When the file fails, the pack only says that it was destroyed; `done` knows why.
    await Promise.race([written, done]).catch(async (error: unknown) => {
      await done;
      throw error;
    });
  };
  const close = async (): Promise<void> => {
    pack?.finalize();
    await done;
  };
  for await (const sample of samples) {
    if (count % perShard === 0) {
      await close();
      pack = tar.pack();
      done = pipeline(pack, createWriteStream(join(root, `shard-${String(count / perShard).padStart(6, '0')}.tar`)));
      done.catch(() => {}); // awaited by close()
    }
    classes[sample.label] = sample.className;
    const key = String(count++).padStart(8, '0');
    await add(`${key}.png`, await encodePng(sample.image));
    await add(`${key}.cls`, Buffer.from(String(sample.label)));
    if (sample.caption !== undefined) await add(`${key}.txt`, Buffer.from(sample.caption));
  }
  await close();
  await writeFile(join(root, 'classes.txt'), `${Array.from({ length: classes.length }, (_, label) => classes[label] ?? '').join('\n')}\n`);
  return count;
}
