import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { trainClassifier } from '../../lib/classifier.js';
import { MODEL_NAMES, type ModelName } from '../../lib/train-options.js';
import { openDataset } from '../../lib/data/open.js';
import type { Dataset } from '../../lib/data/dataset.js';
import { DEFAULT_BACKBONE } from '../../lib/saved-classifier.js';
import { originOf } from '../../lib/report/origin.js';
import { writeFileWhole } from '../../lib/files.js';
import { defined } from '../../lib/options.js';
import { writeRecord, type TrainRecord } from '../../lib/report/record.js';
import { renderReport } from '../../lib/report/report.js';
import { example, integer, number, outputOf } from '../arguments.js';
import { interruptible, runTasks } from '../tasks.js';

interface Options {
  out: string;
  init?: string;
  model?: string;
  shots?: number;
  synthetic?: string;
  realWeight?: number;
  validation: number;
  adapterRank?: number;
  freeze?: number | 'backbone';
  steps: number;
  batchSize: number;
  lr: number;
  optimizer: 'adamw' | 'sgd';
  weightDecay?: number;
  labelSmoothing: number;
  mixup?: boolean;
  randAugment?: boolean;
  precision?: 'float32' | 'bfloat16';
  seed: number;
  threads?: number;
  resume?: boolean;
  skipCorrupt?: boolean;
  dryRun?: boolean;
}

interface State {
  parts: { train: Dataset; validation: Dataset | undefined };
  record: TrainRecord;
}

const EVALUATIONS = 10;
const VIT_BACKBONE = 'fractal-vit-nano'; // adapters are for vision transformers
const DECAYS = { adamw: 0.05, sgd: 1e-4 };

export function addTrain(program: Command): void {
  const command = program
    .command('train')
    .description('train a classifier on labelled pictures, from the shipped backbone unless told otherwise')
    .argument('<data>', 'image folder, WebDataset tar, IDX file or folder with metadata.jsonl')
    .requiredOption('--out <folder>', 'where the classifier, its record and its report go')
    .option('--init <start>', `a saved classifier, a shipped backbone, or none; default ${DEFAULT_BACKBONE}, with --adapter-rank ${VIT_BACKBONE}`)
    .option('--model <name>', `with --init none: ${MODEL_NAMES.join(', ')}`)
    .option('--shots <n>', 'use only this many pictures of each class', integer)
    .option('--synthetic <data>', 'generated pictures of the same classes (grown/images): half of each batch is of them')
    .option('--real-weight <share>', 'with --synthetic: of the real half in the loss; default 0.8', number)
    .option('--validation <share>', 'of each class kept aside to measure on', number, 0.2)
    .option('--adapter-rank <n>', 'train low-rank changes of the start instead of all its weights; they also go into adapter.safetensors', integer)
    .option('--freeze <parts>', 'leave as they are the first so many blocks or stages of the start, or all of it but the head: backbone', (text: string) => (text === 'backbone' ? text : integer(text)))
    .option('--steps <n>', 'optimiser steps', integer, 500)
    .option('--batch-size <n>', 'pictures per step', integer, 32)
    .option('--lr <rate>', 'highest learning rate', number, 1e-3)
    .addOption(new Option('--optimizer <name>', 'AdamW, or SGD with Nesterov momentum 0.9').choices(['adamw', 'sgd']).default('adamw'))
    .option('--weight-decay <x>', 'default: 0.05 with adamw, 1e-4 with sgd', number)
    .option('--label-smoothing <share>', '', number, 0.1)
    .option('--mixup', 'mix pictures (mixup and CutMix)')
    .option('--rand-augment', 'stronger augmentation')
    .option('--precision <kind>', 'float32 or bfloat16')
    .option('--seed <n>', 'everything random follows from it', integer, 0)
    .option('--threads <n>', 'default: all cores', integer)
    .option('--resume', 'go on from the checkpoint in the output folder')
    .option('--skip-corrupt', 'leave out files that are no pictures instead of stopping')
    .option('--dry-run', 'open the data and say what would be done')
    .option('--json', 'print one JSON object instead of text')
    .action((path: string, options: Options) => train(path, options, command));
  example(command, 'npx seedbed train photos/ --out classifier/', 'npx seedbed train photos/ --out classifier/ --shots 16 --steps 1000 --rand-augment', 'npx seedbed train photos/ --out classifier/ --validation 0 --synthetic grown/images');
}

async function train(path: string, options: Options, command: Command): Promise<void> {
  const { out, init = options.adapterRank === undefined ? DEFAULT_BACKBONE : VIT_BACKBONE, model, shots, synthetic: generated, validation, resume, skipCorrupt, dryRun, mixup, randAugment, adapterRank, optimizer, weightDecay = DECAYS[optimizer], ...numbers } = options;
  const output = outputOf(command);
  const data = await openDataset(path, { onCorrupt: skipCorrupt ? 'skip' : 'error' });
  const parts = split(data, validation, shots, options.seed);
  const synthetic = generated === undefined ? undefined : (await openDataset(generated, { onCorrupt: skipCorrupt ? 'skip' : 'error' })).withClasses(data.classes);
  if (dryRun) {
    process.stdout.write(`Would train on ${parts.train.length} pictures of ${data.classes.length} classes${synthetic ? ` and ${synthetic.length} generated ones` : ''}, measure on ${parts.validation?.length ?? 0}, and write to ${out}.\n`);
    return;
  }
  await mkdir(out, { recursive: true });
  const begin = performance.now();
  const signal = interruptible();
  const state = { parts } as State;
  await runTasks(
    state,
    [
      {
        title: `train on ${parts.train.length} pictures of ${data.classes.length} classes`,
        run: async (_, report) => {
          const job = trainClassifier({
            ...(defined(numbers) as typeof numbers),
            train: parts.train,
            ...(parts.validation && { validate: parts.validation }),
            ...(synthetic && { synthetic }),
            ...(init === 'none' ? { model: (model ?? 'resnet_nano_32') as ModelName } : { init }),
            ...(adapterRank !== undefined && { adapters: { rank: adapterRank } }),
            optimizer: { type: optimizer, weightDecay },
            minLr: 1e-6,
            warmupSteps: Math.round(options.steps / 10),
            clipNorm: 1,
            mixup: mixup ?? false,
            augment: { scale: [0.5, 1], randAugment: randAugment ?? false },
            evaluateEvery: parts.validation === undefined ? 0 : Math.max(1, Math.floor(options.steps / EVALUATIONS)),
            checkpoint: join(out, 'checkpoint.safetensors'),
            resume: resume ?? false,
            signal,
          });
          for await (const event of job) {
            if (event.type === 'step') report(`step ${event.step} of ${event.steps}, loss ${event.loss.toFixed(3)}`);
            if (event.type === 'evaluation') report(`step ${event.step}: ${(100 * event.accuracy).toFixed(1)} % of the validation pictures right`);
          }
          using classifier = await job;
          await classifier.save(out);
          if (classifier.adapter !== undefined) classifier.saveAdapter(join(out, 'adapter.safetensors'));
          const evaluation = parts.validation === undefined ? undefined : await classifier.evaluate(parts.validation, { signal });
          state.record = {
            kind: 'train',
            origin: await originOf(),
            data: { name: data.name, classes: data.classes, trainCounts: parts.train.counts, validationCounts: parts.validation?.counts ?? [], shots },
            options: { ...numbers, optimizer, weightDecay, ...(adapterRank !== undefined && { adapterRank }), mixup: mixup ?? false, randAugment: randAugment ?? false },
            init: init === 'none' ? undefined : init,
            parameters: classifier.info.parameters,
            losses: classifier.training?.losses ?? [],
            evaluations: classifier.training?.evaluations ?? [],
            evaluation,
            parts: [{ name: 'training and measuring', seconds: (performance.now() - begin) / 1000 }],
          };
        },
      },
      {
        title: `report ${join(out, 'report.html')}`,
        run: async () => {
          await writeRecord(join(out, 'record.json'), state.record);
          await writeFileWhole(join(out, 'report.html'), await renderReport(state.record));
        },
      },
    ],
    output,
  );
  const { evaluation } = state.record;
  if (output.json) process.stdout.write(`${JSON.stringify({ out, evaluation, skipped: data.skipped })}\n`);
  else if (evaluation !== undefined)
    process.stdout.write(`${(100 * evaluation.accuracy).toFixed(1)} % of ${evaluation.count} validation pictures right (95 % interval ${(100 * evaluation.interval.low).toFixed(1)} to ${(100 * evaluation.interval.high).toFixed(1)} %)\n`);
}

/** Validation pictures are set aside first, so that they stay the same whatever the shots. */
function split(data: Dataset, validation: number, shots: number | undefined, seed: number): State['parts'] {
  const parts = data.split({ validation, seed });
  const train = shots === undefined ? parts.train : parts.train.subset({ shots, seed });
  return { train, validation: parts.validation.length > 0 ? parts.validation : undefined };
}
