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
  /** Pictures to make of each class. Default 24. */
  perClass: positiveInt.max(10_000).default(24),
  /** Updates of each adapter. Default 60. */
  adaptSteps: positiveInt.default(60),
  /** Updates of each classifier. Default 100. */
  compareSteps: positiveInt.default(100),
  /** Runs of each way to train. Default 3. */
  seeds: positiveInt.max(1000).default(3),
  signal: abortSignal.optional(),
});

export type GrowDemoOptions = z.input<typeof schema>;

/**
 * `dataDream` on the package's own pictures: emoji of ten kinds by a vendor that the small model never saw. A few of each kind are learnt from, the others,
 * which show other things, are what the classifiers are asked about.
 */
export async function growDemo(options: GrowDemoOptions): Promise<DataDreamOptions> {
  const { out, shots, perClass, adaptSteps, compareSteps, seeds, signal } = checkOptions(schema, options, 'growDemo');
  const { test: pictures } = await openDemoData();
  const data = pictures.as('train').subset({ shots, seed: 0 });
  const learnt = new Set(data.keys);
  return checkOptions(
    dataDreamSchema,
    {
      data: data.named('emoji of an unseen style'),
      test: pictures.filter((key) => !learnt.has(key)),
      out,
      template: 'a flat drawing of a {class}',
      names: { dish: 'dish of food', produce: 'fruit', sky: 'sky' },
      adapt: { steps: adaptSteps, lr: 2.5e-4, rank: 8, crop: 'center' },
      generate: { perClass, steps: 25, guidanceScale: 2 },
      compare: { steps: compareSteps, seeds },
      ...(signal && { signal }),
    },
    'growDemo',
  );
}
