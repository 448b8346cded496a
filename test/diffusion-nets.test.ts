import { join } from 'node:path';
import t, { type Test } from 'tap';
import { loadDiffusion, readSafetensors, writeSafetensors, type Diffusion, type LoadDiffusionOptions, type Tensor } from 'seedbed';
import { filled, formulaNets, storedModel, worstStored, writeFormulaPipeline, type Stored, type StoredModel } from './formula.js';
import { FAKE_DEVICE, loadPlaced } from './placement.js';
import { golden, picture, thrown } from './support.js';

/** The nets' tolerance in float32: sums in another order than the reference's. */
const CLOSE = { rtol: 1e-4, atol: 1e-4 };
/**
 * bfloat16 keeps 8 bits: each rounding is wrong by up to 2^-9 of a value, 0.2 %. Tens of them lie one after another between a net's
 * input and its output, so outputs differ by a few per cent of their own spread.
 */
const BFLOAT16_SHARE = 0.05;
/** float16 keeps 11 bits, three more. */
const FLOAT16_SHARE = BFLOAT16_SHARE / 8;

interface UnetRun {
  name: string;
  latents: number[];
  context: number[];
  timestep: number | number[];
  freeu: { s1: number; s2: number; b1: number; b2: number } | null;
  output: Stored;
}

interface VaeCase {
  pixels: number[];
  moments: Stored;
  latents: number[];
  decoded: Stored;
  tiled?: { pixels: number[]; moments: Stored; latents: number[]; decoded: Stored };
}

interface TextCase {
  ids: number[][];
  lastHiddenState: Stored;
  penultimate: Stored;
  pooled?: Stored;
  textEmbeds?: Stored;
}

interface VisionCase {
  pixels: number[];
  lastHiddenState: Stored;
  pooled: Stored;
  imageEmbeds: Stored;
}

const unets = golden('diffusion/unet') as Record<string, { runs: UnetRun[] }>;
const vaes = golden('diffusion/vae') as Record<string, VaeCase>;
const texts = golden('diffusion/text') as Record<string, TextCase>;
const { vision, both } = golden('diffusion/vision') as { vision: VisionCase; both: VisionCase & StoredModel & { ids: number[][]; textEmbeds: Stored; logitsPerImage: Stored } };

/** One tower of the CLIPModel, as a folder of its own has it. */
function towerOf(kind: 'text' | 'vision'): StoredModel {
  const config = JSON.parse(both.config) as Record<string, Record<string, unknown>>;
  const own = kind === 'text' ? ['text_model.', 'text_projection.'] : ['vision_model.', 'visual_projection.'];
  return {
    file: both.file,
    config: JSON.stringify({ ...config[`${kind}_config`], architectures: [kind === 'text' ? 'CLIPTextModelWithProjection' : 'CLIPVisionModelWithProjection'] }),
    parameters: both.parameters.filter(([name]) => own.some((prefix) => name.startsWith(prefix))),
  };
}

/** Which nets of the golden files each folder holds. */
const FOLDERS = {
  sd1: { unet: 'sd1', vae: 'sd', text: 'sd1', nets: formulaNets('sd1') },
  sd2: { unet: 'sd2', vae: 'sd', text: 'sd2', nets: formulaNets('sd2') },
  small: { unet: 'small', vae: 'small', text: 'projection', nets: { unet: storedModel('unet', 'small'), vae: storedModel('vae', 'small'), text: storedModel('text', 'projection'), vision: storedModel('vision', 'vision') } },
  uneven: { unet: 'uneven', vae: 'small', text: 'projection', nets: { unet: storedModel('unet', 'uneven'), vae: storedModel('vae', 'small'), text: storedModel('text', 'projection') } },
  towers: { unet: 'small', vae: 'small', text: '', nets: { unet: storedModel('unet', 'small'), vae: storedModel('vae', 'small'), text: towerOf('text'), vision: towerOf('vision') } },
} as const;
type FolderName = keyof typeof FOLDERS;

const root = t.testdir();
for (const [name, { nets }] of Object.entries(FOLDERS)) writeFormulaPipeline(join(root, name), name === 'sd2' ? 'sd2' : 'sd1', undefined, nets);
const load = (name: FolderName, options: LoadDiffusionOptions = {}): PromiseLike<Diffusion> => loadDiffusion(join(root, name), { dtype: 'float32', threads: 1, ...options });

const idsTensor = (rows: number[][]): Tensor<'int64'> => ({ data: BigInt64Array.from(rows.flat(), BigInt), shape: [rows.length, rows[0]?.length ?? 0], dtype: 'int64' });

type Compare = (actual: Tensor<'float32'> | undefined, expected: Stored, name: string) => void;

const exactly = (t: Test): Compare => (actual, expected, name) => {
  const ratio = worstStored(actual as Tensor<'float32'>, expected, CLOSE);
  t.ok(ratio <= 1, `${name} (${ratio.toFixed(3)})`);
};

/** Root mean square of the error over that of the expected values' spread; 0 would mean that it was not a short type that computed. */
const roughly = (t: Test, most = BFLOAT16_SHARE): Compare => (actual, expected, name) => {
  t.same(actual?.shape, expected.shape, `${name}: shape`);
  const mean = expected.values.reduce((a, b) => a + b, 0) / expected.values.length;
  let [error, spread] = [0, 0];
  expected.values.forEach((value, i) => {
    error += ((actual?.data[i * expected.step] ?? NaN) - value) ** 2;
    spread += (value - mean) ** 2;
  });
  const share = Math.sqrt(error / spread);
  t.ok(share < most && share > 1e-4, `${name} (${share.toFixed(4)} of the spread)`);
};

async function compareUnet(sd: Diffusion, name: string, compare: Compare): Promise<void> {
  for (const { name: title, latents, context, timestep, freeu, output } of unets[name]?.runs ?? []) {
    const call = { latents: filled('input.latents', latents), context: filled('input.context', context), timestep };
    compare(await sd.predictNoise({ ...call, ...(freeu && { freeU: freeu }) }), output, `unet, ${title}`);
  }
}

const joined = ({ mean, logVariance }: { mean: Tensor<'float32'>; logVariance: Tensor<'float32'> }): Tensor<'float32'> => {
  const [batch = 0, channels = 0, ...rest] = mean.shape;
  const row = mean.data.length / batch;
  const data = new Float32Array(2 * mean.data.length);
  for (let i = 0; i < batch; i++) {
    data.set(mean.data.subarray(i * row, (i + 1) * row), 2 * i * row);
    data.set(logVariance.data.subarray(i * row, (i + 1) * row), (2 * i + 1) * row);
  }
  return { data, shape: [batch, 2 * channels, ...rest], dtype: 'float32' };
};

async function compareVae({ components: { vae } }: Diffusion, name: string, compare: Compare): Promise<void> {
  const { pixels, moments, latents, decoded } = vaes[name] as VaeCase;
  compare(joined(await vae.encode(filled('input.pixels', pixels))), moments, 'vae, moments');
  compare(await vae.decode(filled('input.latents', latents)), decoded, 'vae, decoded');
}

async function compareText({ components: { textEncoder } }: Diffusion, name: string, compare: Compare): Promise<void> {
  const { ids, lastHiddenState, penultimate, pooled, textEmbeds } = texts[name] as TextCase;
  const whole = await textEncoder.encode(idsTensor(ids));
  compare(whole.states, lastHiddenState, 'text, states');
  if (pooled) compare(whole.pooled, pooled, 'text, pooled');
  if (textEmbeds) compare(whole.projected, textEmbeds, 'text, projected');
  compare((await textEncoder.encode(idsTensor(ids), { clipSkip: 1 })).states, penultimate, 'text, one layer left out');
}

t.test('bad inputs to the nets', async (t) => {
  using sd = await load('sd1');
  using small = await load('small');
  const { vae, textEncoder, imageEncoder } = sd.components;
  const unet = { latents: filled('input.latents', [2, 4, 8, 8]), context: filled('input.context', [2, 77, 32]), timestep: 1 };
  const pixels = (shape: number[]): Tensor<'float32'> => filled('input.pixels', shape);
  const cases: [string, () => unknown, string, RegExp][] = [
    ['channels of the latents', () => sd.predictNoise({ ...unet, latents: pixels([2, 3, 8, 8]) }), 'ERR_SHAPE', /latents must have shape \[\*, 4, \*, \*\], got \[2, 3, 8, 8\]/],
    ['dimensions of the latents', () => sd.predictNoise({ ...unet, latents: pixels([4, 8, 8]) }), 'ERR_SHAPE', /latents must have shape .*got \[4, 8, 8\]/],
    ['no latents', () => sd.predictNoise({ ...unet, latents: pixels([0, 4, 8, 8]) }), 'ERR_SHAPE', /latents of at least one element.*\[0, 4, 8, 8\]/],
    ['width of the context', () => sd.predictNoise({ ...unet, context: pixels([2, 77, 31]) }), 'ERR_SHAPE', /context must have shape .*got \[2, 77, 31\]/],
    ['rows of the context', () => sd.predictNoise({ ...unet, context: pixels([3, 77, 32]) }), 'ERR_SHAPE', /Expected 1 or 2 rows of context, received 3/],
    ['count of timesteps', () => sd.predictNoise({ ...unet, timestep: [1, 2, 3] }), 'ERR_SHAPE', /Expected 1 or 2 rows of timestep, received 3/],
    ['data of another length', () => sd.predictNoise({ ...unet, latents: { ...unet.latents, shape: [2, 4, 8, 9] } }), 'ERR_SHAPE', /2304 bytes for latents/],
    ['channels of the pixels', () => vae.encode(pixels([1, 4, 16, 16])), 'ERR_SHAPE', /pixels must have shape .*got \[1, 4, 16, 16\]/],
    ['sides of the pixels', () => vae.encode(pixels([1, 3, 18, 16])), 'ERR_INVALID_ARGUMENT', /multiples of 4, received 16 x 18/],
    ['channels of the pixels, in tiles', () => vae.encode(pixels([1, 4, 64, 64]), { tiled: true }), 'ERR_SHAPE', /pixels must have shape .*got \[1, 4, 64, 64\]/],
    ['sides of the pixels, in tiles', () => vae.encode(pixels([1, 3, 66, 64]), { tiled: true }), 'ERR_INVALID_ARGUMENT', /multiples of 4, received 64 x 66/],
    ['tiles that are no yes or no', () => vae.encode(pixels([1, 3, 16, 16]), { tiled: 'auto' as never }), 'ERR_INVALID_ARGUMENT', /tiled/],
    ['channels to decode', () => vae.decode(pixels([1, 3, 8, 8])), 'ERR_SHAPE', /latents must have shape .*got \[1, 3, 8, 8\]/],
    ['dimensions to decode, in tiles', () => vae.decode(pixels([4, 8, 8]), { tiled: true }), 'ERR_SHAPE', /got \[4, 8, 8\]/],
    ['a token that is not there', () => textEncoder.encode(idsTensor([[0, 530]])), 'ERR_INVALID_ARGUMENT', /530/],
    ['a negative token', () => textEncoder.encode(idsTensor([[0, -1]])), 'ERR_INVALID_ARGUMENT', /-1/],
    ['too many tokens', () => textEncoder.encode(idsTensor([Array.from({ length: 78 }, () => 0)])), 'ERR_INVALID_ARGUMENT', /from 1 to 77 for tokens, received 78/],
    ['tokens as floats', () => textEncoder.encode(pixels([1, 77]) as never), 'ERR_DTYPE', /ids/],
    ['more layers left out than there are', () => textEncoder.encode(idsTensor([[0]]), { clipSkip: 4 }), 'ERR_INVALID_ARGUMENT', /4/],
    ['no image encoder', () => imageEncoder.encode(pixels([1, 3, 32, 32])), 'ERR_INVALID_ARGUMENT', /image encoder/],
    ['weights of no image encoder', () => imageEncoder.weights(), 'ERR_INVALID_ARGUMENT', /image ?[eE]ncoder/],
    ['size of the picture', () => small.components.imageEncoder.encode(pixels([1, 3, 24, 32])), 'ERR_SHAPE', /pixels must have shape .*got \[1, 3, 24, 32\]/],
    ['FreeU that is not four factors', () => sd.predictNoise({ ...unet, freeU: { s1: 'x' } as never }), 'ERR_INVALID_ARGUMENT', /s1/],
  ];
  for (const [title, call, code, message] of cases) {
    const error = await thrown(call);
    t.match(error, { code, message }, title);
    t.notMatch(error.message, /\n/, `${title}: one line`);
  }
});

t.test('float32 nets equal the reference', async (t) => {
  for (const name of ['sd1', 'sd2', 'small', 'uneven'] as const) {
    await t.test(name, async (t) => {
      const { unet, vae, text } = FOLDERS[name];
      using sd = await load(name);
      t.equal(sd.info.dtype, 'float32');
      await compareUnet(sd, unet, exactly(t));
      await compareVae(sd, vae, exactly(t));
      await compareText(sd, text, exactly(t));
      if (name === 'small') {
        const { states, pooled, projected } = await sd.components.imageEncoder.encode(filled('input.pixels', vision.pixels));
        exactly(t)(states, vision.lastHiddenState, 'vision, states');
        exactly(t)(pooled, vision.pooled, 'vision, pooled');
        exactly(t)(projected, vision.imageEmbeds, 'vision, projected');
      }
    });
  }
});

t.test('FreeU changes the result, and its neutral factors do not', async (t) => {
  using sd = await load('sd1');
  const call = { latents: filled('input.latents', [1, 4, 16, 16]), context: filled('input.context', [1, 77, 32]), timestep: 481 };
  const run = unets['sd1']?.runs.find(({ freeu }) => freeu !== null) as UnetRun;
  t.ok(worstStored(await sd.predictNoise(call), run.output, CLOSE) > 100, 'without it, far from the golden values with it');
  const neutral = await sd.predictNoise({ ...call, freeU: { s1: 1, s2: 1, b1: 1, b2: 1 } });
  exactly(t)(neutral, { ...(await sd.predictNoise(call)), step: 1, values: [...(await sd.predictNoise(call)).data] }, 'neutral factors');
});

t.test('rows are computed alone: one context for all, one row of a batch', async (t) => {
  using sd = await load('sd2');
  const latents = filled('input.latents', [2, 4, 8, 8]);
  const context = filled('input.context', [1, 77, 32]);
  const twice = { data: Float32Array.from([...context.data, ...context.data]), shape: [2, 77, 32], dtype: 'float32' } as const;
  const shared = await sd.predictNoise({ latents, context, timestep: 481 });
  exactly(t)(await sd.predictNoise({ latents, context: twice, timestep: [481, 481] }), { ...shared, step: 1, values: [...shared.data] }, 'repeated context');
  const second = { data: latents.data.slice(256), shape: [1, 4, 8, 8], dtype: 'float32' } as const;
  exactly(t)(await sd.predictNoise({ latents: second, context, timestep: 481 }), { shape: [1, 4, 8, 8], step: 1, values: [...shared.data.subarray(256)] }, 'second row');
});

t.test('encoding and decoding in tiles equal the reference in tiles', async (t) => {
  using sd = await load('sd1');
  const { vae } = sd.components;
  const small = vaes['sd'] as VaeCase;
  const large = small.tiled as NonNullable<VaeCase['tiled']>;
  const encode = async (shape: number[], tiled: boolean): Promise<Tensor<'float32'>> => joined(await vae.encode(filled('input.pixels', shape), { tiled }));
  const decode = (shape: number[], tiled: boolean): PromiseLike<Tensor<'float32'>> => vae.decode(filled('input.latents', shape), { tiled });
  exactly(t)(await encode(large.pixels, true), large.moments, 'encoded in tiles');
  exactly(t)(await decode(large.latents, true), large.decoded, 'decoded in tiles');
  t.ok(worstStored(await encode(large.pixels, false), large.moments, CLOSE) > 10, 'encoded as a whole it is something else');
  t.ok(worstStored(await decode(large.latents, false), large.decoded, CLOSE) > 10, 'decoded as a whole too');
  const fits = [1, 3, 32, 32];
  t.same((await encode(fits, true)).data, (await encode(fits, false)).data, 'what fits into a tile is encoded as a whole');
  t.same((await decode(small.latents, true)).data, (await decode(small.latents, false)).data, 'and decoded as a whole');
});

t.test('tiles of any side fit together', async (t) => {
  // Sides of 2, 3, 5 and 6 latents; diffusers' parts have no common size there.
  for (const side of [2, 3, 5, 6]) {
    const vae = storedModel('vae', 'small');
    const config = JSON.stringify({ ...(JSON.parse(vae.config) as object), sample_size: 2 * side });
    const folder = writeFormulaPipeline(join(root, `tiles-${side}`), 'sd1', undefined, { ...FOLDERS.small.nets, vae: { ...vae, config } });
    using sd = await loadDiffusion(folder, { dtype: 'float32', threads: 1 });
    const { mean } = await sd.components.vae.encode(filled('input.pixels', [1, 3, 26, 30]), { tiled: true });
    t.same(mean.shape, [1, 4, 13, 15], `encoded in tiles of ${side}`);
    t.same((await sd.components.vae.decode(mean, { tiled: true })).shape, [1, 3, 26, 30], `decoded in tiles of ${side}`);
  }
});

t.test("pictures are encoded in tiles where a call says so, generate's 'auto' above twice the trained size", async (t) => {
  using sd = await load('sd1');
  const { factor, imageSize } = sd.info;
  const { scalingFactor } = sd.components.vae.config;
  for (const side of [2 * imageSize, 2 * imageSize + factor]) {
    const image = picture(side, side, 3);
    const pixels = { data: Float32Array.from({ length: 3 * side * side }, (_, i) => (image.data[3 * (i % (side * side)) + Math.floor(i / (side * side))] as number) / 127.5 - 1), shape: [1, 3, side, side], dtype: 'float32' } as const;
    const [tiles, whole] = [await sd.components.vae.encode(pixels, { tiled: true }), await sd.components.vae.encode(pixels)];
    const expected = { shape: whole.mean.shape, step: 1 };
    exactly(t)(await sd.encodeImage(image, { tiled: true }), { ...expected, values: [...tiles.mean.data].map((value) => value * scalingFactor) }, 'encodeImage in tiles');
    exactly(t)(await sd.encodeImage(image), { ...expected, values: [...whole.mean.data].map((value) => value * scalingFactor) }, 'encodeImage as a whole');

    // Without a step to take, generate returns a draw from the encoder's distribution; the noise in it depends on the seed alone.
    const draw = (tiled?: boolean): PromiseLike<{ latents: Tensor<'float32'> }> => sd.generate({ prompt: '', image, strength: 0, sampler: 'ddim', decode: false, ...(tiled !== undefined && { tiled }) });
    const { latents } = await draw(false);
    const std = (logVariance: number | undefined): number => Math.exp(0.5 * (logVariance ?? NaN));
    const moved = [...latents.data].map((value, i) => {
      const noise = (value / scalingFactor - (whole.mean.data[i] as number)) / std(whole.logVariance.data[i]);
      return ((tiles.mean.data[i] as number) + std(tiles.logVariance.data[i]) * noise) * scalingFactor;
    });
    exactly(t)((await draw(true)).latents, { ...expected, values: moved }, 'generate in tiles');
    t.ok(worstStored(latents, { ...expected, values: moved }, CLOSE) > 10, 'as a whole it is something else');
    t.same((await draw()).latents.data, (await draw(side > 2 * imageSize)).latents.data, `auto at ${side}`);
  }
});

t.test('the two towers of a CLIPModel tell pictures and texts together', async (t) => {
  using sd = await load('towers');
  const { textEncoder, imageEncoder } = sd.components;
  const { projected: image } = await imageEncoder.encode(filled('input.pixels', both.pixels));
  const { projected: text } = await textEncoder.encode(idsTensor(both.ids));
  // CLIPModel gives its embeddings at length 1.
  const unit = ({ data, shape }: Tensor<'float32'>): Tensor<'float32'> => {
    const width = shape[1] as number;
    const lengths = Array.from({ length: shape[0] as number }, (_, i) => Math.hypot(...data.subarray(i * width, (i + 1) * width)));
    return { data: data.map((value, i) => value / (lengths[Math.floor(i / width)] as number)), shape, dtype: 'float32' };
  };
  const [images, words] = [unit(image as Tensor<'float32'>), unit(text as Tensor<'float32'>)];
  exactly(t)(images, both.imageEmbeds, 'image embeddings');
  exactly(t)(words, both.textEmbeds, 'text embeddings');
  const scale = Math.exp(filled('logit_scale', []).data[0] as number);
  const width = images.shape[1] as number;
  const dot = (i: number, j: number): number => scale * images.data.subarray(i * width, (i + 1) * width).reduce((sum, value, k) => sum + value * (words.data[j * width + k] as number), 0);
  exactly(t)({ data: Float32Array.of(dot(0, 0), dot(0, 1), dot(1, 0), dot(1, 1)), shape: [2, 2], dtype: 'float32' }, both.logitsPerImage, 'logits');
});

t.test('bfloat16 nets are near the reference', async (t) => {
  for (const name of ['sd1', 'sd2', 'small'] as const) {
    await t.test(name, async (t) => {
      const { unet, vae, text } = FOLDERS[name];
      using sd = await load(name, { dtype: 'bfloat16' });
      using full = await load(name);
      t.equal(sd.info.dtype, 'bfloat16');
      t.equal(sd.info.parameters, full.info.parameters);
      t.equal(2 * sd.info.bytes, full.info.bytes);
      await compareUnet(sd, unet, roughly(t));
      await compareVae(sd, vae, roughly(t));
      await compareText(sd, text, roughly(t));
      if (name === 'small') roughly(t)((await sd.components.imageEncoder.encode(filled('input.pixels', vision.pixels))).projected, vision.imageEmbeds, 'vision, projected');
    });
  }
});

t.test('the way that a GPU takes', async (t) => {
  for (const name of ['sd1', 'sd2', 'small'] as const) {
    const { unet, vae, text } = FOLDERS[name];
    const folder = join(root, name);
    await t.test(`${name}: float64, without kernels of ours`, async (t) => {
      using sd = await loadPlaced(folder, { dtype: 'float64' });
      t.equal(sd.info.dtype, 'float64');
      await compareUnet(sd, unet, exactly(t));
      await compareVae(sd, vae, exactly(t));
      await compareText(sd, text, exactly(t));
      if (name === 'small') exactly(t)((await sd.components.imageEncoder.encode(filled('input.pixels', vision.pixels))).projected, vision.imageEmbeds, 'vision, projected');
    });
    await t.test(`${name}: float16, the autoencoder in float32`, async (t) => {
      using sd = await loadPlaced(folder, { dtype: 'float16' });
      using full = await load(name);
      t.equal(sd.info.bytes, (full.info.bytes + 4 * full.info.vaeParameters) / 2);
      await compareUnet(sd, unet, roughly(t, FLOAT16_SHARE));
      await compareVae(sd, vae, exactly(t));
      await compareText(sd, text, roughly(t, FLOAT16_SHARE));
      if (name === 'small') roughly(t, FLOAT16_SHARE)((await sd.components.imageEncoder.encode(filled('input.pixels', vision.pixels))).projected, vision.imageEmbeds, 'vision, projected');
    });
    await t.test(`${name}: on a device of its own`, async (t) => {
      using sd = await loadPlaced(folder, { device: FAKE_DEVICE });
      t.equal(sd.info.device, FAKE_DEVICE);
      await compareUnet(sd, unet, exactly(t));
      await compareVae(sd, vae, exactly(t));
      await compareText(sd, text, exactly(t));
      if (name === 'small') exactly(t)((await sd.components.imageEncoder.encode(filled('input.pixels', vision.pixels))).projected, vision.imageEmbeds, 'vision, projected');
    });
  }
});

t.test('NaN weights are found where they are not packed', async (t) => {
  const folder = writeFormulaPipeline(join(root, 'nan'), 'sd1', undefined, FOLDERS.small.nets);
  const file = join(folder, 'unet', 'diffusion_pytorch_model.safetensors');
  const { tensors } = readSafetensors(file);
  (tensors['mid_block.resnets.0.conv1.weight'] as Tensor<'float32'>).data[7] = NaN;
  writeSafetensors(file, tensors);
  t.match(await thrown(() => loadPlaced(folder, { dtype: 'float64' })), { code: 'ERR_NOT_FINITE', message: /mid_block\.resnets\.0\.conv1\.weight/ });
});

t.test('auto says which of the two it chose', async (t) => {
  using sd = await load('small', { dtype: 'auto' });
  t.match(sd.info.dtype, /^(float32|bfloat16)$/);
  t.match(sd.info, { device: 'cpu', model: 'small', predictionType: 'epsilon', factor: 2, latentChannels: 4, crossAttentionDim: 32, imageSize: 16, sampler: 'pndm' });
});
