import { z } from 'zod';
import { ArgumentError } from './errors.js';

const CLASS = '{class}';
const DOMAIN = '{domain}';

const template = z.string().refine((text) => text.includes(CLASS), `a text with ${CLASS}`);

/** Sentences about pictures of a class. */
export const sentenceFields = {
  /** With {class} and perhaps {domain}. */
  template: z.union([template, z.array(template).min(1)]),
  /** Stands for {domain}, with a space behind it: 'satellite'. Default ''. */
  domain: z.string().default(''),
  /** What classes are called, where not as in the data. Default: the class, underscores as spaces. */
  names: z.record(z.string(), z.string().min(1)).default({}),
};

export interface Sentences {
  template: string | string[];
  domain: string;
  names: Record<string, string>;
}

/** Throws `ERR_INVALID_ARGUMENT` for a name of a class that there is not. */
export function checkNames({ names }: Pick<Sentences, 'names'>, classes: readonly string[]): void {
  const unknown = Object.keys(names).find((name) => !classes.includes(name));
  if (unknown !== undefined) throw new ArgumentError(`Expected names of classes (${classes.slice(0, 5).join(', ')}${classes.length > 5 ? ', ...' : ''}) for names, received '${unknown}'`);
}

/** All sentences about a class. */
export function sentencesAbout(className: string, { template: templates, domain, names }: Sentences): string[] {
  const word = Object.hasOwn(names, className) ? (names[className] as string) : className.replaceAll('_', ' ');
  const kind = domain === '' ? '' : `${domain.trim()} `;
  return [templates].flat().map((text) => text.split(DOMAIN).join(kind).split(CLASS).join(word));
}
