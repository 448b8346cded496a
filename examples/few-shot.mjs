// From a folder of photos (one folder per class) to a classifier, and an honest answer to "did the backbone help?".
//
//   node examples/few-shot.mjs photos/

import { fewShotStudy, openDataset, trainClassifier } from 'seedbed';

const data = (await openDataset(process.argv[2] ?? 'photos')).split({ test: 0.3, seed: 0 });

// Watch one training.
const job = trainClassifier({ init: 'fractal-resnet-nano', train: data.train.subset({ shots: 8 }), steps: 200, batchSize: 32, lr: 1e-3 });
for await (const event of job) if (event.type === 'step' && event.step % 50 === 0) console.log(`step ${event.step}: loss ${event.loss.toFixed(2)}`);
const classifier = await job;
await classifier.save('classifier');

// Name a picture.
const { image, className } = await data.test.get(0);
const [answer] = await classifier.predict([image]);
console.log(`a ${className} is called ${answer.className}`);
classifier.dispose();

// Compare starts on the pictures kept aside, paired over seeds.
const { arms, comparisons } = await fewShotStudy({
  pool: data.train,
  test: data.test,
  shots: 8,
  seeds: 5,
  arms: [{ name: 'from scratch' }, { name: 'from the shipped backbone', init: 'fractal-resnet-nano' }],
  train: { model: 'resnet_nano_32', steps: 150, batchSize: 32, lr: 1e-3, labelSmoothing: 0.1, clipNorm: 1, augment: { scale: [0.5, 1] } },
});
for (const { name, accuracy } of arms) console.log(`${name}: ${(100 * accuracy.mean).toFixed(1)} %`);
for (const { differences, interval } of comparisons) console.log(`difference ${(100 * interval.mean).toFixed(1)} points, 95 % interval ${(100 * interval.low).toFixed(1)} to ${(100 * interval.high).toFixed(1)} over ${differences.length} paired runs`);
