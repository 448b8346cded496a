// Many pictures from a few of each class, and whether they help: node examples/grow.mjs photos/ grown/
import { dataDream } from 'seedbed';

const [data, out] = process.argv.slice(2);
const job = dataDream({ data, out, generate: { perClass: 50, steps: 25 }, compare: { sweep: [10, 25] } });
for await (const event of job) if (event.type === 'stage') console.log(`${event.stage}: ${event.detail}`);

const { classes, gain, notCompared, preflight } = await job;
for (const warning of preflight.warnings) console.log(`note: ${warning}`);
for (const { name, generated, dropped } of classes) console.log(`${name}: ${generated - dropped.twin - dropped.unsure} of ${generated} kept`);
if (gain === undefined) console.log(`not compared: ${notCompared}`);
else for (const { baseline, interval } of gain.gains) console.log(`against ${baseline}: ${(100 * interval.mean).toFixed(1)} points (${(100 * interval.low).toFixed(1)} to ${(100 * interval.high).toFixed(1)})`);
