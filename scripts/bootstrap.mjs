// Brings a clone to where everything runs: npm packages, compiled TypeScript, libtorch, native addon. Needs nothing but Node;
// does only what is missing or out of date. Used by `npm run demo`, `npm test` and `npm run bench`.

import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

const LEAST_NODE = [20, 17];

class Stop extends Error {}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1])) return;
  throw new Stop(`Expected Node ${LEAST_NODE.join('.')} or later, found ${process.versions.node}. Get one at https://nodejs.org`);
}

function hashOf(paths) {
  const hash = createHash('sha256').update(process.versions.node.split('.')[0]);
  for (const path of paths) hash.update(path).update(readFileSync(join(root, path)));
  return hash.digest('hex');
}

function filesIn(folder) {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}

/** Runs `work` unless the stamp says it was done for the same inputs. */
function whenChanged(stamp, inputs, work) {
  const fingerprint = hashOf(inputs);
  if (existsSync(join(root, stamp)) && readFileSync(join(root, stamp), 'utf8') === fingerprint) return;
  rmSync(join(root, stamp), { force: true });
  work();
  mkdirSync(dirname(join(root, stamp)), { recursive: true });
  writeFileSync(join(root, stamp), fingerprint);
}

function installPackages() {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  console.log(`Installing up to ${Object.keys(packages).length - 1} npm packages (about 150 MB to download, 300 MB on disk)`);
  const { status } = spawnSync('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: root, stdio: 'inherit' });
  if (status !== 0) throw new Stop('npm could not install the packages; its message stands above. Run again when the cause is mended: npm ci');
}

export function runTsc(...args) {
  const tsc = join(root, 'node_modules', 'typescript', 'lib', 'tsc.js');
  if (spawnSync(process.execPath, [tsc, ...args], { cwd: root, stdio: 'inherit' }).status !== 0) throw new Stop('TypeScript found errors; they stand above');
}

async function setUpNative() {
  const { setup } = await import(pathToFileURL(join(root, 'dist', 'lib', 'setup', 'setup.js')).href);
  const { printSetup } = await import(pathToFileURL(join(root, 'dist', 'bin', 'print-setup.js')).href);
  await printSetup(setup());
}

/** Ends the process with one line when something a person must mend is missing. */
export async function bootstrap() {
  try {
    checkNode();
    whenChanged('node_modules/.seedbed-stamp', ['package-lock.json', 'package.json'], installPackages);
    whenChanged('dist/.stamp', ['tsconfig.json', 'package-lock.json', ...filesIn('lib'), ...filesIn('bin')], () => {
      console.log('Compiling TypeScript');
      rmSync(join(root, 'build', 'tsconfig.tsbuildinfo'), { force: true });
      runTsc('-p', '.');
      chmodSync(join(root, 'dist', 'bin', 'seedbed.js'), 0o755); // for `npx seedbed` in a clone; npm does it where the package is installed
    });
    await setUpNative();
  } catch (error) {
    if (!(error instanceof Stop) && error.code === undefined) throw error;
    console.error(`seedbed: ${error.message}`);
    process.exit(1);
  }
}

/** Runs a program of this repository and takes over its exit code. */
export function runNode(script, args, env = {}) {
  try {
    execFileSync(process.execPath, [join(root, script), ...args], { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
  } catch (error) {
    process.exit(error.status ?? 1);
  }
}
