import { confusionChart, intervalChart, lineChart, smooth } from './chart.js';
import { growPage } from './grow-page.js';
import { capital, escape, figure, page, picture, section, table } from './html.js';
import { loraPage } from './lora-page.js';
import { count, originLine, percent, points, saying, sureness, timeTable } from './parts.js';
import { SHOWN_COPIES, type DemoRecord, type RunRecord, type TrainRecord } from './record.js';
import type { Comparison } from '../experiment/few-shot.js';

/** A run's record as one self-contained page. */
export function renderReport(record: RunRecord): Promise<string> {
  switch (record.kind) {
    case 'demo':
      return demoPage(record);
    case 'train':
      return trainPage(record);
    case 'lora':
      return loraPage(record);
    case 'grow':
      return growPage(record);
    default:
      return record satisfies never;
  }
}

function sentence(comparison: Comparison): string {
  const gap = `<b>${points(comparison.interval.mean)} points</b> (${sureness(comparison)})`;
  const says = { better: 'That is better than starting from scratch.', worse: 'That is worse than starting from scratch.', undecided: 'The interval includes zero: these runs do not decide it.' };
  return `${escape(capital(comparison.arm))}: ${gap}. ${saying(comparison, says)}`;
}

async function demoPage(record: DemoRecord): Promise<string> {
  const { study, live, shipped, pictures, fineTuning } = record;
  const chance = 1 / study.classes.length;
  const [baseline] = study.arms;
  const bars = study.arms.map(({ name, accuracy, runs }) => ({ name, ...accuracy, runs: runs.map((run) => run.accuracy) }));
  const lead = study.comparisons.map((comparison) => `<p class="lead">${sentence(comparison)}</p>`).join('');
  const liveCurve = await lineChart([{ name: 'loss', points: smooth(live.losses, 10) }], {
    x: 'step',
    y: 'cross-entropy, nats',
    rule: { y: Math.log(live.copies), label: `guessing among ${live.copies} copies` },
  });
  const fineCurves = await lineChart(
    study.arms.map(({ name, runs }) => ({ name, points: smooth(meanCurve(runs.map((run) => run.losses)), 10) })),
    { x: 'step', y: 'training loss, nats' },
  );
  const body = [
    '<h1>Does looking at one fractal help to learn from a few pictures?</h1>',
    `<p class="soft">A small network (${fineTuning.model}, ${count(fineTuning.parameters)} parameters) learns ${study.classes.length} kinds of emoji from ${study.shots} pictures each, drawn by two vendors,
     and is tested on ${study.testPictures} pictures of <em>other</em> things by a third vendor. Started from scratch it gets ${percent(baseline?.accuracy.mean ?? 0)} right; guessing gets ${percent(chance)}.</p>`,
    lead,
    figure(
      await intervalChart(bars, { x: 'right answers on the test pictures, %', rule: { x: chance, label: 'guessing' } }),
      `Large dot: mean over ${study.arms[0]?.runs.length ?? 0} runs; bar: its 95 % interval (Student's t over runs); small dots: single runs. Run k has the same shots in every row. Each network was looked at on the test pictures once, after its last step.`,
    ),
    section(
      'The one fractal',
      `<p>All pre-training pictures come from one formula: two affine maps, drawn at random (sigma-factor ${live.sigmaFactor.toFixed(2)}), whose twelve numbers are each changed by up to ${percent(live.delta)}.
       Every changed copy is a class of its own, and the network learns to tell the copies apart. No photograph, no label, no licence is involved.</p>`,
      figure(picture(pictures.base, 'The system itself'), 'The system itself: where its points gather, in the colours of the maps that led there.'),
      table(['map', 'a', 'b', 'c', 'd', 'e', 'f', 'chance'], live.base.affine.map(([[a, b, e], [c, d, f]], i) => [String(i), ...[a, b, c, d, e, f].map((value) => value.toFixed(3)), percent(live.base.weights[i] ?? 0)])),
      '<p class="soft">A point (x, y) goes to (a x + b y + e, c x + d y + f), by one map after the other, chosen at random.</p>',
      figure(picture(pictures.fractals, 'Perturbed copies of one fractal'), `Perturbed copies of the system, as they are rendered for training: classes 0 to ${Math.min(live.copies, SHOWN_COPIES) - 1}.`),
      `<p><b>Live, just now:</b> ${count(live.samples)} augmented pictures of ${live.copies} copies. This shows how it works; the published result took 61 million.</p>`,
      figure(liveCurve, 'Loss of the live pre-training, averaged over 10 steps.'),
      `<p><b>The shipped backbone</b> learnt once and for longer, to tell ${shipped.kind === 'FractalDB' ? 'many systems apart (FractalDB)' : 'copies of such a system apart, too'}: ${count(shipped.samples)} pictures, in stages that grow harder.</p>`,
      table(
        ['told apart', 'pictures seen', 'final loss', 'loss of guessing'],
        shipped.stages.map((stage) => [count(stage.count), count(stage.samples), stage.finalLoss.toFixed(2), stage.chance.toFixed(2)]),
      ),
    ),
    section(
      'The few pictures',
      figure(picture(pictures.shots, 'The training pictures of the first run'), `What the first run learns from: ${study.shots} pictures of each of ${study.classes.map(escape).join(', ')}, one class a row.`),
      figure(fineCurves, `Training loss after each start, mean over runs (${fineTuning.steps} steps of ${fineTuning.batchSize} pictures).`),
    ),
    section(
      'The answers',
      figure(picture(pictures.answers, 'Test pictures, framed by right or wrong'), `Test pictures of the first run that started from “${escape(study.arms.at(-1)?.name ?? '')}”: green frame right, red frame wrong. One class a row.`),
      figure(await confusionChart(record.confusion, study.classes), 'Which class (rows) was called what (columns), all runs of that start together.'),
      table(
        ['start', ...(baseline?.runs ?? []).map((run) => `run ${run.seed}`), 'mean', '95 % interval'],
        study.arms.map(({ name, runs, accuracy }) => [escape(name), ...runs.map((run) => percent(run.accuracy)), percent(accuracy.mean), `${percent(Math.max(0, accuracy.low))} to ${percent(Math.min(1, accuracy.high))}`]),
      ),
    ),
    section(
      'How to read this',
      `<ul><li>Differences are paired: the same shots, order and augmentation in every row of a run.</li>
       <li>${study.arms[0]?.runs.length ?? 0} runs make wide intervals. For narrower ones: <code>npm run demo -- --seeds 10</code>.</li>
       <li>The published method saw 61 million pictures; the shipped backbone saw ${count(shipped.samples)}. Nothing here speaks about the published result.</li>
       <li>The recipe was fixed on a part of the training vendors' pictures before the test pictures were looked at.</li></ul>`,
    ),
    section('Time', timeTable(record.parts)),
    originLine(record.origin),
  ];
  return page('seedbed demo: one fractal, a few pictures', body.join('\n'));
}

function meanCurve(curves: readonly (readonly number[])[]): number[] {
  const [first = []] = curves;
  return first.map((_, step) => curves.reduce((sum, curve) => sum + (curve[step] ?? 0), 0) / curves.length);
}

async function trainPage(record: TrainRecord): Promise<string> {
  const { data, losses, evaluations, evaluation } = record;
  const lead =
    evaluation === undefined
      ? '<p class="lead">Trained without validation pictures, so nothing is said about how well it does on new ones.</p>'
      : `<p class="lead"><b>${percent(evaluation.accuracy)}</b> of ${evaluation.count} validation pictures named right (95 % interval ${percent(evaluation.interval.low)} to ${percent(evaluation.interval.high)}); mean over classes ${percent(evaluation.balancedAccuracy)}.</p>`;
  const rows = data.classes.map((name, i) => [escape(name), String(data.trainCounts[i] ?? 0), String(data.validationCounts[i] ?? 0), classAccuracy(evaluation?.confusion[i], i)]);
  const body = [
    `<h1>${escape(data.name)}</h1>`,
    `<p class="soft">${count(record.parameters)} parameters, started from ${escape(record.init ?? 'random weights')}${data.shots === undefined ? '' : `, ${data.shots} pictures per class`}.</p>`,
    lead,
    figure(await lineChart([{ name: 'loss', points: smooth(losses, Math.max(1, Math.floor(losses.length / 50))) }], { x: 'step', y: 'training loss, nats' }), 'Training loss, moving average.'),
    evaluations.length > 1
      ? figure(await lineChart([{ name: 'accuracy', points: evaluations.map(({ step, accuracy }) => [step, 100 * accuracy]) }], { x: 'step', y: 'validation accuracy, %' }), 'Accuracy on the validation pictures during training.')
      : '',
    section('Classes', table(['class', 'training pictures', 'validation pictures', 'named right'], rows)),
    ...(evaluation === undefined ? [] : [section('Answers', figure(await confusionChart(evaluation.confusion, data.classes), 'Which class (rows) was called what (columns), per cent of the row.'))]),
    section('Options', `<pre>${escape(JSON.stringify(record.options, null, 2))}</pre>`),
    section('Time', timeTable(record.parts)),
    originLine(record.origin),
  ];
  return page(`seedbed: ${data.name}`, body.join('\n'));
}

function classAccuracy(line: readonly number[] | undefined, i: number): string {
  const total = line?.reduce((a, b) => a + b, 0) ?? 0;
  return total === 0 ? '–' : percent((line?.[i] ?? 0) / total);
}
