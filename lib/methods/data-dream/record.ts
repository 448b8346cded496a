import { confusionOf } from '../../experiment/few-shot.js';
import { contactSheet, dataUri, readImage, scaleImage, squared, type Image } from '../../image.js';
import { flattened } from '../../options.js';
import { originOf } from '../../report/origin.js';
import type { GrowRecord } from '../../report/record.js';
import { BOTH, REAL } from './compare.js';
import type { DataDreamResult } from './data-dream.js';

const SHOWN_REAL = 4; // pictures of a class
const SHOWN_CLASSES = 50; // more would make no page to read
const SIDE = 64; // pixels in the report
const GAP = 4;

const REASONS = {
  twin: 'they look like an earlier picture of their class, or like a real one',
  unsure: 'the judge is least sure of their class',
  far: 'they are farthest from the real pictures of their class',
  spare: 'those that were kept differ more from one another',
};

/** What `seedbed report` shows of a finished run. */
export async function growRecord({ settings, preflight, classes = [], real: { train, test }, gain, notCompared, parts }: DataDreamResult, model: string): Promise<GrowRecord> {
  const { template, domain, names, captions, adapt, generate, filter, compare, mode, seed } = settings;
  const shown: GrowRecord['classes'] = [];
  for (const [label, { name, prompt, generated, dropped, shown: files }] of classes.entries()) {
    const isShown = label < SHOWN_CLASSES;
    shown.push({
      name,
      prompt,
      shots: train.counts[label] ?? 0,
      generated,
      dropped: Object.values(dropped).reduce((a, b) => a + b, 0),
      pictures: isShown
        ? {
            real: await sheet(await firstOf(train.ofClass(name))),
            generated: await sheet(await Promise.all(files.kept.map((file) => readImage(file)))),
            ...(files.dropped.length > 0 && { dropped: await sheet(await Promise.all(files.dropped.map((file) => readImage(file)))) }),
          }
        : undefined,
    });
  }
  const reasons = Object.entries(REASONS).map(([kind, reason]) => ({ reason, count: classes.reduce((sum, { dropped }) => sum + dropped[kind as keyof typeof REASONS], 0) }));
  const arm = (name: string) => confusionOf(test ?? train, gain?.study.arms.find((one) => one.name === name));
  return {
    kind: 'grow',
    origin: await originOf(),
    name: train.name,
    model,
    settings: flattened({ mode, seed, template, domain, names, captions, adapt, generate, filter, compare }),
    warnings: preflight.warnings,
    classes: shown,
    reasons: reasons.filter(({ count }) => count > 0),
    gain,
    notCompared,
    confusions: gain === undefined || gain.gains.length === 0 || classes.length > SHOWN_CLASSES ? undefined : { real: arm(REAL), both: arm(BOTH) },
    parts,
  };
}

async function firstOf(data: { length: number; get: (i: number) => Promise<{ image: Image }> }): Promise<Image[]> {
  return Promise.all(Array.from({ length: Math.min(SHOWN_REAL, data.length) }, async (_, i) => (await data.get(i)).image));
}

async function sheet(images: readonly Image[]): Promise<string> {
  const small = await Promise.all(images.map((image) => scaleImage(squared(image), SIDE)));
  return dataUri(contactSheet(small, small.length, GAP));
}
