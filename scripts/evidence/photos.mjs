// Photographs of two sets in the form of WebDataset, where they are: a part to draw shots from, and a part to test on.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openDataset } from '../../dist/lib/index.js';

/** Titles, and words for the classes, whose names are numbers. */
export const PHOTOS = {
  clothing: { title: 'clothing-dataset-small (a smaller copy), its validation part', classes: ['dress', 'hat', 'long sleeve shirt', 'coat', 'pair of trousers', 'shirt', 'pair of shoes', 'pair of shorts', 'skirt', 't-shirt'] },
  cifar10: { title: 'CIFAR-10 (JPEG copy, subset), its validation part', classes: ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'] },
};

const partOf = (folder, name, part) => join(folder, `${name}-${part}.tar`);

/** The file that is not there, if one is not. */
export const missingOf = (folder, name) => ['train', 'val'].map((part) => partOf(folder, name, part)).find((path) => !existsSync(path));

/** `{ pool, test }`; of the test part the first so many of each class. */
export async function openPhotos(folder, name, mostTest) {
  const { classes } = PHOTOS[name];
  const [pool, test] = await Promise.all(['train', 'val'].map((part) => openDataset(partOf(folder, name, part), { classes })));
  return { pool, test: test.firstOfEach(mostTest) };
}
