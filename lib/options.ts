import { z } from 'zod';
import { ArgumentError } from './errors.js';

/** Any integer a JavaScript number holds exactly, not negative. */
export const seed = z.int().min(0);
export const share = z.number().min(0).max(1);
export const positiveInt = z.int().min(1);
/** One number for each colour channel. */
export const three = z.tuple([z.number(), z.number(), z.number()]).readonly();
export const abortSignal = z.instanceof(AbortSignal);

/**
 * Checks an options object and returns it. Throws `ArgumentError` for the first thing that is wrong: an unknown name
 * (with the nearest known one), a wrong type, a value out of range.
 */
export function checkOptions<S extends z.ZodType>(schema: S, value: unknown, where: string): z.output<S> {
  const result = schema.safeParse(value ?? {}, { reportInput: true });
  if (result.success) return result.data;
  throw new ArgumentError(describe(result.error.issues[0] as z.core.$ZodIssue, schema, where));
}

function describe(issue: z.core.$ZodIssue, schema: z.ZodType, where: string): string {
  const path = issue.path.join('.');
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? '';
    const near = nearest(key, knownKeys(schema, issue.path));
    return `Unknown option '${path === '' ? key : `${path}.${key}`}' for ${where}${near === undefined ? '' : `; did you mean '${near}'?`}`;
  }
  if (issue.code === 'invalid_union') {
    const all = issue.errors.flat(); // what lies deeper comes from the alternative that was meant
    const inner = all.find((e) => e.path.length > 0) ?? all.find((e) => !['invalid_type', 'custom'].includes(e.code));
    if (inner !== undefined) return describe({ ...inner, path: [...issue.path, ...inner.path] }, schema, where);
    if ('options' in issue && issue.discriminator !== undefined) {
      const kinds = issue.options.filter((kind) => kind !== undefined).map(show);
      return `Expected one of ${kinds.join(', ')} for ${path}, received ${show((issue.input as Record<string, unknown>)[issue.discriminator])}`;
    }
  }
  return `Expected ${expectation(issue)} for ${path === '' ? where : path}, received ${show(issue.input)}`;
}

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.expected === 'int' ? 'an integer' : `a value of type ${issue.expected}`;
    case 'too_small':
      return `${quantity(issue.origin)} ${issue.inclusive ? 'of at least' : 'above'} ${String(issue.minimum)}`;
    case 'too_big':
      return `${quantity(issue.origin)} ${issue.inclusive ? 'of at most' : 'below'} ${String(issue.maximum)}`;
    case 'invalid_value':
      return `one of ${issue.values.map((v) => (typeof v === 'string' ? `'${v}'` : String(v))).join(', ')}`;
    default:
      return issue.message;
  }
}

const quantity = (origin: string): string => (origin === 'array' ? 'a list with a length' : origin === 'string' ? 'a text with a length' : 'a number');

/** A value in an error message: short, whatever it is. */
export function show(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 60 ? `${value.slice(0, 60)}…` : value}'`;
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (typeof value === 'object' && value !== null) return value.constructor === Object ? 'an object' : `a ${value.constructor.name}`;
  return String(value);
}

function knownKeys(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let current: z.ZodType | undefined = unwrap(schema);
  for (const key of path) current = current instanceof z.ZodObject ? unwrap((current.shape as Record<string, z.ZodType>)[String(key)]) : undefined;
  return current instanceof z.ZodObject ? Object.keys(current.shape) : [];
}

function unwrap(schema: z.ZodType | undefined): z.ZodType | undefined {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault) return unwrap(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodUnion) return (schema.options as z.ZodType[]).map(unwrap).find((option) => option instanceof z.ZodObject);
  return schema;
}

/** The known name with the fewest edits, if they are few. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const ranked = known.map((candidate) => ({ candidate, distance: editDistance(name.toLowerCase(), candidate.toLowerCase()) })).sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= Math.max(2, name.length / 3) ? best.candidate : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length] ?? 0;
}

/** Drops members that are undefined, for the addon's option readers. */
export function defined(options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** { a: { b: 1 } } as { 'a.b': 1 }; lists stay whole, and members that are undefined are dropped. */
export function flattened(value: Readonly<Record<string, unknown>>, prefix = ''): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(defined(value)).flatMap(([name, inner]): [string, unknown][] =>
      typeof inner === 'object' && inner !== null && !Array.isArray(inner) ? Object.entries(flattened(inner as Record<string, unknown>, `${prefix}${name}.`)) : [[`${prefix}${name}`, inner]],
    ),
  );
}
