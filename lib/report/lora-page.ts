import { everyValue, lineChart, smooth } from './chart.js';
import { escape, figure, page, pictureGrid, section, table } from './html.js';
import { count, originLine, settingsTable, text, timeTable } from './parts.js';
import type { LoraRecord } from './record.js';

/** Of the updates, in one point of the smoothed curve: single losses depend most on the timestep that was drawn. */
const SMOOTHED_SHARE = 0.05;
const FEWEST_SMOOTHED = 5;

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);

/** Training of an adapter as one self-contained page. */
export async function loraPage(record: LoraRecord): Promise<string> {
  const { losses, seconds, settings, layers } = record;
  const width = Math.min(losses.length, Math.max(FEWEST_SMOOTHED, Math.round(losses.length * SMOOTHED_SHARE)));
  const tenth = Math.max(1, Math.floor(losses.length / 10));
  const body = [
    `<h1>${escape(record.name)}</h1>`,
    `<p class="soft">A LoRA adapter of ${escape(record.model)}: rank ${escape(String(settings['rank']))}, ${layers.unet} layers of the UNet and ${layers.textEncoder} of the text encoder, ${count(record.parameters)} numbers.
     ${count(losses.length)} updates on ${count(record.pictures)} picture${record.pictures === 1 ? '' : 's'}, the model in ${escape(record.dtype)}.</p>`,
    `<p class="lead">Mean loss <b>${mean(losses.slice(0, tenth)).toFixed(4)}</b> in the first tenth of the updates, <b>${mean(losses.slice(-tenth)).toFixed(4)}</b> in the last.</p>`,
    figure(
      await lineChart(
        [
          { name: 'each update', points: everyValue(losses), faint: true },
          { name: `mean of ${width} updates`, points: smooth(losses, width) },
        ],
        { x: 'update', y: 'loss' },
      ),
      'Mean square error of the predicted noise (or velocity). It hangs on the timestep drawn far more than on what was learnt, so a flat curve need not mean that nothing was: look at the pictures.',
    ),
    ...samplesSection(record),
    ...(await stepTimes(seconds, losses.length - seconds.length, record.peakMb)),
    section('Files', `<ul>${record.written.map((path) => `<li><code>${escape(path)}</code></li>`).join('')}</ul>`),
    section('Settings', settingsTable(settings)),
    ...(record.warnings.length > 0 ? [section('Warnings', `<ul>${record.warnings.map((text) => `<li>${escape(text)}</li>`).join('')}</ul>`)] : []),
    section('Time', timeTable(record.parts)),
    originLine(record.origin),
  ];
  return page(`seedbed: ${record.name}`, body.join('\n'));
}

function samplesSection({ samples }: LoraRecord): string[] {
  if (samples === undefined || samples.steps.length === 0) return [];
  const { prompts, steps, settings } = samples;
  const grid = pictureGrid(
    steps.map(({ step }) => `update ${step}`),
    prompts.map((prompt, i) => ({ title: prompt, cells: steps.map(({ pictures }) => pictures[i] ?? undefined) })),
  );
  const how = ['steps', 'sampler', 'guidanceScale', 'width', 'height'].flatMap((name) => (settings[name] === undefined ? [] : [`${name} ${text(settings[name])}`]));
  return [section('Pictures on the way', figure(grid, `Made with the adapter as it was then; the same noise in each row. ${escape(how.join(', '))}.`))];
}

/** Seconds per update, of those after the first one, which also makes room and packs weights. */
async function stepTimes(seconds: readonly number[], before: number, peakMb: number): Promise<string[]> {
  if (seconds.length < 2) return [];
  const sorted = seconds.slice(1).sort((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] as number).toFixed(3);
  return [
    section(
      'Time per update',
      table(['first', 'fastest', 'median', '95 % below', 'slowest', 'peak memory of the process'], [[(seconds[0] as number).toFixed(3), at(0), at(0.5), at(0.95), at(1), `${count(peakMb)} MB`]]),
      figure(await lineChart([{ name: 'seconds', points: everyValue(seconds.slice(1), before + 2) }], { x: 'update', y: 'seconds' }), `Seconds of each update after the first${before > 0 ? ` since the run was resumed at update ${before}` : ''}, without pictures and checkpoints.`),
    ),
  ];
}
