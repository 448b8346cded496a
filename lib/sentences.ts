import { z } from 'zod';
import { ArgumentError } from './errors.js';

const CLASS = '{class}';
const DOMAIN = '{domain}';

const template = z.string().refine((text) => text.includes(CLASS), `a text with ${CLASS}`);

const word = z.string().min(1);

/** Sentences about pictures of a class. */
export const sentenceFields = {
  /** With {class} and perhaps {domain}. */
  template: z.union([template, z.array(template).min(1)]),
  /** Stands for {domain}, with a space behind it: 'satellite'. Default ''. */
  domain: z.string().default(''),
  /** What classes are called, where not as in the data; of several, things of a kind say, each in turn. Default: the class, underscores as spaces. */
  names: z.record(z.string(), z.union([word, z.array(word).min(1)])).default({}),
};

export interface Sentences {
  template: string | string[];
  domain: string;
  names: Record<string, string | string[]>;
}

/** Throws `ERR_INVALID_ARGUMENT` for a name of a class that there is not. */
export function checkNames({ names }: Pick<Sentences, 'names'>, classes: readonly string[], option = 'names'): void {
  const unknown = Object.keys(names).find((name) => !classes.includes(name));
  if (unknown !== undefined) throw new ArgumentError(`Expected names of classes (${classes.slice(0, 5).join(', ')}${classes.length > 5 ? ', ...' : ''}) for ${option}, received '${unknown}'`);
}

/** All sentences about a class: each template with each of its names, both changing from one to the next. */
export function sentencesAbout(className: string, { template: templates, domain, names }: Sentences): string[] {
  const words = Object.hasOwn(names, className) ? [names[className] as string | string[]].flat() : [className.replaceAll('_', ' ')];
  const kind = domain === '' ? '' : `${domain.trim()} `;
  const texts = [templates].flat();
  return texts.flatMap((_, turn) => words.map((name, i) => (texts[(i + turn) % texts.length] as string).split(DOMAIN).join(kind).split(CLASS).join(name)));
}
