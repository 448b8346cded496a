import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { errorFromFile, SeedbedError } from './errors.js';
import { writeFileWhole } from './files.js';
import { contourClassSchema, ifsSchema, type ContourClass, type FractalFamily, type FractalSystems } from './ifs.js';

/** 64 bits as a decimal text: JSON numbers do not hold them. */
const seedText = z.string().regex(/^\d{1,20}$/);

const familySchema = z.strictObject({
  format: z.literal('seedbed-fractal-family-1'),
  base: ifsSchema,
  copies: z.array(ifsSchema).min(1),
  textureSeeds: z.array(seedText),
  baseTries: z.int(),
  imageTries: z.int(),
});

const systemsSchema = z.strictObject({
  format: z.literal('seedbed-fractal-systems-1'),
  systems: z.array(ifsSchema).min(1),
  fills: z.array(z.number()).optional(),
  tries: z.int().optional(),
});

const contoursSchema = z.strictObject({
  format: z.literal('seedbed-contour-classes-1'),
  classes: z.array(contourClassSchema.omit({ seed: true }).extend({ seed: seedText })).min(1),
});

const write = (path: string, content: object): Promise<void> => writeFileWhole(path, `${JSON.stringify(content)}\n`);

function refuse(path: string, what: string, reason: string, cause?: unknown): never {
  throw new SeedbedError('ERR_FILE_FORMAT', `Expected ${what} in '${path}': ${reason}`, { cause });
}

async function read<Schema extends z.ZodType>(path: string, schema: Schema, what: string): Promise<z.output<Schema>> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw errorFromFile(error, 'read', path);
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    refuse(path, what, 'it is not JSON', error);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) refuse(path, what, `${parsed.error.issues[0]?.path.join('.') ?? ''} ${parsed.error.issues[0]?.message ?? ''}`);
  return parsed.data;
}

/** Writes a family's systems as JSON: base, copies, seeds. */
export async function saveFamily(path: string, family: FractalFamily): Promise<void> {
  await write(path, { format: familySchema.shape.format.value, ...family, textureSeeds: family.textureSeeds.map(String) });
}

/** Reads what `saveFamily` wrote. Throws `ERR_FILE_FORMAT` for anything else. */
export async function loadFamily(path: string): Promise<FractalFamily> {
  const { format: _, textureSeeds, ...family } = await read(path, familySchema, 'fractal systems');
  if (textureSeeds.length !== family.copies.length) refuse(path, 'fractal systems', `${family.copies.length} copies but ${textureSeeds.length} texture seeds`);
  return { ...family, textureSeeds: textureSeeds.map(BigInt) };
}

/** Writes systems, as a search found them, as JSON. */
export async function saveSystems(path: string, systems: FractalSystems): Promise<void> {
  await write(path, { format: systemsSchema.shape.format.value, ...systems });
}

/** Reads what `saveSystems` wrote. Throws `ERR_FILE_FORMAT` for anything else. */
export async function loadSystems(path: string): Promise<FractalSystems> {
  const { format: _, ...found } = await read(path, systemsSchema, 'systems of a search');
  if (found.fills !== undefined && found.fills.length !== found.systems.length) refuse(path, 'systems of a search', `${found.systems.length} systems but ${found.fills.length} fills`);
  return found;
}

/** Writes categories of contours as JSON. */
export async function saveContours(path: string, classes: readonly ContourClass[]): Promise<void> {
  await write(path, { format: contoursSchema.shape.format.value, classes: classes.map((one) => ({ ...one, seed: String(one.seed) })) });
}

/** Reads what `saveContours` wrote. Throws `ERR_FILE_FORMAT` for anything else. */
export async function loadContours(path: string): Promise<ContourClass[]> {
  const { classes } = await read(path, contoursSchema, 'categories of contours');
  return classes.map((one) => ({ ...one, seed: BigInt(one.seed) }));
}
