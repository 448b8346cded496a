// How the training went, from its log: charts for the page.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { lineChart } from '../../../dist/lib/report/chart.js';

/** Lines of a log of scripts/train-seedling.mjs; of a step that was computed twice, the last. */
function readLog(path) {
  const lines = readFileSync(path, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  const latest = new Map(lines.map((line) => [`${line.stage}/${line.type ?? 'step'}/${line.step}`, line]));
  return [...latest.values()].sort((a, b) => a.step - b.step);
}

/** Writes the charts below `folder` and returns `{ path, title }` of each; of stages that the log does not hold, those that an earlier one left there. */
export async function writeCurves(log, folder) {
  const lines = readLog(log);
  const of = (stage, type) => lines.filter((line) => line.stage === stage && (line.type ?? 'step') === type);
  const points = (list, value) => list.map((line) => [line.step, value(line)]);
  const checks = of('unet', 'check');
  const towers = of('towers', 'evaluation');
  const charts = {
    'seedling-vae': { title: 'Autoencoder: PSNR on held-out concepts', x: 'update', y: 'decibels', lines: [{ name: 'PSNR', points: points(of('vae', 'evaluation'), ({ psnr }) => psnr) }] },
    'seedling-clip': { title: 'Dual encoder, on views that are never twice the same: a Twemoji finds its words among all, share', x: 'update', y: 'per cent', lines: ['top1', 'top5'].map((name) => ({ name: `top-${name.at(-1)}`, points: points(towers, (line) => 100 * line[name]) })) },
    'seedling-unet': {
      title: 'UNet, last cycle: error of the picture where there is almost only noise, with the right caption and with another picture’s', x: 'update', y: 'mean square error of x0',
      lines: ['right', 'shuffled'].map((name) => ({ name: `${name} caption`, points: points(checks, (line) => line[name]) })),
    },
    'seedling-loss': { title: 'UNet, last cycle: training loss, means of 20 updates', x: 'update', y: 'weighted loss', lines: [{ name: 'loss', points: points(of('unet', 'step').slice(2), ({ loss }) => loss) }] },
  };
  const written = [];
  for (const [name, { title, x, y, lines: drawn }] of Object.entries(charts)) {
    const file = join(folder, `${name}.svg`);
    if (drawn.every(({ points: own }) => own.length > 1)) writeFileSync(file, await lineChart(drawn, { x, y }));
    if (existsSync(file)) written.push({ path: `images/${name}.svg`, title });
  }
  return written;
}
