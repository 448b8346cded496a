import { InvalidArgumentError, Option, type Command } from 'commander';
import type { Sample } from '../../lib/data/dataset.js';
import { writeDataset, type WriteDatasetOptions } from '../../lib/data/write.js';
import { writeFileWhole } from '../../lib/files.js';
import { fractals, type FamilyOptions, type RenderOptions } from '../../lib/fractal.js';
import { contactSheet, encodePng } from '../../lib/image.js';
import { defined } from '../../lib/options.js';
import type { PaletteName } from '../../lib/fractal-picture.js';
import { example, integer, number, outputOf } from '../arguments.js';
import { FAMILIES, openFamily, PALETTE_NAMES, type FamilyChoices, type FamilyName, type FractalSet } from '../fractal-families.js';
import { interruptible, runTasks, type Report, type Task } from '../tasks.js';

interface Options {
  family: FamilyName;
  out?: string;
  sheet?: string;
  picture?: string;
  systems?: string;
  from?: string;
  format: NonNullable<WriteDatasetOptions['format']>;
  count: number;
  instances?: number;
  faithful?: boolean;
  maps?: number;
  sigmaFactor?: number | 'andersonFarrell';
  delta?: number;
  halfWidth?: number;
  perturbation?: FamilyOptions['perturbation'];
  probabilities?: FamilyOptions['probabilities'];
  fillThreshold?: number;
  size?: number;
  points?: number;
  padding?: number;
  value?: number;
  indexSeed?: number;
  draw?: RenderOptions['draw'];
  texture?: RenderOptions['texture'];
  mask?: RenderOptions['mask'];
  start?: RenderOptions['start'];
  aspect?: RenderOptions['aspect'];
  precision?: RenderOptions['precision'];
  colour?: boolean;
  palette?: PaletteName;
  colourBy?: 'density' | 'map';
  seed?: number;
  threads?: number;
  dryRun?: boolean;
}

const SHEET_IMAGES = 48;
const SHEET_COLUMNS = 8;
const SHEET_GAP = 4;
const LARGEST_ON_SHEET = 512;
const RENDERED_AT_ONCE = 256;
const PICTURE_COMPRESSION = 6; // a picture of 8192 pixels takes half a minute at 9

const of = (families: readonly FamilyName[], names: readonly (keyof Options)[]): Partial<Record<keyof Options, readonly FamilyName[]>> => Object.fromEntries(names.map((name) => [name, families]));

/** Options that only some families have. */
const ONLY = {
  ...of(['1p-frac'], ['maps', 'sigmaFactor', 'delta', 'halfWidth', 'perturbation', 'probabilities', 'fillThreshold']),
  ...of(['1p-frac', 'fractaldb', 'ofdb'], ['points', 'padding', 'value', 'indexSeed', 'draw', 'texture', 'mask', 'start', 'aspect', 'precision', 'palette', 'colourBy']),
  ...of(['fractaldb', 'ofdb'], ['colour']),
  ...of(['fractaldb', 'rcdb', 'visualatom'], ['instances']),
  ...of(['ofdb'], ['faithful']),
};

export function addFractal(program: Command): void {
  const command = program
    .command('fractal')
    .description('pictures from formulas: one fractal and its perturbed copies, or another set of the family')
    .addOption(new Option('--family <name>', '1p-frac: perturbed copies of one system; fractaldb: systems found by search, up to 1000 pictures of each; ofdb: one of each; rcdb, visualatom: contours').choices(FAMILIES).default('1p-frac'))
    .option('--out <folder>', 'write the pictures as a dataset, one class per copy, system or category')
    .option('--sheet <file>', 'write a contact sheet (PNG)')
    .option('--picture <file>', 'write one picture (PNG) of the first system, to be looked at: --size up to 8192, default 2048')
    .option('--systems <file>', 'write the systems or categories (JSON); a dataset gets them as ifs.json beside it')
    .option('--from <file>', 'use those of such a file instead of drawing new ones; fractaldb, ofdb: or a folder of FractalDB\'s CSV files')
    .option('--format <format>', 'imagefolder or webdataset', 'imagefolder')
    .option('--count <n>', 'classes: copies, systems or categories', integer, 1000)
    .option('--instances <n>', 'pictures per class: fractaldb (default 1000), rcdb and visualatom (default 1)', integer)
    .option('--faithful', 'ofdb: multiply a by 0.2, as the released code does')
    .option('--maps <n>', '1p-frac: affine maps of the system', integer)
    .option('--sigma-factor <x>', '1p-frac: shape complexity, smaller is sparser; or andersonFarrell for their range', sigmaFactor)
    .option('--delta <x>', '1p-frac: width of the perturbation', number)
    .option('--half-width <x>', '1p-frac: the sigma-factor is drawn from that ∓ this; default 0.1', number)
    .addOption(new Option('--perturbation <kind>', "1p-frac: as the released code, or as the paper; default multiplicative").choices(['multiplicative', 'additive']))
    .addOption(new Option('--probabilities <whose>', '1p-frac: chances of the maps, of the base system or of each copy; default base').choices(['base', 'perturbed']))
    .option('--fill-threshold <share>', '1p-frac: of lit pixels, which a copy must exceed; default 0.05', number)
    .option('--size <pixels>', 'both sides', integer)
    .option('--points <n>', 'points of the orbit', integer)
    .option('--padding <pixels>', 'empty at each side; default 6', integer)
    .option('--value <gray>', 'of lit pixels, 1 to 255; default 127', integer)
    .option('--index-seed <n>', 'of the sequence of maps; default 100', integer)
    .addOption(new Option('--draw <kind>', 'default patch').choices(['point', 'patch']))
    .addOption(new Option('--texture <kind>', 'patches: a coin per covered pixel, or pasted over each other as the released code does; default iid').choices(['iid', 'paste']))
    .addOption(new Option('--mask <kind>', 'patches: random or solid; default random').choices(['random', 'fill']))
    .addOption(new Option('--start <where>', 'of the orbit; default origin').choices(['origin', 'fixedPoint']))
    .addOption(new Option('--aspect <kind>', 'fill the frame on both axes, or keep the proportions; default stretch').choices(['stretch', 'keep']))
    .addOption(new Option('--precision <kind>', 'single precision in vector code, or double, one point after the other; default fast').choices(['fast', 'exact']))
    .option('--colour', "FractalDB's colours, by the order of the points")
    .addOption(new Option('--palette <name>', 'colours of --picture (default: ember)').choices(PALETTE_NAMES))
    .addOption(new Option('--colour-by <what>', 'what decides the colours of --picture (default: density)').choices(['density', 'map']))
    .option('--seed <n>', 'everything drawn follows from it', integer)
    .option('--threads <n>', 'default: all cores', integer)
    .option('--dry-run', 'say what would be written')
    .option('--json', 'print one JSON object instead of text')
    .action(async (options: Options) => run(command, options));
  example(
    command,
    'npx seedbed fractal --sheet sheet.png --count 48 --size 256 --points 25000',
    'npx seedbed fractal --out fractals/ --count 1000 --seed 7',
    'npx seedbed fractal --family fractaldb --count 1 --picture fractal.png --size 8192 --palette lagoon',
    'npx seedbed fractal --family visualatom --count 100 --instances 20 --out atoms/',
  );
}

function sigmaFactor(text: string): number | 'andersonFarrell' {
  if (text === 'andersonFarrell') return text;
  if (text.trim() === '' || !Number.isFinite(Number(text))) throw new InvalidArgumentError('Expected a number or andersonFarrell.');
  return Number(text);
}

function check(command: Command, options: Options): void {
  const { family, out, sheet, picture, systems } = options;
  if (out === undefined && sheet === undefined && systems === undefined && picture === undefined) command.error('error: expected at least one of --out, --sheet, --picture, --systems');
  for (const [name, families] of Object.entries(ONLY)) {
    if (options[name as keyof Options] === undefined || families.includes(family)) continue;
    const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    command.error(`error: option '${flag}' is for ${families.join(', ')}, not for ${family}`);
  }
}

async function run(command: Command, options: Options): Promise<void> {
  check(command, options);
  const { family, out, sheet, picture, systems, from, format, count, instances, faithful, size, palette, colourBy, seed, threads } = options;
  const output = outputOf(command);
  if (options.dryRun) {
    const pictures = count * (instances ?? (family === 'fractaldb' ? 1000 : 1));
    const files = [out !== undefined && `${pictures} pictures (${format}) in ${out}, the systems in ${out}.ifs.json`, sheet !== undefined && `a contact sheet in ${sheet}`, picture !== undefined && `a picture in ${picture}`, systems !== undefined && `the systems in ${systems}`];
    process.stdout.write(`Would write ${files.filter((file) => file !== false).join('; ')}.\n`);
    return;
  }
  const signal = interruptible();
  const { points, padding, value, indexSeed, draw, texture, mask, start, aspect, precision, colour } = options;
  const render: RenderOptions = defined({ size: picture === undefined || out !== undefined ? size : undefined, points, padding, value, indexSeed, draw, texture, mask, start, aspect, precision, colour, threads });
  const { maps, sigmaFactor, halfWidth, delta, perturbation, probabilities, fillThreshold } = options;
  const draws: FamilyChoices['draws'] = defined({ maps, sigmaFactor, halfWidth, delta, perturbation, probabilities, fillThreshold });
  const begin = performance.now();
  const { set } = await runTasks<{ set?: FractalSet }>(
    {},
    [
      { title: `systems of ${family}`, run: async (context, report) => void (context.set = await openFamily(family, { from, count, instances, faithful, seed, threads, draws, render }, signal, report)) },
      ...outputs({ sheet, picture, systems, out, format, size, palette, colourBy }),
    ],
    output,
  );
  const { facts, summary } = set as FractalSet;
  const seconds = (performance.now() - begin) / 1000;
  process.stdout.write(output.json ? `${JSON.stringify({ family, ...facts, seconds })}\n` : `${summary}, ${seconds.toFixed(1)} s\n`);
}

type Wanted = Pick<Options, 'format'> & { [Key in 'sheet' | 'picture' | 'systems' | 'out' | 'size' | 'palette' | 'colourBy']: Options[Key] | undefined };

/** A task for each file that is wanted. */
function outputs({ sheet, picture, systems, out, format, size, palette, colourBy }: Wanted): Task<{ set?: FractalSet }>[] {
  const tasks: Task<{ set?: FractalSet }>[] = [];
  const add = (title: string, work: (set: FractalSet, report: Report) => Promise<void>): void => void tasks.push({ title, run: ({ set }, report) => work(set as FractalSet, report) });
  if (sheet !== undefined) add(`contact sheet ${sheet}`, async (set) => writeFileWhole(sheet, await sheetOf(set, size)));
  if (picture !== undefined) add(`picture ${picture}`, async (set, report) => writeFileWhole(picture, await encodePng(await set.picture({ size, palette, colourBy }, report), { compressionLevel: PICTURE_COMPRESSION })));
  if (systems !== undefined) add(`systems ${systems}`, (set) => set.save(systems));
  if (out !== undefined)
    add(`dataset ${out}`, async (set, report) => {
      await writeDataset(out, samplesOf(set, report), { format });
      await set.save(`${out.replace(/\/+$/, '')}.ifs.json`);
    });
  return tasks;
}

async function sheetOf(set: FractalSet, size?: number): Promise<Buffer> {
  const shown = Math.min(SHEET_IMAGES, set.classes);
  const images = await set.draw({ classes: [0, shown], first: 0, instances: 1 }, size === undefined ? undefined : Math.min(size, LARGEST_ON_SHEET), true);
  const pictures = Array.from({ length: shown }, (_, i) => fractals.image(images, i));
  return encodePng(contactSheet(pictures, Math.min(SHEET_COLUMNS, shown), SHEET_GAP, set.paper));
}

/** Every picture of a set, class by class. */
async function* samplesOf(set: FractalSet, report: Report): AsyncGenerator<Sample> {
  const total = set.classes * set.instances;
  const digits = String(set.classes - 1).length;
  const instances = Math.min(set.instances, RENDERED_AT_ONCE);
  const classes = Math.max(1, Math.floor(RENDERED_AT_ONCE / set.instances));
  let done = 0;
  for (let label = 0; label < set.classes; label += classes)
    for (let first = 0; first < set.instances; first += instances) {
      const part = { classes: [label, Math.min(label + classes, set.classes)] as const, first, instances: Math.min(instances, set.instances - first) };
      const images = await set.draw(part);
      for (let i = 0; i < (part.classes[1] - label) * part.instances; i++) {
        const place = { label: label + Math.floor(i / part.instances), instance: first + (i % part.instances) };
        const className = `${set.prefix}-${String(place.label).padStart(digits, '0')}`;
        const file = set.instances === 1 ? className : `${className}-${String(place.instance).padStart(String(set.instances - 1).length, '0')}`;
        report(`${++done} of ${total}`);
        yield { key: `${className}/${file}.png`, label: place.label, className, image: fractals.image(images, i) };
      }
    }
}
