import { z } from 'zod';
import { dataDreamSchema, type DataDreamOptions } from '../methods/data-dream/options.js';
import { abortSignal, checkOptions, positiveInt } from '../options.js';
import { openDemoData } from './data.js';

const LEAST_SHOTS = 1;
const MOST_SHOTS = 12;

const schema = z.strictObject({
  /** Folder of adapters, pictures and the report. */
  out: z.string().min(1),
  /** Real pictures of each class, at most 12. Default 4. */
  shots: positiveInt.min(LEAST_SHOTS).max(MOST_SHOTS).default(4),
  /** Pictures to make of each class. Default 48. */
  perClass: positiveInt.max(10_000).default(48),
  /** Updates of the adapter. Default 100. */
  adaptSteps: positiveInt.default(100),
  /** Updates of each classifier. Default 100. */
  compareSteps: positiveInt.default(100),
  /** Runs of each way to train. Default 3. */
  seeds: positiveInt.max(1000).default(3),
  signal: abortSignal.optional(),
});

export type GrowDemoOptions = z.input<typeof schema>;

/** Words for the style that the model is to learn, and for those that it knows. */
const NEW_STYLE = 'a sticker of a {class}';
const KNOWN_STYLES = ['a flat drawing of a {class}', 'a glossy cartoon of a {class}', 'a 3D render of a {class}', 'a blob emoji of a {class}'];

/** What a picture of the set shows: 'mammal/black-cat-twemoji' is of a black cat. */
const thingOf = (key: string): string => key.replace(/^[^/]*\//, '').replace(/-[^-]*$/, '').replaceAll('-', ' ');

/**
 * `dataDream` on the package's own pictures: emoji of ten kinds by a vendor that the small model never saw. A few of each kind are learnt from; the model is then asked for
 * a dozen other things of each by their names; and what is left, which shows things that are neither drawn nor named before, is what the classifiers are asked about.
 */
export async function growDemo(options: GrowDemoOptions): Promise<DataDreamOptions> {
  const { out, shots, perClass, adaptSteps, compareSteps, seeds, signal } = checkOptions(schema, options, 'growDemo');
  const { pool, test: pictures } = await openDemoData();
  const data = pictures.as('train').subset({ shots, seed: 0 }).captioned((key) => NEW_STYLE.replace('{class}', thingOf(key)));
  const things = Object.fromEntries(pool.classes.map((name) => [name, [...new Set(pool.ofClass(name).keys.map(thingOf))]]));
  const learnt = new Set(data.keys);
  return checkOptions(
    dataDreamSchema,
    {
      data: data.named('emoji of an unseen style'),
      test: pictures.filter((key) => !learnt.has(key)),
      out,
      mode: 'dataset',
      template: NEW_STYLE,
      adapt: { steps: adaptSteps, crop: 'center' },
      generate: { perClass, template: [NEW_STYLE, ...KNOWN_STYLES], names: things, steps: 25 },
      compare: { realWeight: 0.5, steps: compareSteps, seeds },
      ...(signal && { signal }),
    },
    'growDemo',
  );
}
