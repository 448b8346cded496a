import { capital, escape, figure, page, pictureGrid, section, table } from './html.js';
import { confusionChart, intervalChart, lineChart } from './chart.js';
import { choiceText, count, originLine, percent, points, saying, settingsTable, sureness, timeTable } from './parts.js';
import type { Choice } from '../methods/data-dream/choose.js';
import type { Gain } from '../methods/data-dream/compare.js';
import type { GrowRecord } from './record.js';

/** A dataset grown from a few pictures, as one self-contained page. */
export async function growPage(record: GrowRecord): Promise<string> {
  const { classes, warnings } = record;
  const anyDropped = classes.some(({ pictures }) => pictures?.dropped);
  const total = (name: 'shots' | 'generated' | 'dropped'): number => classes.reduce((sum, one) => sum + one[name], 0);
  const body = [
    `<h1>${escape(record.name)}: ${count(total('generated') - total('dropped'))} pictures from ${count(total('shots'))}</h1>`,
    `<p class="soft">${escape(record.model)}, adapted to ${classes.length} classes, drew ${count(total('generated'))} pictures; ${total('dropped') === 0 ? 'all were kept' : `${count(total('dropped'))} were dropped`}.</p>`,
    ...(await gainSections(record)),
    section(
      'The pictures',
      pictureGrid(
        ['real, learnt from', 'generated', ...(anyDropped ? ['dropped'] : [])],
        classes.flatMap(({ name, pictures }) => (pictures ? [{ title: name, cells: [pictures.real, pictures.generated, ...(anyDropped ? [pictures.dropped] : [])] }] : [])),
        'wide',
      ),
      '<p class="soft">The first of each, not chosen.</p>',
    ),
    ...(await answersSections(record)),
    ...(warnings.length > 0 ? [section('What the real pictures were like', `<ul>${warnings.map((text) => `<li>${escape(text)}.</li>`).join('')}</ul>`)] : []),
    section(
      'Classes',
      table(['class', 'learnt from', 'generated', 'dropped', 'asked for as'], classes.map((one) => [escape(one.name), count(one.shots), count(one.generated), count(one.dropped), `<span class="left">${escape(one.prompt)}</span>`])),
      ...(record.reasons.length > 0 ? [table(['why pictures were dropped', 'how many'], record.reasons.map(({ reason, count: many }) => [escape(reason), count(many)]))] : []),
    ),
    section('Settings', settingsTable(record.settings)),
    section('Time', timeTable(record.parts)),
    originLine(record.origin),
  ];
  return page(`seedbed: ${record.name}`, body.join('\n'));
}

async function gainSections({ gain, notCompared }: GrowRecord): Promise<string[]> {
  if (gain === undefined) return [`<p class="lead">Whether they help was not measured: ${escape(notCompared ?? '')}.</p>`];
  const { study, gains } = gain;
  const unused = gain.choice?.ways.realWeight === 1;
  const says = { better: 'They helped.', worse: 'They did harm.', undecided: 'The interval includes zero: these runs do not decide whether they helped.' };
  const lead = gains.map(
    (one) => `<p class="lead">${escape(capital(one.arm))} against ${escape(one.baseline)}: <b>${points(one.interval.mean)} points</b> (${sureness(one)}). ${unused ? '' : saying(one, says)}</p>`,
  );
  const bars = study.arms.map(({ name, accuracy, runs }) => ({ name, ...accuracy, runs: runs.map((run) => run.accuracy) }));
  const both = study.arms.at(-1);
  return [
    ...(unused ? ['<p class="lead">None of the generated pictures was used: about held-out halves of the real ones, classifiers answered no better with them. "Real + generated" is without.</p>'] : []),
    ...(lead.length > 0 ? lead : ['<p class="lead">Nothing was trained without them (<code>rivals</code>), so these figures do not say whether they helped.</p>']),
    figure(
      await intervalChart(bars, { x: 'right answers, %', rule: { x: 1 / study.classes.length, label: 'guessing' } }),
      `Classifiers trained in different ways with as many updates each, asked about ${count(study.testPictures)} real pictures that nothing else saw. Dots are runs, bars 95 % intervals of the mean over runs.`,
    ),
    table(
      ['trained on', ...(both?.runs ?? []).map(({ seed }) => `run ${seed}`), 'mean', '95 % interval', 'seconds a run'],
      study.arms.map(({ name, runs, accuracy }) => [
        escape(name), ...runs.map((run) => percent(run.accuracy)), percent(accuracy.mean), runs.length === 1 ? '–' : `${percent(Math.max(0, accuracy.low))} to ${percent(Math.min(1, accuracy.high))}`,
        (runs.reduce((sum, run) => sum + run.seconds, 0) / runs.length).toFixed(1),
      ]),
    ),
    ...(await curveFigure(gain)),
    ...choiceSection(gain.choice),
  ];
}

/** Accuracy over the number of generated pictures. */
async function curveFigure({ study, curve }: Gain): Promise<string[]> {
  if (curve.length === 0) return [];
  const line = curve.flatMap(({ perClass, arm }) => {
    const found = study.arms.find(({ name }) => name === arm);
    return found === undefined ? [] : [[perClass, 100 * found.accuracy.mean] as const];
  });
  return [figure(await lineChart([{ name: 'right answers', points: line }], { x: 'generated pictures per class beside the real ones', y: 'right answers, %' }), 'How many generated pictures are enough: means over runs, as many updates each.')];
}

/** What was chosen on the real pictures, and by what. */
function choiceSection(choice: Choice | undefined): string[] {
  if (choice === undefined) return [];
  const lines = choice.trials.map(({ what, value, accuracy }) => [what === 'augment' ? 'views' : 'weight of the real pictures', escape(value), percent(accuracy)]);
  const why = lines.length === 0 ? 'Too few pictures of a class to hold some out: these are what did best with so few elsewhere.' : 'Tried on the real pictures that are learnt from: classifiers of one half of them were asked about the other. Generated pictures are used where that is better by more than the standard error. The pictures to measure on had no part in it.';
  return [section('How classifiers of both learnt', `<p>Chosen: ${escape(choiceText(choice))}.</p>`, `<p class="soft">${why}</p>`, ...(lines.length > 0 ? [table(['tried', '', 'right answers'], lines)] : []))];
}

function classTable({ real, both }: NonNullable<GrowRecord['confusions']>, classes: readonly string[]): string {
  const right = (lines: readonly (readonly number[])[], i: number): string => {
    const total = (lines[i] ?? []).reduce((a, b) => a + b, 0);
    return total === 0 ? '–' : percent((lines[i]?.[i] ?? 0) / total);
  };
  return table(['class', 'right, from real pictures', 'right, from real and generated'], classes.map((name, i) => [escape(name), right(real, i), right(both, i)]));
}

async function answersSections({ gain, confusions }: GrowRecord): Promise<string[]> {
  if (gain === undefined || confusions === undefined) return [];
  const { classes } = gain.study;
  return [
    section(
      'Answers',
      classTable(confusions, classes),
      figure(await confusionChart(confusions.real, classes), 'Learnt from the real pictures alone: which class (rows) was called what (columns), per cent of the row, all runs together.'),
      figure(await confusionChart(confusions.both, classes), 'Learnt from real and generated pictures.'),
    ),
  ];
}
