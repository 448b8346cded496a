import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ERROR_CODES, SAMPLER_NAMES } from 'seedbed';
import { native } from '#lib/native.js';
import { packageRoot } from '#lib/setup/find.js';
import { run } from './support.js';

const read = (path: string): string => readFileSync(join(packageRoot, path), 'utf8');
const lines = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map((match) => match[1] ?? '');

/** Names of an enum in the TypeScript sources: z.enum([...]) after a field name, or a const table. */
function unionOf(source: string, field: string): string[] {
  const list = new RegExp(`${field}: z\\.enum\\(\\[([^\\]]*)\\]\\)`).exec(source)?.[1] ?? '';
  return lines(list, /'([^']+)'/g);
}

t.test('the export table and the typed view name the same functions', async (t) => {
  const table = lines(read('native/binding/addon.cpp'), /^ {4}\{"(\w+)", \w+\},$/gm);
  const view = /export interface NativeBinding \{([\s\S]*?)\n\}/.exec(read('lib/native.ts'))?.[1] ?? '';
  const members = [...new Set(lines(view, /^ {2}(\w+)[(<]/gm))]; // overloads
  t.ok(table.length > 20);
  t.same(members.sort(), table.sort());
  t.same(Object.keys(native()).sort(), table.sort());
});

t.test('every native error code is known here', async (t) => {
  const { errorCodes } = native().nameTables();
  t.same(errorCodes, ERROR_CODES.slice(0, errorCodes.length));
});

t.test('enums have the same names on both sides', async (t) => {
  const { enums } = native().nameTables();
  const fractal = read('lib/fractal.ts');
  const training = read('lib/train-options.ts');
  const models = read('lib/model-options.ts');
  const samplers = read('lib/sampler-options.ts');
  const schedules = read('lib/scheduler-config.ts');
  const diffusion = read('lib/diffusion/generate-options.ts');
  const pairs: Record<string, string[]> = {
    perturbation: unionOf(fractal, 'perturbation'),
    probabilities: unionOf(fractal, 'probabilities'),
    draw: unionOf(fractal, 'draw'),
    texture: unionOf(fractal, 'texture'),
    mask: unionOf(fractal, 'mask'),
    renderPrecision: unionOf(fractal, 'precision'),
    start: unionOf(fractal, 'start'),
    aspect: unionOf(fractal, 'aspect'),
    flip: lines(/FLIPS = \[([^\]]*)\]/.exec(read('lib/ifs.ts'))?.[1] ?? '', /'(\w+)'/g),
    storage: unionOf(read('lib/fractal-pictures.ts'), 'storage'),
    contourSet: unionOf(read('lib/ifs.ts'), 'set'),
    tone: lines(read('lib/fractal-picture.ts'), /type: z\.literal\('(\w+)'\)/g),
    colourBy: unionOf(read('lib/fractal-picture.ts'), 'colourBy'),
    renderDevice: unionOf(fractal, 'device'),
    optimizer: lines(training, /type: z\.literal\('(\w+)'\)/g),
    trainPrecision: unionOf(training, 'precision'),
    keep: unionOf(training, 'keep'),
    classifier: lines(models, /type: z\.literal\('(\w+)'\)/g),
    resnetBlock: unionOf(models, 'block'),
    resnetStem: unionOf(models, 'stem'),
    sampler: [...SAMPLER_NAMES],
    sigmas: lines(/sigmas: z\.union\(\[z\.enum\(\[([^\]]*)\]/.exec(samplers)?.[1] ?? '', /'([^']+)'/g),
    ddpmVariance: unionOf(samplers, 'ddpmVariance'),
    dpmSolverType: unionOf(samplers, 'dpmSolverType'),
    unipcSolverType: unionOf(samplers, 'unipcSolverType'),
    spacing: unionOf(samplers, 'spacing'),
    betaSchedule: unionOf(schedules, 'beta_schedule'),
    prediction: unionOf(schedules, 'prediction_type'),
    finalSigma: unionOf(schedules, 'final_sigmas_type'),
    inversion: unionOf(diffusion, 'kind'),
    loraInit: unionOf(read('lib/lora/train.ts'), 'init'),
    activation: unionOf(read('lib/diffusion/clip-config.ts'), 'hidden_act'),
  };
  for (const [name, names] of Object.entries(pairs)) t.same(names, enums[name], name);
  const internal = ['filter', 'augmentOp']; // reached from tests only
  t.same(Object.keys(enums).sort(), [...Object.keys(pairs), ...internal].sort(), 'no table is forgotten');
});

t.test('layers: an arrow never points up', async (t) => {
  const files = (folder: string, ending: RegExp): string[] =>
    readdirSync(join(packageRoot, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && ending.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name).slice(packageRoot.length + 1));
  for (const path of files('native/core', /\.(h|cpp)$/)) t.notMatch(read(path), /#include [<"](napi|node_api)|binding\//, `${path} knows nothing above the core`);
  for (const path of files('native/binding', /\.(h|cpp)$/)) {
    if (!/fields\.cpp$|values\.cpp$|system_binding\.cpp$/.test(path)) t.notMatch(read(path), /\.Get\(/, `${path} reads options through Fields`);
  }
  for (const path of files('lib', /\.ts$/)) t.notMatch(read(path), /from '(\.\.\/)+bin\//, `${path} does not know the command line`);
  const addonUsers = files('lib', /\.ts$/).filter((path) => read(path).includes('createRequire'));
  t.same(addonUsers.sort(), ['lib/native.ts', 'lib/setup/build.ts'], 'only native.ts loads the addon');
});

t.test('the package holds sources and no build output or path of this machine', async (t) => {
  const { stdout } = await run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts', '--loglevel=error'], { cwd: packageRoot, maxBuffer: 2 ** 26 });
  const [{ files, size }] = JSON.parse(stdout) as [{ files: { path: string }[]; size: number }];
  const paths = files.map(({ path }) => path);
  for (const needed of ['dist/lib/index.js', 'dist/bin/seedbed.js', 'native/binding/addon.cpp', 'CMakeLists.txt', 'models/emoji/train.tar', 'LICENSE', 'README.md']) t.ok(paths.includes(needed), needed);
  t.notOk(paths.some((path) => /^(build|test|node_modules|\.)|\.node$|binding\.gyp$|tsbuildinfo/.test(path)), 'nothing else');
  t.ok(size < 30e6, `${(size / 1e6).toFixed(1)} MB packed`);
  for (const path of paths) if (/\.(js|ts|json|cpp|h|txt|md)$/.test(path) && !path.includes('nlohmann')) t.notOk(read(path).includes(packageRoot), `${path} holds no path of this machine`);
});
