// docs/seedling.md from the rows of the table. Nothing in it is typed by hand.

const HEAD = ['figure', 'model', 'beside it', 'target', 'reached', 'pictures', 'seeds'];

const cell = (text) => String(text ?? '').replaceAll('|', '\\|');
const line = (cells) => `| ${cells.map(cell).join(' | ')} |`;

function tableOf(rows) {
  const parts = [...new Set(rows.map(({ part }) => part))];
  const lines = parts.flatMap((part) => [
    line([`**${part}**`, ...HEAD.slice(1).map(() => '')]),
    ...rows.filter((row) => row.part === part).map(({ figure, value, beside, besideMeans, target, reached, count, seeds }) =>
      line([figure, value, beside && (besideMeans ? `${beside} (${besideMeans})` : beside), target, reached === undefined ? '' : reached ? 'yes' : 'no', count, seeds])),
  ]);
  return [line(HEAD), `|${'---|'.repeat(HEAD.length)}`, ...lines].join('\n');
}

/** The page. `sheets` are `{ path, title, text }` with paths as seen from the page, `curves` the same without a text. */
export function pageOf({ rows, sheets, curves, model, judge, sampler, command, corpus, quick }) {
  return `# The seedling, measured

Written by \`${command}\`${quick ? ' (a quick run: subsets of everything)' : ''}. Do not edit: run it again.

- Model: ${model}.
- Sampler: ${sampler}. Picture i of a row has the row's first seed + i.
- Judge, which had no part in training: ${judge}. No distance here is an FID: that measure has another network.
- Corpus: ${corpus}.
- In brackets: 95 % intervals over pictures (Wilson; of decibels, bootstrap). "Beside it": the same measure on what is named there.

${tableOf(rows)}

Retrieval: a picture's features are compared with those of every real drawing of the asked style, held-out concepts included; drawings that hardly differ (faces, clock
times, people) count as different. All measures that use the judge take the square roots of its features, each picture's brought to one length (the square root of their
number): of the ways tried this one finds most real Noto drawings from Twemoji's. Generated pictures had no say in that choice.

Obedience is measured on combinations of drawing and variation that training did not hold. Background: the median colour of a border of 2 pixels, by name. Side: where the
centre of mass of what is not background lies. Number: connected parts; only drawings of one part are asked for.

${sheets.map(({ path, title, text }) => `## ${title}\n\n${text}\n\n![${title}](${path})`).join('\n\n')}
${curves.length === 0 ? '' : `
## How the training went

${curves.map(({ path, title }) => `${title}:\n\n![${title}](${path})`).join('\n\n')}
`}`;
}
