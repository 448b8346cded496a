import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, extname, join } from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import type { Diffusion } from '../../lib/diffusion/diffusion.js';
import type { GenerateOptions } from '../../lib/diffusion/generate-options.js';
import { isHubName } from '../../lib/diffusion/hub.js';
import { shippedDiffusion, type LoadDiffusionOptions } from '../../lib/diffusion/load.js';
import { lookForPictures, makePictureFiles, planPictureFiles, type PictureCall, type PictureFile } from '../../lib/diffusion/picture-files.js';
import { readGenerationSettings, type GenerationSettings } from '../../lib/diffusion/png-metadata.js';
import { optionsFromSettings } from '../../lib/diffusion/settings-options.js';
import { ArgumentError, CancelledError, errorFromFile, SeedbedError } from '../../lib/errors.js';
import { decodeImage, type Image } from '../../lib/image.js';
import { defined } from '../../lib/options.js';
import { SAMPLER_NAMES } from '../../lib/sampler-options.js';
import { example, integer, number, outputOf } from '../arguments.js';
import { addLoras, loadModel, loraArgument, type LoraArgument } from '../model.js';
import { interruptible, runTasks, withBar, type Report } from '../tasks.js';

/** Models for pictures of up to so many pixels a side are quick, and their pictures small to look at. */
const SMALL_SIDE = 128;
const SMALL_BATCH = 8;
const SMALL_ENLARGED = 4;
const LONGEST_NAME = 60;

interface Options {
  out?: string;
  model?: string;
  from?: string;
  count: number;
  batchSize?: number;
  enlarge?: number;
  steps?: number;
  sampler?: GenerateOptions['sampler'];
  guidance?: number;
  negative?: string;
  seed?: number;
  width?: number;
  height?: number;
  image?: string;
  strength?: number;
  mask?: string;
  lora?: LoraArgument[];
  revision?: string;
  variant?: string;
  tokenizer?: string;
  dtype?: LoadDiffusionOptions['dtype'];
  device?: LoadDiffusionOptions['device'];
  threads?: number;
  overwrite?: boolean;
  dryRun?: boolean;
}

interface Run {
  options: Options & { out: string; batchSize: number; enlarge: number };
  /** Of all pictures, without prompt and seed. */
  call: PictureCall;
  signal: AbortSignal;
  sd: Diffusion | undefined;
  pictures: PictureFile[];
  warnings: Set<string>;
}

export function addGenerate(program: Command): void {
  const command = program
    .command('generate')
    .description('make pictures of prompts, with the small model that comes with the package or with a Stable Diffusion model')
    .argument('[prompt...]', 'what the pictures show, each prompt in quotes')
    .option('--out <place>', 'a folder, where pictures are named by their seeds, or for one picture a file that ends in .png; default: a folder named by the prompt')
    .option('--model <model>', "a diffusers folder, a .safetensors file, a hub name, 'organisation/name', or 'seedling'; default: seedling")
    .option('--from <picture>', 'take the settings in a PNG file; options given here win')
    .option('--count <n>', 'pictures per prompt; picture i has the seed + i', integer, 1)
    .option('--batch-size <n>', `pictures computed at once; they are written together; default: 1, ${SMALL_BATCH} of models for up to ${SMALL_SIDE} pixels`, integer)
    .option('--enlarge <times>', `write each picture as many times larger too, as name@4x.png; default: ${SMALL_ENLARGED} for models for up to ${SMALL_SIDE} pixels, else 1`, integer)
    .option('--steps <n>', "default: the model's own, else 50, lcm 4", integer)
    .option('--sampler <sampler>', `${SAMPLER_NAMES.join(', ')}, or JSON with a type and options; default: the model's own`, sampler)
    .option('--guidance <scale>', "how closely to follow the prompt, 1: not at all beyond it; default: the model's own, else 7.5", number)
    .option('--negative <prompt>', 'what the pictures do not show')
    .option('--seed <n>', 'everything random follows from it; default 0', integer)
    .option('--width <pixels>', "default: the model's own, or that of --image", integer)
    .option('--height <pixels>', '', integer)
    .option('--image <file>', 'a picture to begin with')
    .option('--strength <share>', 'with --image: share of the steps that are taken; default 0.8', number)
    .option('--mask <file>', 'with --image: white is painted anew, black stays')
    .option('--lora <file>', "an adapter, with ':' and its strength behind it if not 1; may stand several times", loraArgument)
    .option('--revision <name>', 'of a hub name: a branch, a tag or a commit')
    .option('--variant <name>', 'weight files of this kind, say fp16')
    .option('--tokenizer <folder>', 'for single files, which hold none')
    .option('--dtype <type>', 'auto, float32, bfloat16 or, on a GPU, float16')
    .option('--device <name>', 'auto, cpu or cuda')
    .option('--threads <n>', 'default: all cores', integer)
    .option('--overwrite', 'replace pictures that were made with other settings')
    .option('--dry-run', 'load the model and say what would be written')
    .option('--json', 'print one JSON object instead of text')
    .action((prompts: string[], options: Options) => generate(prompts, options, command));
  example(command, "npx seedbed generate 'a 3D render of a strawberry' --count 8", "npx seedbed generate 'a red fox in the snow' --model org/name --out foxes/ --count 4", 'npx seedbed generate --from foxes/2.png --model org/name --steps 80 --out fox.png');
}

async function generate(given: string[], options: Options, command: Command): Promise<void> {
  const output = outputOf(command);
  const from = options.from === undefined ? undefined : await settingsIn(options.from);
  const { options: stored, ignored } = from === undefined ? { options: undefined, ignored: [] } : optionsFromSettings(from);
  const prompts = given.length > 0 ? given : stored === undefined ? [] : [stored.prompt as string];
  const model = options.model ?? (from?.model !== undefined && isHubName(from.model) ? from.model : shippedDiffusion()[0]);
  if (prompts.length === 0) command.error('error: expected a prompt, or --from');
  if (model === undefined) command.error('error: expected --model');
  for (const [name, value] of Object.entries({ count: options.count, 'batch-size': options.batchSize ?? 1, enlarge: options.enlarge ?? 1 })) if (value < 1) command.error(`error: expected at least 1 for --${name}`);
  const out = options.out ?? folderName(prompts[0] as string);
  if (extname(out) === '.png' && prompts.length * options.count > 1) command.error(`error: expected a folder for --out with ${prompts.length * options.count} pictures, received '${out}'`);
  const { image, mask, provenance } = await picturesOf(options, from);

  const begin = performance.now();
  const { steps, sampler, seed, width, height, strength, threads } = options;
  const own = defined({ steps, sampler, guidanceScale: options.guidance, negativePrompt: options.negative, seed, width, height, strength, image, mask });
  const run: Run = { options: { ...options, out, batchSize: options.batchSize ?? 1, enlarge: options.enlarge ?? 1 }, call: { ...stored, ...own }, signal: interruptible(), sd: undefined, pictures: [], warnings: new Set() };
  const { revision, variant, tokenizer, device } = options;
  const dtype = options.dtype ?? (from?.['dtype'] === 'float32' || from?.['dtype'] === 'bfloat16' ? from['dtype'] : undefined);
  try {
    const load = {
      title: `load ${model}`,
      run: async (_: Run, report: Report) => {
        run.sd = await loadModel(model, defined({ revision, variant, tokenizer, dtype, device, threads, signal: run.signal }), report);
        addLoras(run.sd, options.lora ?? []);
        if (run.sd.info.imageSize <= SMALL_SIDE) Object.assign(run.options, { batchSize: options.batchSize ?? Math.min(SMALL_BATCH, prompts.length * options.count), enlarge: options.enlarge ?? SMALL_ENLARGED });
        const all = prompts.flatMap((prompt) => Array<string>(options.count).fill(prompt));
        const fileOf = (number: number): string => (extname(out) === '.png' ? out : join(out, `${number}.png`));
        run.pictures = planPictureFiles(run.sd, run.call, all, { fileOf, provenance: () => defined({ revision, variant, ...provenance }) });
        await lookForPictures(run.pictures, { overwrite: options.overwrite ?? false, advice: 'give another --out or --seed, or --overwrite' });
      },
    };
    const make = { title: pictureCount(prompts.length * options.count), run: (_: Run, report: Report) => makePictures(run, report) };
    await runTasks(run, options.dryRun ? [load] : [load, make], output);
    if (ignored.length > 0) run.warnings.add(`Not taken over from '${options.from}': ${ignored.join(', ')}`);
    printResult(run, (performance.now() - begin) / 1000, output.json ?? false);
  } catch (error) {
    if (error instanceof CancelledError && !output.json && run.pictures.length > 0) process.stderr.write('Finished pictures are kept; the same command goes on.\n');
    throw error;
  } finally {
    run.sd?.dispose();
  }
}

/** 'A red fox!' -> a-red-fox */
const folderName = (prompt: string): string => prompt.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-+|-+$/g, '').slice(0, LONGEST_NAME) || 'pictures';

const pictureCount = (count: number): string => `${count} picture${count === 1 ? '' : 's'}`;

function printResult({ pictures, sd, warnings, options }: Run, seconds: number, json: boolean): void {
  if (json) {
    const files = pictures.map(({ file, seed, exists, settings }) => ({ file, seed, skipped: exists, settings }));
    process.stdout.write(`${JSON.stringify({ files, dtype: sd?.info.dtype, seconds, warnings: [...warnings] })}\n`);
    return;
  }
  for (const warning of warnings) process.stderr.write(`seedbed: ${warning}\n`);
  const already = pictures.filter(({ exists }) => exists).length;
  const note = already === 0 ? '' : `, ${already} of them there already`;
  const text = options.dryRun ? `Would write ${pictureCount(pictures.length)} to ${options.out}${note}: ${pictures.map(({ file }) => file).join(', ')}` : `${pictureCount(pictures.length)} in ${options.out}${note}, ${seconds.toFixed(1)} s`;
  process.stdout.write(`${text}\n`);
}

/** A sampler's name, or its options as JSON. */
function sampler(text: string): GenerateOptions['sampler'] {
  if (!text.startsWith('{')) return text as GenerateOptions['sampler'];
  try {
    return JSON.parse(text) as GenerateOptions['sampler'];
  } catch {
    throw new InvalidArgumentError("Expected a sampler's name, or JSON such as {\"type\":\"ddim\",\"eta\":1}.");
  }
}

async function settingsIn(file: string): Promise<GenerationSettings> {
  const settings = await readGenerationSettings(file);
  if (settings === undefined) throw new SeedbedError('ERR_IMAGE', `Expected a picture with generation settings in '${file}', found none`);
  return settings;
}

/** The picture to begin with and the mask; their hashes go into the settings, so that another picture is another setting. */
async function picturesOf({ image, mask }: Options, from: GenerationSettings | undefined): Promise<{ image?: Image; mask?: Image; provenance: Record<string, string> }> {
  if (from?.strength !== undefined && image === undefined) throw new ArgumentError('Expected --image: the picture of --from was made from another one');
  if (from?.['maskSha256'] !== undefined && mask === undefined) throw new ArgumentError('Expected --mask: the picture of --from was made with one');
  const first = image === undefined ? undefined : await pictureIn(image);
  const second = mask === undefined ? undefined : await pictureIn(mask);
  return {
    ...(first && { image: first.picture }),
    ...(second && { mask: second.picture }),
    provenance: { ...(first && { imageSha256: first.sha256 }), ...(second && { maskSha256: second.sha256 }) },
  };
}

async function pictureIn(file: string): Promise<{ picture: Image; sha256: string }> {
  const bytes = await readFile(file).catch((error: unknown) => {
    throw errorFromFile(error, 'read', file);
  });
  return { picture: await decodeImage(bytes, file), sha256: createHash('sha256').update(bytes).digest('hex') };
}

async function makePictures({ sd, call, options: { out, batchSize, enlarge }, pictures, signal, warnings }: Run, report: Report): Promise<void> {
  await mkdir(extname(out) === '.png' ? dirname(out) : out, { recursive: true }).catch((error: unknown) => {
    throw errorFromFile(error, 'write', out);
  });
  for await (const event of makePictureFiles(sd as Diffusion, call, pictures, { batchSize, enlarge, signal })) {
    if (event.type === 'warning') warnings.add(event.message);
    else report(withBar(event.share, `picture ${event.picture} of ${event.pictures}, step ${event.step} of ${event.steps}, ${event.secondsPerStep.toFixed(2)} s a step`));
  }
}
