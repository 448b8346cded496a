// The packages that the corpus is made from, and where each keeps its files.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** Pinned: another version gives other pictures. */
export const PACKAGES = {
  '@iconify-json/noto': '1.2.9',
  '@iconify-json/noto-v1': '1.2.5',
  '@iconify-json/fluent-emoji-flat': '1.2.6',
  '@lobehub/fluent-emoji-3d': '1.1.0',
  'emoji-datasource-twitter': '16.0.0',
  'emojibase-data': '17.0.0',
};
const FASHION = 'dataset-fashion-mnist';

const versionOf = (folder, name) => {
  const path = join(folder, 'node_modules', name, 'package.json');
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).version : undefined;
};

/** Installs what is missing below `work`; returns the folders. */
export function install(work) {
  const packages = join(work, 'packages');
  const fashion = join(work, 'fashion');
  mkdirSync(packages, { recursive: true });
  mkdirSync(fashion, { recursive: true });
  if (Object.entries(PACKAGES).some(([name, version]) => versionOf(packages, name) !== version)) {
    const wanted = Object.entries(PACKAGES).map(([name, version]) => `${name}@${version}`);
    execFileSync('npm', ['install', '--prefix', packages, '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', ...wanted], { stdio: 'inherit' });
  }
  const data = join(fashion, 'usr/share/datasets/fashion-mnist');
  if (!existsSync(data)) {
    execFileSync('apt-get', ['download', FASHION], { cwd: fashion, stdio: 'inherit' });
    const file = readdirSync(fashion).find((name) => name.startsWith(FASHION) && name.endsWith('.deb'));
    execFileSync('dpkg-deb', ['-x', join(fashion, file), fashion]);
  }
  return { packages: join(packages, 'node_modules'), fashion: data };
}

export const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));
