import type { z } from 'zod';
import { SeedbedError } from '../errors.js';
import { parseFile } from './json-file.js';

/** What we know about the fields of one kind of config.json. */
export interface Fields<S extends z.ZodObject> {
  /** Name of the reference's class, as in `_class_name` or `architectures`. */
  readonly classes: readonly string[];
  /** Fields that are read; a default is the reference's own. */
  readonly used: S;
  /** Fields that are supported with these values only. */
  readonly neutral: Readonly<Record<string, readonly unknown[]>>;
  /** Fields that never change what the net computes. */
  readonly harmless: readonly string[];
}

/** Reads the used fields. A field that changes the result and is not supported throws `ERR_FILE_FORMAT`, and so does a name we do not know. */
export function readFields<S extends z.ZodObject>(value: unknown, fields: Fields<S>, path: string): z.output<S> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new SeedbedError('ERR_FILE_FORMAT', `Expected an object in '${path}', found ${JSON.stringify(value).slice(0, 60)}`);
  const json = value as Record<string, unknown>;
  const said = [json['_class_name'], json['architectures']].flat().filter((name) => typeof name === 'string');
  const other = said.find((name) => !fields.classes.includes(name));
  if (other !== undefined) throw new SeedbedError('ERR_FILE_FORMAT', `Expected the settings of a ${fields.classes[0]} in '${path}', found those of a ${other}`);
  const used: Record<string, unknown> = {};
  for (const [name, content] of Object.entries(json)) {
    if (Object.hasOwn(fields.used.shape, name)) used[name] = content;
    else checkOther(name, content, fields, path);
  }
  return parseFile(fields.used, used, path);
}

function checkOther(name: string, content: unknown, { neutral, harmless }: Fields<z.ZodObject>, path: string): void {
  if (name.startsWith('_') || harmless.includes(name)) return;
  const shown = JSON.stringify(content).slice(0, 60);
  const allowed = neutral[name];
  if (allowed === undefined) throw new SeedbedError('ERR_FILE_FORMAT', `Unknown field '${name}' (${shown}) in '${path}': it may change the result and is not supported`);
  if (allowed.some((value) => JSON.stringify(value) === JSON.stringify(content))) return;
  throw new SeedbedError('ERR_FILE_FORMAT', `Field '${name}' is ${shown} in '${path}': that would change the result and is not supported (only ${allowed.map((value) => JSON.stringify(value)).join(' or ')})`);
}

/** Throws `ERR_FILE_FORMAT` when fields do not go together. */
export function expectFit(fits: boolean, path: string, what: string): void {
  if (!fits) throw new SeedbedError('ERR_FILE_FORMAT', `Wrong settings in '${path}': ${what}`);
}
