// `npm test`: everything from nothing, then lint, type-check and all tests. Names of test files limit the run to them:
//
//   npm test -- fractal job
//
// The last line printed is "N passed, N failed".

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { bootstrap, root, runTsc } from './bootstrap.mjs';

const TAP = join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs');

const program = (path, args, options = {}) => spawnSync(process.execPath, [join(root, 'node_modules', path), ...args], { cwd: root, stdio: 'inherit', ...options });

await bootstrap();
const names = process.argv.slice(2);
let failed = 0;
if (names.length === 0) {
  console.log('Linting');
  if (program('eslint/bin/eslint.js', ['.']).status !== 0) failed++;
}
console.log('Type-checking the tests');
runTsc('-p', 'tsconfig.test.json');

// One thread per test file and as many files as cores: never more threads than cores.
const environment = { ...process.env, SEEDBED_THREADS: process.env.SEEDBED_THREADS ?? '1', OMP_NUM_THREADS: '1', NODE_OPTIONS: '' };
const files = names.map((name) => `build/test-js/test/${name}.test.js`);
program('tap/dist/esm/run.mjs', ['build'], { stdio: ['ignore', 'ignore', 'inherit'] }); // its plugins, for this installation
const tap = spawn(process.execPath, [TAP, `--jobs=${availableParallelism()}`, '--reporter=tap', ...files], { cwd: root, env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
const closed = once(tap, 'close');

// Shows a line per test file, what failed with its details, and what was skipped with its reason.
const totals = { pass: 0, fail: 0 };
let detail = false;
for await (const line of createInterface(tap.stdout)) {
  const result = /^( *)(not )?ok \d+ - (.*)$/.exec(line);
  if (result !== null) {
    const [, indent, not, name] = result;
    detail = not !== undefined;
    if (indent === '' || not !== undefined || name.includes('# SKIP')) console.log(line.replace('build/test-js/', ''));
  } else if (/^# \{/.test(line)) {
    for (const field of Object.keys(totals)) totals[field] = Number(new RegExp(`\\b${field}: (\\d+)`).exec(line)?.[1] ?? 0);
  } else if (detail && /^ *(---|\.\.\.|[^#\s])/.test(line)) console.log(line);
}
const [status] = await closed;
failed += totals.fail;
if (status !== 0 && failed === 0) failed = 1; // a crash that no test reported
console.log(`${totals.pass} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
