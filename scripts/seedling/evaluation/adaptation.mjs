// A style that training never saw, learnt from a few pictures: does an adapter bring it, and does the model still know what it draws?

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadDiffusion, trainLora } from '../../../dist/lib/index.js';
import { STYLES } from '../captions.mjs';
import { randomOf, shuffle } from '../random.mjs';
import { PIXELS } from '../variations.mjs';
import { digest } from './judging.mjs';
import { percent, retrievalRows, styleRow } from './measures.mjs';
import { joined } from './pictures.mjs';

const SHOTS = 16;
const OTHERS = 64;
const FIRST_SEED = 1_700_000;
const BATCH = 16;
const LEARNING = { rank: 16, steps: 400, batchSize: 8, lr: 5e-4, crop: 'center' };

const shown = ({ picture }) => ({ data: picture, width: PIXELS, height: PIXELS, channels: 3 });

/** Twemoji to learn from, and other trained concepts to ask for in their style. */
function divided({ drawings, concepts }) {
  const trained = new Set(drawings.noto.filter(({ set }) => set === 'train').map(({ concept }) => concept));
  const all = shuffle(randomOf('evaluation/adaptation'), drawings.twemoji.filter(({ concept }) => trained.has(concept) && !concepts.get(concept).heldOut));
  return { shots: all.slice(0, SHOTS), others: all.slice(SHOTS, SHOTS + OTHERS) };
}

/** Rows of the table; `model` is the folder. The adapter is kept in `work`. */
export async function adaptationRows({ model, corpus, galleries, find, judge, work, settings, threads, say }) {
  const { shots, others } = divided(corpus);
  const sd = await loadDiffusion(model, { ...threads, dtype: 'float32' });
  const draw = async (style) => {
    const prompt = others.map(({ caption }) => caption.replace(STYLES.twemoji.phrase, STYLES[style].phrase));
    const { images } = await sd.generate({ prompt, seed: FIRST_SEED, ...settings, width: PIXELS, height: PIXELS, batchSize: BATCH, ...threads });
    return { requests: others.map(({ concept }, i) => ({ style, concept, seed: FIRST_SEED + i })), block: joined(images.map(({ data }) => data)) };
  };
  try {
    const trained = await draw('noto');
    const asked = await draw('twemoji');
    const file = join(work, `adapter-${digest(JSON.stringify({ model: sd.info, LEARNING, shots: shots.map(({ concept }) => concept) }))}.safetensors`);
    if (!existsSync(file)) {
      const job = trainLora(sd, { images: shots.map(shown), prompt: shots.map(({ caption }) => caption), ...LEARNING, ...threads });
      for await (const event of job) if (event.type === 'step' && event.step % 100 === 0) say(`adapter: update ${event.step} of ${event.steps}, loss ${event.loss.toFixed(3)}`);
      await (await job).save(file);
    }
    sd.loras.add(file, { name: 'twemoji' });
    const adapted = await draw('twemoji');
    const style = await styleRow({ name: `after an adapter of ${SHOTS} Twemoji, asked for in their style`, requests: adapted.requests, made: adapted.block, besides: { ...asked, means: 'asked so without the adapter' }, galleries, judge, threads });
    const [before] = await retrievalRows('Adaptation', '', { requests: trained.requests, made: trained.block, find });
    const [own] = await retrievalRows('Adaptation', `concepts other than those of the adapter, among real Twemoji`, { requests: adapted.requests, made: adapted.block, find });
    const least = before.number - 0.05;
    return [
      { ...style, part: 'Adaptation', target: '≥ 40 %', reached: style.number >= 0.4 },
      { ...own, beside: percent(before.number), besideMeans: 'the same without it, asked for and found in Noto', target: `≥ ${percent(least)}`, reached: own.number >= least },
    ];
  } finally {
    sd.dispose();
  }
}
