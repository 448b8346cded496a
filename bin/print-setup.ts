import type { Job } from '../lib/job.js';
import type { SetupEvent, SetupResult } from '../lib/setup/setup.js';

const TITLES = { download: 'Downloading', unpack: 'Unpacking', build: 'Compiling' } as const;
const STEP = 10; // per cent between two lines where there is no terminal

function amount(task: keyof typeof TITLES, done: number, total: number): string {
  const unit = task === 'download' ? 1e6 : 1;
  const digits = task === 'download' ? 1 : 0;
  return `${(done / unit).toFixed(digits)} of ${(total / unit).toFixed(digits)}${task === 'download' ? ' MB' : ' files'}`;
}

/** Shows a set-up as it goes: one moving line on a terminal, a line every 10 % elsewhere. */
export async function printSetup(job: Job<SetupEvent, SetupResult>, out: NodeJS.WriteStream = process.stdout): Promise<SetupResult> {
  let shown = '';
  let moving = false;
  const endLine = (): void => {
    if (moving) out.write('\n');
    moving = false;
  };
  for await (const event of job) {
    if (event.type === 'message') {
      endLine();
      out.write(`${event.text}\n`);
      continue;
    }
    const percent = Math.floor((100 * event.done) / event.total);
    const mark = `${event.task} ${out.isTTY ? percent : Math.floor(percent / STEP)}`;
    if (mark === shown) continue;
    shown = mark;
    const line = `  ${TITLES[event.task]} ${String(percent).padStart(3)} %  ${amount(event.task, event.done, event.total)}`;
    if (out.isTTY) out.write(`\r${line.padEnd(60)}`);
    else out.write(`${line}\n`);
    moving = out.isTTY;
  }
  endLine();
  return job;
}
