// With which guidance and sampler the seedling's drawings come nearest to those that are asked for.
//
//   node scripts/seedling/choose-sampler.mjs --model FOLDER --corpus FOLDER/corpus [--count 96] [--threads N]
//
// Pictures are compared by their pixels, 16 x 16, with all real drawings of the asked style; the judge of scripts/evaluate-seedling.mjs has no say, and the seeds are others than its.

import { parseArgs } from 'node:util';
import { loadDiffusion } from '../../dist/lib/index.js';
import { halved, openCorpus } from './evaluation/pictures.mjs';
import { randomOf, shuffle } from './random.mjs';
import { PIXELS } from './variations.mjs';

const FIRST_SEED = 7_000_000;
const STYLES = ['3d', 'noto', 'flat', 'blob'];
const WAYS = [
  ...[1.5, 2, 3, 4, 5].map((guidanceScale) => ({ sampler: 'ddim', steps: 25, guidanceScale })),
  { sampler: 'ddim', steps: 50, guidanceScale: 3 },
  { sampler: 'dpmpp_2m', steps: 25, guidanceScale: 3 },
];

const { values } = parseArgs({ options: { model: { type: 'string' }, corpus: { type: 'string' }, count: { type: 'string', default: '96' }, threads: { type: 'string' } } });
if (values.model === undefined || values.corpus === undefined) throw new Error('Expected --model FOLDER and --corpus FOLDER');
const threads = values.threads === undefined ? {} : { threads: Number(values.threads) };

const cells = (picture) => halved(halved(picture), PIXELS / 2);

/** Mean square, of values in [0, 1]. */
const distance = (a, b) => a.reduce((sum, value, i) => sum + ((value - b[i]) / 255) ** 2, 0) / a.length;

const { drawings } = openCorpus(values.corpus);
const asked = STYLES.flatMap((style) => shuffle(randomOf(`choose/${style}`), drawings[style].filter(({ set }) => set === 'train')).slice(0, Number(values.count) / STYLES.length));
const gallery = Object.fromEntries(STYLES.map((style) => [style, drawings[style].map(({ concept, picture }) => ({ concept, seen: cells(picture) }))]));
const sd = await loadDiffusion(values.model, { dtype: 'float32', ...threads });
for (const way of WAYS) {
  const { images } = await sd.generate({ prompt: asked.map(({ caption }) => caption), seed: FIRST_SEED, ...way, width: PIXELS, height: PIXELS, batchSize: 32 });
  const found = images.map(({ data }, i) => {
    const seen = cells(data);
    const ranked = gallery[asked[i].style].map((one) => ({ concept: one.concept, d: distance(seen, one.seen) })).sort((a, b) => a.d - b.d);
    return { rank: ranked.findIndex(({ concept }) => concept === asked[i].concept), d: ranked.find(({ concept }) => concept === asked[i].concept).d };
  });
  const share = (most) => ((100 * found.filter(({ rank }) => rank < most).length) / found.length).toFixed(0);
  console.log(`${JSON.stringify(way)}  top-1 ${share(1)} %, top-5 ${share(5)} %, square error ${(found.reduce((sum, { d }) => sum + d, 0) / found.length).toFixed(4)}`);
}
sd.dispose();
