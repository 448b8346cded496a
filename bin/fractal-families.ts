import { fractals, type FamilyOptions, type RenderOptions } from '../lib/fractal.js';
import { OFDB_RENDER } from '../lib/fractal-db.js';
import { PALETTES, type PaletteName } from '../lib/fractal-picture.js';
import type { ContourClass, FractalFamily, FractalInstance, FractalSystems, Ifs } from '../lib/ifs.js';
import type { Image } from '../lib/image.js';
import { follow } from '../lib/job.js';
import { defined } from '../lib/options.js';
import type { Tensor } from '../lib/tensor.js';
import type { Report } from './tasks.js';

export const FAMILIES = ['1p-frac', 'fractaldb', 'ofdb', 'rcdb', 'visualatom'] as const;
export type FamilyName = (typeof FAMILIES)[number];

/** What the command line's options say about a family. */
export interface FamilyChoices {
  /** A file of systems or categories to use instead of drawing new ones; of FractalDB and OFDB also their CSV files. */
  from?: string | undefined;
  /** Classes. */
  count: number;
  /** Pictures per class. */
  instances?: number | undefined;
  faithful?: boolean | undefined;
  seed?: number | undefined;
  threads?: number | undefined;
  /** How the base system of 1p-frac and its copies are drawn. */
  draws: Pick<FamilyOptions, 'maps' | 'sigmaFactor' | 'halfWidth' | 'delta' | 'perturbation' | 'probabilities' | 'fillThreshold'>;
  render: RenderOptions;
}

export interface PictureChoices {
  size?: number | undefined;
  palette?: PaletteName | undefined;
  colourBy?: 'density' | 'map' | undefined;
}

/** A family with everything drawn that its pictures follow from. */
export interface FractalSet {
  classes: number;
  instances: number;
  /** Beginning of the names of classes. */
  prefix: string;
  /** Gray level between the pictures of a contact sheet. */
  paper: number;
  /** Pictures of some classes, instances first .. first + instances - 1 of each; `shown` to be looked at instead of learnt from. */
  draw(part: { classes: readonly [number, number]; first: number; instances: number }, size?: number, shown?: boolean): PromiseLike<Tensor<'uint8'>>;
  /** One picture, to be looked at. */
  picture(choices: PictureChoices, report: Report): Promise<Image>;
  save(path: string): Promise<void>;
  /** For `--json`. */
  facts: Record<string, unknown>;
  /** For people. */
  summary: string;
}

/** Draws a family's systems or categories, or reads them. */
export async function openFamily(name: FamilyName, choices: FamilyChoices, signal: AbortSignal, report: Report): Promise<FractalSet> {
  switch (name) {
    case '1p-frac':
      return onePFrac(choices, signal);
    case 'fractaldb':
      return fractalDb(choices, await searched(choices, signal, report), signal);
    case 'ofdb':
      return ofdb(choices, await searched(choices, signal, report), signal);
    case 'rcdb':
    case 'visualatom':
      return contours(name, choices, signal);
    default:
      return name satisfies never;
  }
}

async function onePFrac({ from, count, seed, draws, render }: FamilyChoices, signal: AbortSignal): Promise<FractalSet> {
  const family: FractalFamily = from === undefined ? await fractals.family({ ...draws, ...render, ...defined({ seed }), count, signal }) : await fractals.load(from);
  const { sigmaFactor } = fractals.describe(family.base);
  const { copies, baseTries, imageTries } = family;
  return {
    classes: copies.length,
    instances: 1,
    prefix: 'copy',
    paper: 255,
    draw: ({ classes }, size, shown) =>
      fractals.render(copies.slice(...classes), { ...render, ...defined({ size }), ...(shown && { value: 255 }), textureSeeds: family.textureSeeds.slice(...classes), signal }),
    picture: (choices, report) => pictureOf(family.base, choices, render, signal, report),
    save: (path) => fractals.save(path, family),
    facts: { copies: copies.length, sigmaFactor, baseTries, imageTries },
    summary: `${copies.length} copies of one system of sigma-factor ${sigmaFactor.toFixed(3)} (${baseTries} drawn, ${imageTries} perturbations tried)`,
  };
}

async function searched({ from, count, seed, render: { points, precision, threads } }: FamilyChoices, signal: AbortSignal, report: Report): Promise<FractalSystems> {
  if (from !== undefined) return from.endsWith('.json') ? fractals.loadSystems(from) : { systems: await fractals.loadCsv(from) };
  return follow(fractals.search(defined({ count, seed, points, precision, threads, signal })), ({ done, total }) => report(`${done} of ${total} systems found`));
}

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

function ofSystems(found: FractalSystems, instances: number, pictures: (ifs: Ifs, i: number) => readonly FractalInstance[], render: RenderOptions, signal: AbortSignal): FractalSet {
  return {
    classes: found.systems.length,
    instances,
    prefix: 'class',
    paper: 255,
    draw: (part, size, shown) => {
      const chosen = found.systems.slice(...part.classes).flatMap((ifs, i) => pictures(ifs, part.classes[0] + i).slice(part.first, part.first + part.instances));
      const [systems, textureSeeds, flips] = [chosen.map((one) => one.ifs), chosen.map((one) => one.textureSeed), chosen.map((one) => one.flip)];
      return fractals.render(systems, { ...render, ...defined({ size }), ...(shown && render.colour !== true && { value: 255 }), textureSeeds, flips, signal });
    },
    picture: (choices, report) => pictureOf(found.systems[0] as Ifs, choices, render, signal, report),
    save: (path) => fractals.saveSystems(path, found),
    facts: { systems: found.systems.length, ...defined({ tries: found.tries }), pictures: found.systems.length * instances },
    summary: `${counted(found.systems.length, 'system')}${found.tries === undefined ? '' : ` of ${counted(found.tries, 'candidate')}`}, ${counted(instances, 'picture')} of each`,
  };
}

function fractalDb({ instances = 1000, seed, render }: FamilyChoices, found: FractalSystems, signal: AbortSignal): FractalSet {
  return ofSystems(found, Math.min(instances, 1000), (ifs) => fractals.instances(ifs, defined({ seed })), render, signal);
}

function ofdb({ faithful, seed, render }: FamilyChoices, found: FractalSystems, signal: AbortSignal): FractalSet {
  const set = fractals.ofdb(found.systems, defined({ faithful, seed }));
  return ofSystems(found, 1, (_, i) => set.slice(i, i + 1), { ...OFDB_RENDER, ...render }, signal);
}

async function contours(set: ContourClass['set'], { from, count, instances = 1, seed, threads, render }: FamilyChoices, signal: AbortSignal): Promise<FractalSet> {
  const classes = from === undefined ? fractals.contourClasses({ set, count, ...defined({ seed }) }) : await fractals.loadContours(from);
  const run = { ...defined({ threads }), signal };
  return {
    classes: classes.length,
    instances,
    prefix: 'class',
    paper: 128, // RCDB is black on white, VisualAtom white on black
    draw: (part, size) =>
      fractals.contours(classes.slice(...part.classes), { ...run, ...defined({ size: size ?? render.size }), instances: part.instances, firstInstance: part.first }),
    picture: async ({ size = 2048 }) => fractals.image(await fractals.contours(classes.slice(0, 1), { ...run, size }), 0),
    save: (path) => fractals.saveContours(path, classes),
    facts: { categories: classes.length, pictures: classes.length * instances },
    summary: `${classes.length} ${classes.length === 1 ? 'category' : 'categories'} of contours, ${counted(instances, 'picture')} of each`,
  };
}

function pictureOf(ifs: Ifs, { size, palette, colourBy }: PictureChoices, { threads }: RenderOptions, signal: AbortSignal, report: Report): Promise<Image> {
  const job = fractals.picture(ifs, { ...defined({ size, palette, colourBy, threads }), signal });
  return follow(job, ({ done, total }) => report(`${Math.round((100 * done) / total)} %`));
}

export const PALETTE_NAMES = Object.keys(PALETTES) as PaletteName[];
