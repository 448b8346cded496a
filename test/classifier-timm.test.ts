import { existsSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Dataset, loadClassifier, trainClassifier, type Classifier } from 'seedbed';
import { packageRoot } from '#lib/setup/find.js';
import { picture, run, worst } from './support.js';

const python = process.env['SEEDBED_PYTHON'] ?? '';
const skip = python === '' ? 'SEEDBED_PYTHON names no Python with timm' : !existsSync(python) && `there is no ${python}`;

/** Two classes of pictures, for a network to be trained a little. */
const data = new Dataset({ name: 'two', classes: ['a', 'b'], entries: Array.from({ length: 4 }, (_, i) => ({ key: `${i}`, label: i % 2, read: () => Promise.resolve(picture(40, 40, 3, i)) })) });

t.test("timm.create_model('local-dir:...') computes what is saved here", { skip, timeout: 300_000 }, async (t) => {
  const root = t.testdir();
  const expected = new Map<string, number[]>();
  const look = async (folder: string, classifier: Classifier): Promise<void> => {
    const { imageSize } = classifier.info;
    const sizes = [[imageSize, imageSize], [imageSize + 77, imageSize + 20], [imageSize + 3, 2 * imageSize]] as const;
    expected.set(folder, [...(await classifier.logits(sizes.map(([width, height], salt) => picture(width, height, 3, salt)), { threads: 2 })).data]);
  };
  for (const model of ['vit_nano_patch4_32', 'vit_tiny_patch16_224', 'resnet18', 'resnet50'] as const) {
    const view = model.startsWith('resnet') ? { cropShare: 0.875, mean: [0.485, 0.456, 0.406] as const, std: [0.229, 0.224, 0.225] as const } : {};
    using classifier = await trainClassifier({ model, train: data, steps: 1, batchSize: 2, shardSize: 2, threads: 2, ...view });
    await classifier.save(join(root, model));
    await look(join(root, model), classifier);
  }
  using shipped = await loadClassifier('fractal-vit-nano');
  await look(join(packageRoot, 'models', 'fractal-vit-nano'), shipped);
  const { stdout } = await run(python, [join(packageRoot, 'scripts', 'golden', 'timm_folder.py'), ...expected.keys()], { maxBuffer: 2 ** 26, env: { ...process.env, HF_HUB_OFFLINE: '1' } });
  for (const [folder, logits] of Object.entries(JSON.parse(stdout) as Record<string, number[][]>)) t.ok(worst(logits.flat(), expected.get(folder) ?? [], { rtol: 1e-4, atol: 1e-4 }) < 1, folder);
});
