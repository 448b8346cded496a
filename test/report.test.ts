import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { chromium } from 'playwright-core';
import t from 'tap';
import { readRecord, type DemoRecord, type GrowRecord, type LoraRecord, type TrainRecord } from '#lib/report/record.js';
import { verdict } from '#lib/report/parts.js';
import { renderReport } from '#lib/report/report.js';
import { everyValue, smooth } from '#lib/report/chart.js';
import { escape } from '#lib/report/html.js';
import { writeFileWhole } from '#lib/files.js';
import { metrics } from 'seedbed';
import { thrown } from './support.js';

const PIXEL = 'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
const origin = { seedbed: '0.0.0', created: '2026-01-02T03:04:05.000Z', cpu: 'a <processor>', threads: 2 };
const run = (seed: number, accuracy: number): DemoRecord['study']['arms'][0]['runs'][0] => ({ seed, accuracy, losses: [2, 1.5, 1], predictions: [0, 1], seconds: 1 });

const demo: DemoRecord = {
  kind: 'demo',
  origin,
  study: {
    shots: 2,
    testPictures: 4,
    classes: ['cat & dog', 'bird'],
    arms: [
      { name: 'from scratch', runs: [run(0, 0.5), run(1, 0.25)], accuracy: metrics.meanInterval([0.5, 0.25]) },
      { name: 'from the shipped backbone', runs: [run(0, 0.75), run(1, 0.5)], accuracy: metrics.meanInterval([0.75, 0.5]) },
    ],
    comparisons: [{ arm: 'from the shipped backbone', baseline: 'from scratch', differences: [0.25, 0.25], interval: metrics.meanInterval([0.25, 0.25]) }],
  },
  fineTuning: { steps: 3, batchSize: 2, model: 'm', parameters: 1234 },
  live: { samples: 100, copies: 4, losses: [1.4, 1.3, 1.2], base: { affine: [[[0.5, -0.25, 1], [0.125, 0.75, -1]], [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]], weights: [0.75, 0.25] }, sigmaFactor: 3.5, delta: 0.1 },
  shipped: { kind: 'FractalDB', samples: 500, stages: [{ count: 4, samples: 500, finalLoss: 1, chance: 1.39 }] },
  pictures: { base: PIXEL, fractals: PIXEL, shots: PIXEL, answers: PIXEL },
  confusion: [[1, 1], [0, 2]],
  parts: [{ name: 'all of it', seconds: 1.25 }],
};

const train: TrainRecord = {
  kind: 'train',
  origin,
  data: { name: 'photos', classes: ['a', 'b'], trainCounts: [3, 4], validationCounts: [1, 1], shots: 3 },
  options: { steps: 10 },
  init: undefined,
  parameters: 10,
  losses: [1, 0.5],
  evaluations: [{ type: 'evaluation', step: 5, loss: 1, accuracy: 0.5 }, { type: 'evaluation', step: 10, loss: 0.5, accuracy: 1 }],
  evaluation: { accuracy: 1, interval: { low: 0.3, high: 1 }, loss: 0.5, balancedAccuracy: 1, confusion: [[1, 0], [0, 1]], predictions: [0, 1], count: 2 },
  parts: [],
};

const lora: LoraRecord = {
  kind: 'lora',
  origin,
  name: 'dog & cat',
  model: 'org/name',
  dtype: 'float32',
  pictures: 5,
  settings: { rank: 4, unetTargets: ['to_q', 'to_k'], prompts: ['a <s1> dog'] },
  layers: { unet: 128, textEncoder: 48 },
  parameters: 1234,
  losses: Array.from({ length: 40 }, (_, i) => 1 - i / 100),
  seconds: Array.from({ length: 30 }, (_, i) => (i === 0 ? 2 : 0.3)),
  peakMb: 5678,
  samples: { prompts: ['a <s1> dog', 'a cat'], steps: [{ step: 20, pictures: [PIXEL, PIXEL] }, { step: 40, pictures: [PIXEL, null] }], settings: { steps: 20, sampler: 'ddim' } },
  written: ['out/dog.safetensors'],
  warnings: [],
  parts: [{ name: 'training', seconds: 3 }],
};

const arms = [
  { name: 'real', runs: [run(0, 0.5), run(1, 0.25)], accuracy: metrics.meanInterval([0.5, 0.25]) },
  { name: 'real + generated', runs: [run(0, 0.75), run(1, 0.5)], accuracy: metrics.meanInterval([0.75, 0.5]) },
];

const grow: GrowRecord = {
  kind: 'grow',
  origin,
  name: 'cats & dogs',
  model: 'seedling',
  settings: { mode: 'class', 'adapt.rank': 16, template: 'a photo of a {class}' },
  warnings: ["1 pictures look like another of their class ('<b>.png')"],
  classes: [
    { name: 'cat & dog', prompt: 'a photo of a cat & dog', shots: 3, generated: 8, dropped: 2, pictures: { real: PIXEL, generated: PIXEL, dropped: PIXEL } },
    { name: 'bird', prompt: 'a photo of a bird', shots: 3, generated: 8, dropped: 0, pictures: { real: PIXEL, generated: PIXEL } },
    { name: 'one too many to show', prompt: 'a photo', shots: 1, generated: 8, dropped: 0, pictures: undefined },
  ],
  reasons: [{ reason: 'they look alike', count: 2 }],
  gain: { study: { ...demo.study, shots: undefined, arms, comparisons: [] }, gains: [{ arm: 'real + generated', baseline: 'real', differences: [0.25, 0.25], interval: metrics.meanInterval([0.25, 0.25]) }], curve: [{ perClass: 0, arm: 'real' }, { perClass: 8, arm: 'real + generated' }] },
  notCompared: undefined,
  confusions: { real: [[1, 1], [0, 2]], both: [[2, 0], [0, 2]] },
  parts: [{ name: 'adapt', seconds: 3 }],
};

t.test('a grown dataset: what it gained, or why that is not known', async (t) => {
  const page = await renderReport(grow);
  t.match(page, /cats &#38; dogs: 22 pictures from 7/);
  t.match(page, /Real \+ generated against real: <b>\+25\.0 points<\/b> \(95 % interval \+25\.0 to \+25\.0, 2 paired runs\)\. They helped\./);
  t.match(page, /2 were dropped/);
  t.match(page, /&#60;b&#62;\.png/);
  t.notMatch(page, /<b>\.png/);
  const one = { ...grow, gain: { ...(grow.gain as NonNullable<GrowRecord['gain']>), gains: [{ arm: 'a', baseline: 'b', differences: [0.1], interval: metrics.meanInterval([0.1]) }] } };
  for (const record of [one, JSON.parse(JSON.stringify(one)) as GrowRecord]) t.match(await renderReport(record), /\+10\.0 points<\/b> \(one run: it decides nothing\)/, 'one run has no interval, also when read again');
  const choice = { ways: { augment: {}, realWeight: 0.8 }, asked: ['augment' as const, 'realWeight' as const], trials: [{ what: 'augment' as const, value: 'plain', accuracy: 0.625 }, { what: 'realWeight' as const, value: '0.8', accuracy: 0.75 }] };
  const chosen = (more: object) => renderReport({ ...grow, gain: { ...(grow.gain as NonNullable<GrowRecord['gain']>), choice: { ...choice, ...more } } });
  for (const text of [/<td>views<\/td><td>plain<\/td><td>62\.5 %<\/td>/, /Chosen: varied views, weight 0\.8 of the real ones\./, /They helped/]) t.match(await chosen({}), text);
  t.match(await chosen({ asked: ['realWeight'] }), /Chosen: weight 0\.8 of the real ones\./);
  const without = await chosen({ ways: { augment: {}, realWeight: 1 } });
  t.match(without, /None of the generated pictures was used/);
  t.notMatch(without, /They helped/);
  t.match(await chosen({ trials: [] }), /Too few pictures of a class/);
  const silent = await renderReport({ ...grow, gain: undefined, confusions: undefined, notCompared: 'no picture was held out' });
  t.match(silent, /Whether they help was not measured: no picture was held out/);
});

t.test('a page says what the record says', async (t) => {
  const html = await renderReport(demo);
  for (const text of ['<td>0.500</td><td>-0.250</td><td>0.125</td><td>0.750</td><td>1.000</td><td>-1.000</td><td>75.0 %</td>', '+25.0 points', '95 % interval +25.0 to +25.0, 2 paired runs', 'better than starting from scratch', 'cat &#38; dog', 'a &#60;processor&#62;', '1,234 parameters', '2026-01-02 03:04', '37.5 %']) t.ok(html.includes(text), text);
  t.equal(html.match(/<svg/g)?.length, 4, 'four charts');
  t.notMatch(html, /<script|(src|href)="(?!data:)/, 'nothing from outside, nothing that runs');
  const page = await renderReport(train);
  for (const text of ['started from random weights, 3 pictures per class', '100.0 %</b> of 2 validation pictures']) t.ok(page.includes(text), text);
  t.match(await renderReport({ ...train, evaluation: undefined, evaluations: [] }), /without validation pictures, so nothing is said/);
});

t.test('the page of an adapter: curve, pictures, times, settings', async (t) => {
  const html = await renderReport(lora);
  for (const text of ['<h1>dog &#38; cat</h1>', 'rank 4, 128 layers of the UNet and 48 of the text encoder, 1,234 numbers', '40 updates on 5 pictures', '<b>0.9850</b> in the first tenth', '<b>0.6250</b> in the last', 'mean of 5 updates', 'update 20', 'a &#60;s1&#62; dog', 'since the run was resumed at update 10', '>0.300<', '5,678 MB', 'to_q, to_k', 'out/dog.safetensors', 'Made with the adapter as it was then; the same noise in each row. steps 20, sampler ddim'])
    t.ok(html.includes(text), text);
  t.equal(html.match(/<svg/g)?.length, 2);
  t.equal(html.match(/<img/g)?.length, 3, 'a picture that is missing leaves its cell empty');
  const bare = await renderReport({ ...lora, samples: undefined, seconds: [] });
  t.notMatch(bare, /Pictures on the way|Time per update/);
});

t.test('verdicts follow the interval', async (t) => {
  const comparison = (mean: number, low: number, high: number): Parameters<typeof verdict>[0] => ({ arm: 'x', baseline: 'y', differences: [], interval: { mean, low, high } });
  t.equal(verdict(comparison(0.1, 0.02, 0.2)), 'better');
  t.equal(verdict(comparison(-0.1, -0.2, -0.02)), 'worse');
  t.equal(verdict(comparison(0.1, -0.02, 0.2)), 'undecided');
  t.equal(verdict(comparison(0.1, -Infinity, Infinity)), 'undecided', 'one run decides nothing');
});

t.test('intervals and averages', async (t) => {
  // Student's t for 2 degrees of freedom is 4.303: mean 2, deviation 1, half width 4.303 / sqrt(3).
  const { mean, low, high } = metrics.meanInterval([1, 2, 3]);
  t.equal(mean, 2);
  t.ok(Math.abs(high - low - (2 * 4.303) / Math.sqrt(3)) < 1e-3);
  // Wilson (1927) for 8 of 10: 0.4902 to 0.9433.
  const wilson = metrics.wilson(8, 10);
  t.ok(Math.abs(wilson.low - 0.4902) < 1e-4 && Math.abs(wilson.high - 0.9433) < 1e-4);
  t.same(metrics.wilson(0, 0), { low: 0, high: 1 });
  t.same(smooth([1, 3, 5], 2), [[2, 2], [3, 4]]);
  t.same(everyValue([4, 2, 3], 10), [[10, 4], [11, 2], [12, 3]], 'few values stay');
  t.same(everyValue([1, 9, 2, 8, 3, 0], 1, 2), [[1, 1], [2, 9], [4, 8], [6, 0]], 'of many, lowest and highest of each part');
  t.equal(escape(`<a b="c" d='e'>&`), '&#60;a b=&#34;c&#34; d=&#39;e&#39;&#62;&#38;');
});

t.test('records that are none', async (t) => {
  const path = join(t.testdir(), 'record.json');
  for (const [content, message] of [
    ['{', /Expected the JSON record of a run/],
    ['{"kind": "other"}', /kind demo, train, lora, grow.*found kind other/],
    ['null', /found kind undefined/],
  ] as const) {
    await writeFileWhole(path, content);
    const error = await thrown(() => readRecord(path));
    t.equal(error.code, 'ERR_FILE_FORMAT');
    t.match(error.message, message);
  }
});

const QUESTION = 'Does looking at one fractal help to learn from a few pictures?';
const GROWN = 'cats & dogs: 22 pictures from 7';
const browser = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);

t.test('a browser shows the page whole, on a wide and on a narrow screen', { skip: browser === undefined && 'no Chromium in /usr/bin' }, async (t) => {
  const path = join(t.testdir(), 'report.html');
  const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
  const chrome = await chromium.launch({ executablePath: browser as string, args: flags });
  try {
    for (const [record, width, charts, title] of [[demo, 1200, 4, QUESTION], [demo, 390, 4, QUESTION], [lora, 1200, 2, 'dog & cat'], [lora, 390, 2, 'dog & cat'], [grow, 1200, 4, GROWN], [grow, 390, 4, GROWN]] as const) {
      await writeFileWhole(path, await renderReport(record));
      const page = await chrome.newPage({ viewport: { width, height: 800 } });
      const complaints: string[] = [];
      const requests: string[] = [];
      page.on('console', (message) => complaints.push(message.text()));
      page.on('pageerror', (error) => complaints.push(error.message));
      page.on('request', (request) => requests.push(request.url()));
      await page.goto(pathToFileURL(path).href);
      t.same(complaints, [], `${width}: no complaints`);
      t.same(requests.filter((url) => !/^(file|data):/.test(url)), [], `${width}: nothing is fetched`);
      t.equal(await page.locator('svg').count(), charts);
      t.equal(await page.locator('h1').innerText(), title);
      const overflow = await page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');
      const wide = await page.evaluate("[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth).map((e) => `${e.tagName} ${e.className}: ${e.textContent.slice(0, 40)}`).join('; ')");
      t.equal(overflow, 0, `${width}: the page does not scroll sideways${overflow === 0 ? '' : ` (${String(wide)})`}`);
      await page.close();
    }
  } finally {
    await chrome.close();
  }
});
