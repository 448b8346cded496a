import { confusionOf } from '../../experiment/few-shot.js';
import { contactSheet, dataUri, readImage, scaleImage, squared, type Image } from '../../image.js';
import { originOf } from '../../report/origin.js';
import type { GrowRecord } from '../../report/record.js';
import type { DataDreamResult } from './data-dream.js';
import { promptOf } from './options.js';
import type { Scored } from './filter.js';

const SHOWN = { real: 4, generated: 8, dropped: 3 }; // of each class
const SIDE = 64; // pixels in the report
const GAP = 4;

/** What `seedbed report` shows of a finished run. */
export async function growRecord({ settings, preflight, classes, shots, pictures = [], gain, notCompared, parts, real: { train, test } }: DataDreamResult, model: string): Promise<GrowRecord> {
  const real = await train.load();
  const { template, domain, names, adapt, generate, filter, compare, mode, seed } = settings;
  return {
    kind: 'grow',
    origin: await originOf(),
    name: train.name,
    model,
    settings: flat({ mode, seed, template, domain, names, adapt, generate, filter, compare }),
    warnings: preflight.warnings,
    classes: await Promise.all(
      classes.map(async (className, i) => {
        const own = pictures.filter(({ made }) => made.className === className);
        const dropped = own.filter((one) => one.dropped !== undefined);
        const kept = own.filter((one) => one.dropped === undefined);
        return {
          name: className,
          prompt: promptOf(settings, className, 0),
          shots: shots[i] ?? 0,
          generated: own.length,
          dropped: dropped.length,
          pictures: {
            real: await sheet(real.filter((sample) => sample.className === className).slice(0, SHOWN.real).map((sample) => sample.image)),
            generated: await sheet(await read(kept.slice(0, SHOWN.generated))),
            ...(dropped.length > 0 && { dropped: await sheet(await read(dropped.slice(0, SHOWN.dropped))) }),
          },
        };
      }),
    ),
    reasons: reasonsOf(pictures),
    gain,
    notCompared,
    confusions: gain === undefined || test === undefined ? undefined : { real: confusionOf(test, gain.study.arms[0]), both: confusionOf(test, gain.study.arms.at(-1)) },
    parts,
  };
}

const read = (scored: readonly Scored[]): Promise<Image[]> => Promise.all(scored.map(({ made }) => readImage(made.file)));

async function sheet(images: readonly Image[]): Promise<string> {
  const small = await Promise.all(images.map(async (image) => scaleImage(squared(image), SIDE)));
  return dataUri(contactSheet(small, small.length, GAP));
}

/** Reasons without the names in them. */
function reasonsOf(pictures: readonly Scored[]): GrowRecord['reasons'] {
  const counts = new Map<string, number>();
  for (const { dropped } of pictures) {
    if (dropped === undefined) continue;
    const reason = dropped.startsWith('looks like') ? 'looks like an earlier picture of its class, or like a real one' : 'the classifier of the real pictures is not sure of its class';
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  return [...counts].map(([reason, count]) => ({ reason, count }));
}

/** { a: { b: 1 } } as { 'a.b': 1 }. */
function flat(value: Readonly<Record<string, unknown>>, prefix = ''): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, inner]): [string, unknown][] =>
      typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? Object.entries(flat(inner as Record<string, unknown>, `${prefix}${name}.`)) : inner === undefined ? [] : [[`${prefix}${name}`, inner]],
    ),
  );
}
