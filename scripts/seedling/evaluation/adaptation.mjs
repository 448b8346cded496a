// A style that training never saw, learnt from a few pictures: does an adapter bring it, and does the model still know what it draws?

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { loadDiffusion, trainLora } from '../../../dist/lib/index.js';
import { STYLES } from '../captions.mjs';
import { randomOf, shuffle } from '../random.mjs';
import { PIXELS } from '../variations.mjs';
import { digest } from './judging.mjs';
import { conceptRow, styleRow } from './measures.mjs';
import { joined } from './pictures.mjs';
import { versionOf } from './sources.mjs';

const SHOTS = 16;
const OTHERS = 64;
const FIRST_SEED = 1_700_000;
const BATCH = 16;
/** Chosen on other shots and other things, by gradients and colours in place of the judge: words of a known style and an unchanged text encoder keep what things are. */
const WORDS = 'noto';
const LAYERS = ['to_q', 'to_k', 'to_v', 'to_out.0', 'proj_in', 'proj_out', 'ff.net.0.proj', 'ff.net.2', 'conv1', 'conv2'];
const LEARNING = { rank: 16, steps: 400, batchSize: 8, lr: 1e-3, crop: 'center', unetTargets: LAYERS, textEncoderTargets: [] };

const shown = ({ picture }) => ({ data: picture, width: PIXELS, height: PIXELS, channels: 3 });

/** Twemoji to learn from, and other trained concepts to ask for in their style. */
function divided({ drawings, concepts }) {
  const trained = new Set(drawings.noto.filter(({ set }) => set === 'train').map(({ concept }) => concept));
  const all = shuffle(randomOf('evaluation/adaptation'), drawings.twemoji.filter(({ concept }) => trained.has(concept) && !concepts.get(concept).heldOut));
  return { shots: all.slice(0, SHOTS), others: all.slice(SHOTS, SHOTS + OTHERS) };
}

/** Rows of the table; `model` is the folder. The adapter is kept in `work`. */
export async function adaptationRows({ model, corpus, galleries, judge, work, settings, threads, say }) {
  const { shots, others } = divided(corpus);
  const sd = await loadDiffusion(model, { ...threads, dtype: 'float32' });
  const inWords = ({ caption }) => caption.replace(STYLES.twemoji.phrase, STYLES[WORDS].phrase);
  const requests = others.map(({ concept }, i) => ({ style: 'twemoji', concept, seed: FIRST_SEED + i }));
  const draw = async () => {
    const prompt = others.map(inWords);
    const { images } = await sd.generate({ prompt, seed: FIRST_SEED, ...settings, width: PIXELS, height: PIXELS, batchSize: BATCH, ...threads });
    return joined(images.map(({ data }) => data));
  };
  try {
    const before = { requests, block: await draw(), means: 'the same words without it' };
    const file = join(work, `adapter-${digest(versionOf(model), JSON.stringify({ LEARNING, WORDS, shots: shots.map(({ concept }) => concept) }))}.safetensors`);
    if (!existsSync(file)) {
      const job = trainLora(sd, { images: shots.map(shown), prompt: shots.map(inWords), ...LEARNING, ...threads });
      for await (const event of job) if (event.type === 'step' && event.step % 100 === 0) say(`adapter: update ${event.step} of ${event.steps}, loss ${event.loss.toFixed(3)}`);
      await (await job).save(file);
    }
    sd.loras.add(file, { name: 'twemoji' });
    const asked = { requests, made: await draw(), besides: before, galleries, judge, threads };
    const style = await styleRow({ name: `after an adapter of ${SHOTS} Twemoji`, ...asked });
    const concept = await conceptRow({ name: 'other things than those of the adapter', ...asked, within: 0.05 });
    return [
      { ...style, part: 'Adaptation', target: '≥ 40 %', reached: style.number >= 0.4 },
      { ...concept, part: 'Adaptation' },
    ];
  } finally {
    sd.dispose();
  }
}
