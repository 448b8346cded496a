// Pre-trains a backbone from formulas alone and writes it as the package ships it, with a card.
//
//   node scripts/pretrain-fractal.mjs --work FOLDER [--net resnet_nano_32] [--kind 1p-frac|FractalDB] [--updates 15000] [--out models/fractal-resnet-nano] [--threads N]
//
// The same backbones as scripts/evidence-fractal.mjs trains: with its --work folder nothing is learnt twice. It saves its state every 500 updates; run the same command again to go on.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadClassifier } from '../dist/lib/index.js';
import { table } from './evidence/rows.mjs';
import { pretrained, recipeOf } from './fractals/pretraining.mjs';

const { values } = parseArgs({
  options: { work: { type: 'string' }, net: { type: 'string', default: 'resnet_nano_32' }, kind: { type: 'string', default: 'FractalDB' }, updates: { type: 'string', default: '15000' }, out: { type: 'string', default: 'models/fractal-resnet-nano' }, threads: { type: 'string' } },
});
if (values.work === undefined) throw new Error('Expected --work FOLDER for checkpoints');
const { net, kind, out } = values;
const updates = Number(values.updates);
const { folder, stages } = await pretrained({ work: values.work, net, kind, updates, ...(values.threads && { threads: { threads: Number(values.threads) } }) });
const backbone = await loadClassifier(folder);
await backbone.save(out, { dtype: 'float16' });
writeFileSync(join(out, 'training.json'), `${JSON.stringify({ net, kind, ...recipeOf(updates), stages }, null, 1)}\n`);
writeFileSync(join(out, 'README.md'), card(backbone.info.parameters));
backbone.dispose();

/** What it is, what it saw, how its loss went. */
function card(parameters) {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
  const samples = stages.reduce((sum, stage) => sum + stage.samples, 0);
  const rows = stages.map(({ count, samples: seen, finalLoss, chance, curve }) => [count, seen.toLocaleString('en'), curve.filter((_, i) => i % Math.ceil(curve.length / 6) === 0).map(([step, loss]) => `${loss.toFixed(2)} at ${step}`).join(', '), finalLoss?.toFixed(2), chance.toFixed(2)]);
  return [
    `# ${out.split('/').at(-1)}`, '',
    `\`${net}\`, ${parameters.toLocaleString('en')} parameters, for pictures of 32 pixels. It learnt to tell ${kind === '1p-frac' ? 'perturbed copies of one fractal' : 'fractal systems'} apart (${kind}) and saw ${samples.toLocaleString('en')} pictures, all drawn by formulas: no photograph, no label by a person, no licence but the package's own.`, '',
    ...table(['classes', 'pictures seen', 'loss on the way', 'final loss', 'loss of guessing'], rows), '',
    'What it is worth on real pictures, and what it is not: `docs/evidence-fractals.md`. Published results of the method are of networks that saw 61 million pictures.', '',
    '| | |', '|---|---|', '| meant for | a start for small classifiers of few pictures (`init`), and for trying the method |', '| not meant for | naming anything as it is: its classes are fractals |', '| colours | two random ones a picture: what colours mean it learns from your pictures |', '',
    `Every setting stands in \`training.json\`. Made by \`node scripts/pretrain-fractal.mjs --net ${net} --kind ${kind} --updates ${updates} --out ${out}\`, seedbed ${version}. Weights in half precision, in timm's names.`, '',
  ].join('\n');
}
