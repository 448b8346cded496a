// Makes models/emoji: a small labelled set of real emoji art for the demo and the tests.
//
//   node scripts/make-emoji.mjs [FOLDER WITH node_modules OF THE THREE PACKAGES]
//
// Ten classes. Two vendors (Noto, Fluent 3D) to learn from, the third (Twemoji) to test on, and the test shows other
// concepts than the training pictures: both the style and the things are new. Concepts are chosen by sha256 of their code
// points, so nobody picked them. About 1 MB; takes seconds after the download of 150 MB.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import tar from 'tar-stream';
import { buffer } from 'node:stream/consumers';

const PACKAGES = ['emoji-datasource-google@16.0.0', 'emoji-datasource-twitter@16.0.0', '@lobehub/fluent-emoji-3d@1.1.0'];
const PIXELS = 64;
const TRAIN_CONCEPTS = 12; // per class, two pictures each
const TEST_CONCEPTS = 18; // per class, one picture each

const CLASSES = {
  building: /^Travel & Places\/place-(building|religious)$/,
  clothing: /^Objects\/clothing$/,
  dish: /^Food & Drink\/food-(prepared|asian|sweet)$/,
  face: /^Smileys & Emotion\/face-/,
  hand: /^People & Body\/(hand|hands)/,
  mammal: /^Animals & Nature\/animal-mammal$/,
  person: /^People & Body\/person-(role|fantasy)$/,
  produce: /^Food & Drink\/food-(fruit|vegetable)$/,
  sky: /^Travel & Places\/sky & weather$/,
  vehicle: /^Travel & Places\/transport-(ground|air|water)$/,
};

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const out = join(root, 'models', 'emoji');

function install() {
  const folder = mkdtempSync(join(tmpdir(), 'emoji-'));
  execFileSync('npm', ['install', '--prefix', folder, '--no-save', ...PACKAGES], { stdio: 'inherit' });
  return folder;
}

const given = process.argv[2];
const packages = join(given ?? install(), 'node_modules');
const emoji = JSON.parse(readFileSync(join(packages, 'emoji-datasource-google', 'emoji.json'), 'utf8'));

const fluentPath = ({ unified }) => {
  const names = [unified.toLowerCase(), unified.toLowerCase().replace(/-fe0f/g, '')];
  return names.map((name) => join(packages, '@lobehub/fluent-emoji-3d/assets', `${name}.webp`)).find(existsSync);
};
const rank = ({ unified }) => createHash('sha256').update(unified).digest('hex');

function concepts(pattern) {
  return emoji
    .filter((e) => e.unified !== '1F595' && pattern.test(`${e.category}/${e.subcategory}`) && e.has_img_google && e.has_img_twitter && fluentPath(e) !== undefined)
    .sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
}

async function picture(path) {
  return sharp(path).flatten({ background: '#ffffff' }).resize(PIXELS, PIXELS, { kernel: 'lanczos3' }).webp({ lossless: true, effort: 6 }).toBuffer();
}

const slug = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');

async function writeTar(path, samples) {
  const pack = tar.pack();
  const stored = { mtime: new Date(0), uid: 0, gid: 0, mode: 0o644 };
  for (const { key, label, path: source } of samples) {
    pack.entry({ name: `${key}.webp`, ...stored }, await picture(source));
    pack.entry({ name: `${key}.cls`, ...stored }, String(label));
  }
  pack.finalize();
  writeFileSync(path, await buffer(pack));
  console.log(`${path}: ${samples.length} pictures`);
}

const train = [];
const test = [];
for (const [label, [name, pattern]] of Object.entries(CLASSES).entries()) {
  const chosen = concepts(pattern);
  if (chosen.length < TRAIN_CONCEPTS + TEST_CONCEPTS) throw new Error(`Class ${name} has only ${chosen.length} concepts`);
  for (const [i, e] of chosen.slice(0, TRAIN_CONCEPTS + TEST_CONCEPTS).entries()) {
    const key = `${name}/${slug(e.name ?? e.short_name)}`;
    const vendor = (v) => join(packages, `emoji-datasource-${v}`, 'img', v, '64', e.image);
    if (i < TRAIN_CONCEPTS) train.push({ key: `${key}-noto`, label, path: vendor('google') }, { key: `${key}-fluent`, label, path: fluentPath(e) });
    else test.push({ key: `${key}-twemoji`, label, path: vendor('twitter') });
  }
}
await writeTar(join(out, 'train.tar'), train);
await writeTar(join(out, 'test.tar'), test);
writeFileSync(join(out, 'classes.txt'), `${Object.keys(CLASSES).join('\n')}\n`);
if (given === undefined) rmSync(dirname(packages), { recursive: true });
