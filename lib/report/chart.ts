import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';

const FONT = 'Inter, "Helvetica Neue", Helvetica, Arial, sans-serif';

/** Colours that stay apart for the colour-blind (Okabe & Ito), baseline gray first. */
export const COLOURS = ['#7a7a7a', '#d55e00', '#0072b2', '#009e73', '#cc79a7', '#e69f00'] as const;

const CONFIG = {
  font: FONT,
  background: 'transparent',
  view: { stroke: 'transparent' },
  axis: { labelFontSize: 12, labelLimit: 400, titleFontSize: 12, titleFontWeight: 'normal', gridColor: '#e6e3dc', domainColor: '#b8b3a8', tickColor: '#b8b3a8', labelColor: '#4a463e', titleColor: '#4a463e' },
  legend: { labelFontSize: 12, labelLimit: 400, titleFontSize: 12, orient: 'bottom', title: null, symbolStrokeWidth: 3 },
} as const;

/** A Vega-Lite chart as an SVG element, drawn on the server. */
export async function toSvg(spec: Record<string, unknown>): Promise<string> {
  const { spec: vegaSpec } = compile({ $schema: 'https://vega.github.io/schema/vega-lite/v6.json', config: CONFIG, ...spec } as unknown as TopLevelSpec);
  const view = new View(parse(vegaSpec), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

export interface Line {
  name: string;
  /** [x, y] pairs. */
  points: readonly (readonly [number, number])[];
  /** Drawn thin and pale, behind the others: single values behind their mean. */
  faint?: boolean;
}

/** Lines over a shared x axis, thinned to what can be seen. */
export function lineChart(lines: readonly Line[], axes: { x: string; y: string; rule?: { y: number; label: string } }): Promise<string> {
  const colour = { field: 'name', type: 'nominal', scale: { domain: lines.map((l) => l.name), range: COLOURS.slice(0, lines.length) } };
  const drawn = (some: readonly Line[], mark: object): object => ({
    data: { values: some.flatMap(({ name, points }) => points.map(([x, y]) => ({ name, x, y }))) },
    mark: { type: 'line', ...mark },
    encoding: {
      x: { field: 'x', type: 'quantitative', title: axes.x, axis: { grid: false } },
      y: { field: 'y', type: 'quantitative', title: axes.y, scale: { zero: false, nice: true } },
      color: { ...colour, legend: lines.length > 1 ? {} : null },
    },
  });
  const faint = lines.filter((line) => line.faint);
  const rule = axes.rule === undefined ? [] : [
    { data: { values: [axes.rule] }, mark: { type: 'rule', strokeDash: [4, 4], color: '#8a8478' }, encoding: { y: { field: 'y', type: 'quantitative' } } },
    { data: { values: [axes.rule] }, mark: { type: 'text', align: 'right', dy: -7, color: '#6b665c', fontSize: 12 }, encoding: { y: { field: 'y', type: 'quantitative' }, x: { value: 'width' }, text: { field: 'label' } } },
  ];
  return toSvg({
    width: 640,
    height: 220,
    layer: [
      ...(faint.length > 0 ? [drawn(faint, { strokeWidth: 1, opacity: 0.5 })] : []),
      drawn(lines.filter((line) => !line.faint), { strokeWidth: 2 }),
      ...rule,
    ],
  });
}

export interface Bar {
  name: string;
  mean: number;
  low: number;
  high: number;
  runs: readonly number[];
}

/** A row per arm: its runs as dots, its mean and 95 % interval. Shares are shown in per cent. */
export function intervalChart(bars: readonly Bar[], axes: { x: string; rule?: { x: number; label: string } }): Promise<string> {
  const percent = (value: number): number => 100 * Math.min(1, Math.max(0, value));
  const rows = bars.map(({ name, mean, low, high }) => ({ name, mean: percent(mean), low: percent(low), high: percent(high), text: `${percent(mean).toFixed(1)} %` }));
  const dots = bars.flatMap(({ name, runs }) => runs.map((run) => ({ name, run: percent(run) })));
  const y = { field: 'name', type: 'nominal', title: null, sort: bars.map((bar) => bar.name), axis: { labelFontSize: 13, ticks: false, domain: false, labelPadding: 10 } };
  const colour = { field: 'name', type: 'nominal', scale: { domain: bars.map((b) => b.name), range: COLOURS.slice(0, bars.length) }, legend: null };
  const x = (field: string): object => ({ field, type: 'quantitative', title: axes.x, scale: { domain: [0, 100] } });
  const rule = axes.rule === undefined ? [] : [
    { data: { values: [{ x: percent(axes.rule.x), label: axes.rule.label }] }, mark: { type: 'rule', strokeDash: [4, 4], color: '#8a8478' }, encoding: { x: { field: 'x', type: 'quantitative' } } },
    { data: { values: [{ x: percent(axes.rule.x), label: axes.rule.label }] }, mark: { type: 'text', align: 'left', dx: 5, color: '#6b665c', fontSize: 12 }, encoding: { x: { field: 'x', type: 'quantitative' }, y: { value: -8 }, text: { field: 'label' } } },
  ];
  return toSvg({
    width: 520,
    height: { step: 56 },
    layer: [
      ...rule,
      { data: { values: rows }, mark: { type: 'rule', strokeWidth: 3, strokeCap: 'round', opacity: 0.55 }, encoding: { y, x: x('low'), x2: { field: 'high' }, color: colour } },
      { data: { values: dots }, mark: { type: 'point', filled: true, size: 42, opacity: 0.55, yOffset: 14 }, encoding: { y, x: x('run'), color: colour } },
      { data: { values: rows }, mark: { type: 'point', filled: true, size: 150, opacity: 1 }, encoding: { y, x: x('mean'), color: colour } },
      { data: { values: rows }, mark: { type: 'text', dy: -16, fontWeight: 'bold', fontSize: 13 }, encoding: { y, x: x('mean'), text: { field: 'text' }, color: colour } },
    ],
  });
}

/** All values as points, from `first` on: of many, the lowest and the highest in turn of each of `count` parts, which look the same. */
export function everyValue(values: readonly number[], first = 1, count = 600): [number, number][] {
  const size = Math.max(1, Math.ceil(values.length / count));
  const points: [number, number][] = [];
  for (let begin = 0; begin < values.length; begin += size) {
    const part = values.slice(begin, begin + size);
    const ends = new Set([part.indexOf(Math.min(...part)), part.indexOf(Math.max(...part))]);
    for (const i of [...ends].sort((a, b) => a - b)) points.push([first + begin + i, part[i] as number]);
  }
  return points;
}

/** A moving average over `width` values, at most `count` points: what a loss curve says without its noise. */
export function smooth(values: readonly number[], width: number, count = 200): [number, number][] {
  const points: [number, number][] = [];
  const stride = Math.max(1, Math.floor(values.length / count));
  for (let end = Math.min(width, values.length); end <= values.length; end += stride) {
    const part = values.slice(Math.max(0, end - width), end);
    points.push([end, part.reduce((a, b) => a + b, 0) / part.length]);
  }
  return points;
}

/** Which class (rows) was called what (columns), per cent of the row. */
export function confusionChart(confusion: readonly (readonly number[])[], classes: readonly string[]): Promise<string> {
  const values = confusion.flatMap((line, i) => {
    const total = line.reduce((a, b) => a + b, 0);
    return line.map((n, j) => ({ truth: classes[i], answer: classes[j], share: total === 0 ? 0 : (100 * n) / total }));
  });
  const axis = (field: string, title: string): object => ({ field, type: 'nominal', title, sort: [...classes], axis: { ticks: false, domain: false, labelAngle: field === 'answer' ? -40 : 0 } });
  return toSvg({
    width: { step: 44 },
    height: { step: 26 },
    data: { values },
    encoding: { y: axis('truth', null as unknown as string), x: axis('answer', 'answer') },
    layer: [
      { mark: { type: 'rect', stroke: '#fbfaf7', strokeWidth: 1 }, encoding: { color: { field: 'share', type: 'quantitative', scale: { range: ['#f3f0e9', '#0072b2'], domain: [0, 100] }, legend: null } } },
      {
        transform: [{ filter: 'datum.share >= 0.5' }],
        mark: { type: 'text', fontSize: 11 },
        encoding: { text: { field: 'share', type: 'quantitative', format: '.0f' }, color: { condition: { test: 'datum.share > 55', value: 'white' }, value: '#4a463e' } },
      },
    ],
  });
}
