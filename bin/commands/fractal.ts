import type { Command } from 'commander';
import type { Sample } from '../../lib/data/dataset.js';
import { writeDataset, type WriteDatasetOptions } from '../../lib/data/write.js';
import { writeFileWhole } from '../../lib/files.js';
import { fractals, type FamilyOptions, type RenderOptions } from '../../lib/fractal.js';
import { contactSheet, encodePng } from '../../lib/image.js';
import { defined } from '../../lib/options.js';
import { example, integer, number, outputOf } from '../arguments.js';
import { interruptible, runTasks } from '../tasks.js';

interface Options {
  out?: string;
  sheet?: string;
  systems?: string;
  from?: string;
  format: 'imagefolder' | 'webdataset';
  count: number;
  maps?: number;
  sigmaFactor?: number;
  delta?: number;
  perturbation?: 'multiplicative' | 'additive';
  size?: number;
  points?: number;
  draw?: 'point' | 'patch';
  precision?: 'fast' | 'exact';
  seed?: number;
  threads?: number;
  dryRun?: boolean;
}

const SHEET_IMAGES = 48;
const SHEET_COLUMNS = 8;
const RENDERED_AT_ONCE = 256;

export function addFractal(program: Command): void {
  const command = program
    .command('fractal')
    .description('draw one fractal and its perturbed copies: a pre-training set from a formula')
    .option('--out <folder>', 'write the pictures as a dataset, one class per copy')
    .option('--sheet <file>', 'write a contact sheet (PNG)')
    .option('--systems <file>', 'write the systems (JSON); a dataset gets them as ifs.json beside it')
    .option('--from <file>', 'render the systems of such a file instead of drawing new ones')
    .option('--format <format>', 'imagefolder or webdataset', 'imagefolder')
    .option('--count <n>', 'perturbed copies', integer, 1000)
    .option('--maps <n>', 'affine maps of the system', integer)
    .option('--sigma-factor <x>', 'shape complexity; smaller is sparser', number)
    .option('--delta <x>', 'width of the perturbation', number)
    .option('--perturbation <kind>', 'multiplicative or additive')
    .option('--size <pixels>', 'both sides', integer)
    .option('--points <n>', 'points of the orbit', integer)
    .option('--draw <kind>', 'point or patch')
    .option('--precision <kind>', 'fast or exact')
    .option('--seed <n>', 'everything drawn follows from it', integer)
    .option('--threads <n>', 'default: all cores', integer)
    .option('--dry-run', 'say what would be written')
    .option('--json', 'print one JSON object instead of text')
    .action(async (options: Options) => {
      const { out, sheet, systems, from, format, dryRun, count, ...rest } = options;
      const output = outputOf(command);
      if (out === undefined && sheet === undefined && systems === undefined) command.error('error: expected at least one of --out, --sheet, --systems');
      if (dryRun) {
        const files = [out !== undefined && `${count} pictures (${format}) in ${out}, the systems in ${out}.ifs.json`, sheet !== undefined && `a contact sheet in ${sheet}`, systems !== undefined && `the systems in ${systems}`];
        process.stdout.write(`Would write ${files.filter((file) => file !== false).join('; ')}.\n`);
        return;
      }
      const signal = interruptible();
      const { size, points, draw, precision, threads, ...draws } = rest;
      const render: RenderOptions = defined({ size, points, draw, precision, threads });
      const begin = performance.now();
      const family = from === undefined ? await fractals.family({ ...(draws as FamilyOptions), ...render, count, signal }) : await fractals.load(from);
      await runTasks(
        {},
        [
          ...(sheet === undefined ? [] : [{ title: `contact sheet ${sheet}`, run: async () => writeFileWhole(sheet, await sheetOf(family.copies.slice(0, SHEET_IMAGES), family.textureSeeds, render)) }]),
          ...(systems === undefined ? [] : [{ title: `systems ${systems}`, run: () => fractals.save(systems, family) }]),
          ...(out === undefined
            ? []
            : [
                {
                  title: `dataset ${out}`,
                  run: async (_: object, report: (text: string) => void) => {
                    await writeDataset(out, samplesOf(family.copies, family.textureSeeds, { ...render, signal }, report), { format: format as NonNullable<WriteDatasetOptions['format']> });
                    await fractals.save(`${out.replace(/\/+$/, '')}.ifs.json`, family);
                  },
                },
              ]),
        ],
        output,
      );
      const { sigmaFactor } = fractals.describe(family.base);
      const result = { copies: family.copies.length, sigmaFactor, baseTries: family.baseTries, imageTries: family.imageTries, seconds: (performance.now() - begin) / 1000 };
      if (output.json) process.stdout.write(`${JSON.stringify(result)}\n`);
      else process.stdout.write(`${result.copies} copies of one system of sigma-factor ${sigmaFactor.toFixed(3)} (${family.baseTries} drawn, ${family.imageTries} perturbations tried), ${result.seconds.toFixed(1)} s\n`);
    });
  example(command, 'npx seedbed fractal --sheet sheet.png --count 48 --size 256 --points 25000', 'npx seedbed fractal --out fractals/ --count 1000 --seed 7');
}

type Family = Awaited<ReturnType<typeof fractals.family>>;

async function sheetOf(copies: Family['copies'], textureSeeds: Family['textureSeeds'], render: RenderOptions): Promise<Buffer> {
  const images = await fractals.render(copies, { ...render, value: 255, textureSeeds: textureSeeds.slice(0, copies.length) });
  return encodePng(contactSheet(copies.map((_, i) => fractals.image(images, i)), Math.min(SHEET_COLUMNS, copies.length)));
}

async function* samplesOf(copies: Family['copies'], textureSeeds: Family['textureSeeds'], render: RenderOptions, report: (text: string) => void): AsyncGenerator<Sample> {
  const digits = String(copies.length - 1).length;
  for (let first = 0; first < copies.length; first += RENDERED_AT_ONCE) {
    const part = copies.slice(first, first + RENDERED_AT_ONCE);
    const images = await fractals.render(part, { ...render, textureSeeds: textureSeeds.slice(first, first + part.length) });
    for (let i = 0; i < part.length; i++) {
      const name = `copy-${String(first + i).padStart(digits, '0')}`;
      report(`${first + i + 1} of ${copies.length}`);
      yield { key: `${name}/${name}.png`, label: first + i, className: name, image: fractals.image(images, i) };
    }
  }
}
