import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { errorFromFile, SeedbedError } from './errors.js';
import { writeFileWhole } from './files.js';
import { ifsSchema, type FractalFamily } from './ifs.js';

const FORMAT = 'seedbed-fractal-family-1';

const fileSchema = z.strictObject({
  format: z.literal(FORMAT),
  base: ifsSchema,
  copies: z.array(ifsSchema).min(1),
  /** Decimal texts: JSON numbers do not hold 64 bits. */
  textureSeeds: z.array(z.string().regex(/^\d+$/)),
  baseTries: z.int(),
  imageTries: z.int(),
});

/** Writes a family's systems as JSON: base, copies, seeds. */
export async function saveFamily(path: string, family: FractalFamily): Promise<void> {
  await writeFileWhole(path, `${JSON.stringify({ format: FORMAT, ...family, textureSeeds: family.textureSeeds.map(String) })}\n`);
}

/** Reads what `saveFamily` wrote. Throws `ERR_FILE_FORMAT` for anything else. */
export async function loadFamily(path: string): Promise<FractalFamily> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw errorFromFile(error, 'read', path);
  }
  const fail = (reason: string, cause?: unknown): never => {
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected fractal systems in '${path}': ${reason}`, { cause });
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    fail('it is not JSON', error);
  }
  const parsed = fileSchema.safeParse(json);
  if (!parsed.success) return fail(`${parsed.error.issues[0]?.path.join('.') ?? ''} ${parsed.error.issues[0]?.message ?? ''}`);
  const { format: _, textureSeeds, ...family } = parsed.data;
  if (textureSeeds.length !== family.copies.length) return fail(`${family.copies.length} copies but ${textureSeeds.length} texture seeds`);
  return { ...family, textureSeeds: textureSeeds.map(BigInt) };
}
