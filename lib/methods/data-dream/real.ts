import type { Dataset } from '../../data/dataset.js';
import { openDataset } from '../../data/open.js';
import { checkNoOverlap } from '../../data/overlap.js';
import { preflight, TwinFinder, type Preflight } from '../../data/preflight.js';
import { ArgumentError, SeedbedError } from '../../errors.js';
import { fileNameOf } from '../../files.js';
import { checkNames } from '../../sentences.js';
import { adaptersOf, type DataDreamSettings } from './options.js';

const LEAST_TO_HOLD_OUT = 4; // pictures of a class
const LEAST_SIDE = 8; // pixels

/** Real pictures to learn from, and to measure on if there are any. */
export interface RealPictures {
  train: Dataset;
  test: Dataset | undefined;
  /** Why there is nothing to measure on. */
  notCompared: string | undefined;
  preflight: Preflight;
}

const opened = async (data: string | Dataset): Promise<Dataset> => (typeof data === 'string' ? openDataset(data, { onCorrupt: 'skip' }) : data);

/** Opens the pictures, looks at them, says what is learnt from and what is held out, and refuses what could not work, before anything is computed. */
export async function openReal(settings: DataDreamSettings, signal: AbortSignal): Promise<RealPictures> {
  const data = await opened(settings.data);
  if (data.role === 'test') throw new SeedbedError('ERR_DATA_LEAK', `Expected pictures to learn from for data, received the test part of ${data.name}`);
  if (data.classes.length < 2 && settings.compare !== false) throw new SeedbedError('ERR_DATASET', `Expected at least 2 classes in ${data.name}, found ${data.classes.length}; with compare false one will do`);
  const { counts } = data;
  for (const [label, name] of data.classes.entries()) fileNameOf(adaptersOf(settings, name, counts[label] ?? 0).at(-1) ?? name);
  checkNames(settings, data.classes);
  checkNames(settings.generate, data.classes, 'generate.names');
  const empty = data.classes.find((_, i) => counts[i] === 0);
  if (empty !== undefined) throw new SeedbedError('ERR_SHOTS', `Expected at least one picture of class '${empty}' in ${data.name}, found none`);
  const looked = await preflight(data, { signal });
  const checked = { ...looked, warnings: [...looked.warnings, ...(settings.captions ? toldOf(await data.captions()) : [])] };
  const { smallest } = checked.sides;
  if (smallest.pixels < LEAST_SIDE) throw new SeedbedError('ERR_IMAGE', `Expected pictures of at least ${LEAST_SIDE} pixels a side, '${smallest.key}' has ${smallest.pixels}`);
  const { train, test, notCompared } = await divide(data, settings);
  checkCrossFitting(train, settings);
  if (test === undefined) return { train, test, notCompared, preflight: checked };
  return apart(train, test, checked, settings.test !== undefined, signal);
}

/** Each picture is judged by a classifier that did not learn from it, but from others of its class. */
function checkCrossFitting({ classes, counts }: Dataset, { filter }: DataDreamSettings): void {
  if (filter === false || filter.agreementPercentile === 0 || filter.judge !== 'classifier') return;
  const few = classes.find((_, i) => (counts[i] ?? 0) < 2);
  if (few !== undefined) throw new SeedbedError('ERR_SHOTS', `Expected at least 2 pictures of class '${few}' to learn from with filter.agreementPercentile, found 1; judge 'clip' needs none`);
}

/** That pictures will be learnt with their captions: labels of another program's, say, are in text files too. */
function toldOf(captions: readonly (string | undefined)[]): string[] {
  const told = captions.filter((caption) => caption !== undefined);
  return told.length === 0 ? [] : [`${told.length} of ${captions.length} pictures have captions, which are used in place of the sentence ('${told[0]?.slice(0, 60)}'); captions: false, --no-captions leaves them out`];
}

async function divide(data: Dataset, { test, holdOut, shots, seed, compare }: DataDreamSettings): Promise<Omit<RealPictures, 'preflight'>> {
  const learnt = (part: Dataset): Dataset => (shots === undefined ? part : part.subset({ shots, seed })).inKeyOrder().as('train');
  if (compare === false) return { train: learnt(data), test: undefined, notCompared: 'it was not asked for' };
  if (test !== undefined) return { train: learnt(data), test: (await opened(test)).withClasses(data.classes).as('test'), notCompared: undefined };
  if (holdOut === 0) return { train: learnt(data), test: undefined, notCompared: 'no picture was held out' };
  const parts = data.split({ test: holdOut, seed });
  const [counts, held] = [data.counts, parts.test.counts];
  const small = data.classes.find((_, i) => (counts[i] ?? 0) < LEAST_TO_HOLD_OUT || held[i] === 0);
  if (small === undefined) return { train: learnt(parts.train), test: parts.test, notCompared: undefined };
  return { train: learnt(data), test: undefined, notCompared: `too few pictures to hold some out, as of class '${small}', which has ${counts[data.classes.indexOf(small)]}; give some with the option test` };
}

/** Takes test pictures out that look like ones that are learnt from: their answers would be known. */
async function apart(train: Dataset, test: Dataset, checked: Preflight, given: boolean, signal: AbortSignal): Promise<RealPictures> {
  if (given) await checkNoOverlap(train, test, 'data and test');
  const finder = new TwinFinder();
  for await (const { key, image } of train) finder.find(key, image);
  const twins = new Set<string>();
  for await (const { key, image } of test) {
    signal.throwIfAborted();
    if (finder.look(image) !== undefined) twins.add(key);
  }
  if (twins.size === 0) return { train, test, notCompared: undefined, preflight: checked };
  const left = test.filter((key) => !twins.has(key));
  if (left.length === 0) throw new ArgumentError(`Expected test pictures that look different from those that are learnt from, all ${test.length} look like one of them`);
  const warnings = [...checked.warnings, `${twins.size} of ${test.length} pictures to measure on were left out, since they look like ones that are learnt from (${[...twins].slice(0, 3).map((key) => `'${key}'`).join(', ')}${twins.size > 3 ? ', ...' : ''})`];
  return { train, test: left, notCompared: undefined, preflight: { ...checked, warnings } };
}
