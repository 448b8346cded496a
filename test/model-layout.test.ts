import { writeFileSync } from 'node:fs';
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import t from 'tap';
import { parseClipTextConfig, parseClipVisionConfig, parseUnetConfig, parseVaeConfig, toDiffusersConfig, type DiffusionConfig } from '#lib/diffusion/config.js';
import { findModel, readDiffusionConfig, type DiffusersModel } from '#lib/diffusion/layout.js';
import { recogniseSingleFile } from '#lib/diffusion/single-file.js';
import { golden, thrown } from './support.js';

type Json = Record<string, unknown>;
const { nets, scheduler } = golden('configs') as { nets: Record<'unet' | 'vae' | 'text' | 'vision', Record<string, { json: Json }>>; scheduler: Json };
const json = (kind: keyof typeof nets, name: string): Json => nets[kind][name]?.json as Json;

/** A safetensors file with a header and no data to speak of. */
function safetensors(shapes: Record<string, readonly number[]>, metadata: Record<string, string> = {}): Buffer {
  let at = 0;
  const entries = Object.entries(shapes).map(([name, shape]) => [name, { dtype: 'F16', shape, data_offsets: [at, (at += 2 * shape.reduce((a, b) => a * b, 1))] }]);
  const header = Buffer.from(JSON.stringify({ __metadata__: metadata, ...Object.fromEntries(entries) }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header]);
}

const LFS = 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3438167534\n';

const sd15: DiffusionConfig = {
  unet: parseUnetConfig(json('unet', 'sd1'), 'unet'),
  vae: parseVaeConfig(json('vae', 'sd1'), 'vae'),
  textEncoder: parseClipTextConfig(json('text', 'sd1'), 'text'),
};

t.test('configs of diffusers and transformers', async (t) => {
  t.test('their defaults are ours', async (t) => {
    const withoutFields = { unet: { _class_name: 'UNet2DConditionModel' }, vae: { _class_name: 'AutoencoderKL' }, text: { architectures: ['CLIPTextModel'] } };
    t.same(parseUnetConfig(json('unet', 'default'), ''), parseUnetConfig(withoutFields.unet, ''));
    t.same(parseVaeConfig(json('vae', 'default'), ''), parseVaeConfig(withoutFields.vae, ''));
    t.same(parseClipTextConfig(json('text', 'default'), ''), parseClipTextConfig(withoutFields.text, ''));
  });

  t.test('sizes of Stable Diffusion 2.1', async (t) => {
    t.match(parseUnetConfig(json('unet', 'sd2'), ''), { sampleSize: 96, crossAttentionDim: 1024, attentionHeads: [5, 10, 20, 20], useLinearProjection: true, upcastAttention: true, layersPerBlock: [2, 2, 2, 2] });
    t.match(parseClipTextConfig(json('text', 'sd2'), ''), { width: 1024, layers: 23, heads: 16, activation: 'gelu', eosTokenId: 2 });
  });

  t.test('heads: one number stands for all levels, the later name wins', async (t) => {
    t.same(sd15.unet.attentionHeads, [8, 8, 8, 8]);
    t.same(parseUnetConfig({ attention_head_dim: 8, num_attention_heads: [4, 8, 8, 16] }, '').attentionHeads, [4, 8, 8, 16]);
  });

  t.test('a projection only where the class has one', async (t) => {
    t.equal(parseClipTextConfig(json('text', 'projection'), '').projectionDim, 640);
    t.equal(parseClipVisionConfig(json('vision', 'projection'), '').projectionDim, 640);
    t.notHas(sd15.textEncoder, 'projectionDim');
  });

  t.test('what would change the result is refused', async (t) => {
    const unet = json('unet', 'sd1');
    const cases: [() => unknown, RegExp][] = [
      [() => parseUnetConfig({ ...unet, addition_embed_type: 'text_time' }, 'unet/config.json'), /^Field 'addition_embed_type' is "text_time" in 'unet\/config\.json': that would change the result and is not supported \(only null\)$/],
      [() => parseUnetConfig({ ...unet, resnet_time_scale_shift: 'scale_shift' }, 'c'), /'resnet_time_scale_shift' is "scale_shift"/],
      [() => parseUnetConfig({ ...unet, transformer_layers_per_block: [1, 2, 10] }, 'c'), /'transformer_layers_per_block' is \[1,2,10\]/],
      [() => parseUnetConfig({ ...unet, num_class_embeds: 10 }, 'c'), /'num_class_embeds' is 10/],
      [() => parseUnetConfig({ ...unet, new_thing: { a: 1 } }, 'c'), /^Unknown field 'new_thing' \(\{"a":1\}\) in 'c': it may change the result/],
      [() => parseUnetConfig({ ...unet, act_fn: 'mish' }, 'c'), /'c', field 'act_fn'.*received 'mish'/],
      [() => parseUnetConfig({ ...unet, down_block_types: ['AttnDownBlock2D'] }, 'c'), /'down_block_types\.0'.*received 'AttnDownBlock2D'/],
      [() => parseUnetConfig({ ...unet, mid_block_type: null }, 'c'), /'mid_block_type'.*received null/],
      [() => parseUnetConfig({ ...unet, layers_per_block: [1, 2] }, 'c'), /layers_per_block as block_out_channels \(4\), found 4, 4, 4, 2/],
      [() => parseUnetConfig({ ...unet, block_out_channels: [320, 640] }, 'c'), /as many down_block_types.*\(2\), found 4, 4, 2, 2/],
      [() => parseUnetConfig({ ...unet, block_out_channels: [320, 640, 1280, 1290] }, 'c'), /1290 is not a multiple of norm_num_groups 32/],
      [() => parseUnetConfig({ ...unet, attention_head_dim: [5, 10, 20, 3] }, 'c'), /1280 is not a multiple of its 3 heads/],
      [() => parseUnetConfig({ ...unet, in_channels: '4' }, 'c'), /'in_channels'.*received '4'/],
      [() => parseUnetConfig(json('vae', 'sd1'), 'c'), /settings of a UNet2DConditionModel in 'c', found those of a AutoencoderKL/],
      [() => parseUnetConfig([], 'c'), /Expected an object in 'c', found \[\]/],
      [() => parseVaeConfig({ ...json('vae', 'sd1'), latents_mean: [0, 0, 0, 0] }, 'c'), /'latents_mean'/],
      [() => parseVaeConfig({ ...json('vae', 'sd1'), down_block_types: ['AttnDownEncoderBlock2D'] }, 'c'), /'down_block_types\.0'/],
      [() => parseClipTextConfig({ ...json('text', 'sd1'), hidden_act: 'relu' }, 'c'), /'hidden_act'.*received 'relu'/],
      [() => parseClipTextConfig({ ...json('text', 'sd1'), num_attention_heads: 7 }, 'c'), /768 is not a multiple of its 7 heads/],
      [() => parseClipTextConfig({ ...json('text', 'sd1'), architectures: ['T5EncoderModel'] }, 'c'), /found those of a T5EncoderModel/],
    ];
    for (const [call, message] of cases) t.match(await thrown(call), { code: 'ERR_FILE_FORMAT', message });
  });

  t.test('written back, they say the same', async (t) => {
    const files = toDiffusersConfig({ ...sd15, imageEncoder: parseClipVisionConfig(json('vision', 'projection'), '') }, scheduler);
    for (const [path, original] of [['unet/config.json', json('unet', 'sd1')], ['vae/config.json', json('vae', 'sd1')], ['text_encoder/config.json', json('text', 'sd1')], ['image_encoder/config.json', json('vision', 'projection')]] as const) {
      const written = { ...files[path] };
      if (path.startsWith('unet')) t.same(written['attention_head_dim'], [8, 8, 8, 8]);
      delete written['attention_head_dim'];
      for (const [name, value] of Object.entries(written)) t.same(value, original[name], `${path} ${name}`);
    }
    t.same(parseUnetConfig(files['unet/config.json'], ''), sd15.unet);
    t.same(files['model_index.json']?.['scheduler'], ['diffusers', 'DDIMScheduler']);
  });
});

const WEIGHTS = { unet: 'unet/diffusion_pytorch_model', vae: 'vae/diffusion_pytorch_model', text: 'text_encoder/model' };

/** A whole diffusers folder, with weights of one number. */
async function writeModel(folder: string): Promise<string> {
  const files = { ...toDiffusersConfig(sd15, scheduler), 'tokenizer/vocab.json': {} };
  await rm(folder, { recursive: true, force: true });
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), JSON.stringify(content));
  }
  for (const path of Object.values(WEIGHTS)) await writeFile(join(folder, `${path}.safetensors`), safetensors({ x: [1] }));
  return folder;
}

t.test('diffusers folders', async (t) => {
  const at = (name: string): Promise<string> => writeModel(join(t.testdirName, name));
  t.testdir();
  const weightsOf = async (folder: string, options = {}): Promise<string[]> => ((await findModel(folder, options)) as DiffusersModel).components.unet.weights.map((path) => path.slice(join(folder, 'unet').length + 1));

  t.test('every part is found', async (t) => {
    const folder = await at('whole');
    const model = (await findModel(folder)) as DiffusersModel;
    t.match(model, { kind: 'diffusers', pipeline: 'StableDiffusionPipeline', folder });
    t.same(model.components, {
      unet: { config: join(folder, 'unet/config.json'), weights: [join(folder, 'unet/diffusion_pytorch_model.safetensors')] },
      vae: { config: join(folder, 'vae/config.json'), weights: [join(folder, 'vae/diffusion_pytorch_model.safetensors')] },
      textEncoder: { config: join(folder, 'text_encoder/config.json'), weights: [join(folder, 'text_encoder/model.safetensors')] },
      tokenizer: join(folder, 'tokenizer'),
      scheduler: join(folder, 'scheduler/scheduler_config.json'),
    });
    const read = await readDiffusionConfig(model);
    t.same(read.config, sd15);
    t.match(read.scheduler, { _class_name: 'DDIMScheduler', beta_schedule: scheduler['beta_schedule'] });
  });

  t.test('variants and shards', async (t) => {
    const folder = await at('variants');
    const base = join(folder, WEIGHTS.unet);
    await writeFile(`${base}.fp16.safetensors`, safetensors({ x: [1] }));
    t.same(await weightsOf(folder), ['diffusion_pytorch_model.safetensors'], 'the plain one when nothing is said');
    t.same(await weightsOf(folder, { variant: 'fp16' }), ['diffusion_pytorch_model.fp16.safetensors']);
    t.match(await thrown(() => findModel(folder, { variant: 'bf16' })), { code: 'ERR_FILE_NOT_FOUND', message: /variant 'bf16'/ });
    await rm(`${base}.safetensors`);
    t.same(await weightsOf(folder), ['diffusion_pytorch_model.fp16.safetensors'], 'the only one there is');
    await writeFile(`${base}.non_ema.safetensors`, safetensors({ x: [1] }));
    t.match(await thrown(() => findModel(folder)), { code: 'ERR_FILE_NOT_FOUND', message: /only the variants 'fp16', 'non_ema'; choose one with variant/ });

    const shards = [1, 2].map((i) => `diffusion_pytorch_model-0000${i}-of-00002.safetensors`);
    await writeFile(`${base}.safetensors.index.json`, JSON.stringify({ metadata: {}, weight_map: { b: shards[1], a: shards[0], c: shards[1] } }));
    t.match(await thrown(() => findModel(folder)), { code: 'ERR_FILE_NOT_FOUND', message: /weights of unet in '.*00001-of-00002\.safetensors', found nothing/ });
    for (const shard of shards) await writeFile(join(folder, 'unet', shard), safetensors({ x: [1] }));
    t.same(await weightsOf(folder), shards);
    await writeFile(`${base}.safetensors.index.json`, JSON.stringify({ weight_map: { a: '../../secret.safetensors' } }));
    t.match(await thrown(() => findModel(folder)), { code: 'ERR_FILE_FORMAT', message: /weight_map\.a.*beside it/ });
  });

  t.test('bad folders', async (t) => {
    const unetFile = 'unet/diffusion_pytorch_model.safetensors';
    const index = toDiffusersConfig(sd15, scheduler)['model_index.json'] as Json;
    const write = (path: string, content: string | Buffer) => (folder: string) => writeFile(join(folder, path), content);
    const remove = (path: string) => (folder: string) => rm(join(folder, path), { recursive: true });
    const then = (...steps: ((folder: string) => Promise<void>)[]) => async (folder: string) => {
      for (const step of steps) await step(folder);
    };
    const pipeline = (name: string, parts: Json = {}): ((folder: string) => Promise<void>) => write('model_index.json', JSON.stringify({ ...index, ...parts, _class_name: name }));
    const config = (name: string, change: Json) => async (folder: string) => write(`${name}/config.json`, JSON.stringify({ ...toDiffusersConfig(sd15, scheduler)[`${name}/config.json`], ...change }))(folder);
    const cases: [string, (folder: string) => Promise<void>, string, RegExp][] = [
      ['no index', remove('model_index.json'), 'ERR_FILE_NOT_FOUND', /found no model_index\.json$/],
      ['index of something else', write('model_index.json', '{}'), 'ERR_FILE_FORMAT', /_class_name/],
      ['SDXL', pipeline('StableDiffusionXLPipeline'), 'ERR_FILE_FORMAT', /is a Stable Diffusion XL model \(StableDiffusionXLPipeline\); seedbed loads Stable Diffusion 1\.x and 2\.x$/],
      ['Flux', pipeline('FluxPipeline'), 'ERR_FILE_FORMAT', /is a Flux model/],
      ['FLUX.2', pipeline('Flux2KleinPipeline'), 'ERR_FILE_FORMAT', /is a FLUX\.2 model/],
      ['SD 3', pipeline('StableDiffusion3Pipeline'), 'ERR_FILE_FORMAT', /is a Stable Diffusion 3 model/],
      ['PixArt', pipeline('PixArtSigmaPipeline'), 'ERR_FILE_FORMAT', /is a PixArt model/],
      ['a video model', pipeline('WanPipeline'), 'ERR_FILE_FORMAT', /is a video model \(WanPipeline\)/],
      ['a model of tomorrow', pipeline('OmniDreamPipeline'), 'ERR_FILE_FORMAT', /is an OmniDream model/],
      ['another UNet', pipeline('StableDiffusionPipeline', { unet: ['diffusers', 'UNet2DModel'] }), 'ERR_FILE_FORMAT', /is a model whose unet is a UNet2DModel/],
      ['no text encoder', pipeline('StableDiffusionPipeline', { text_encoder: [null, null] }), 'ERR_FILE_FORMAT', /part 'text_encoder'/],
      ['inpainting', config('unet', { in_channels: 9 }), 'ERR_FILE_FORMAT', /is an inpainting model with 9 input channels/],
      ['parts that do not fit', config('unet', { cross_attention_dim: 1024 }), 'ERR_FILE_FORMAT', /cross_attention_dim 1024 is not the text encoder's hidden_size 768/],
      ['no weights', remove(unetFile), 'ERR_FILE_NOT_FOUND', /Expected '.*unet\/diffusion_pytorch_model\.safetensors', found no weights/],
      ['no UNet', remove('unet'), 'ERR_FILE_NOT_FOUND', /settings of unet in '.*unet\/config\.json', found nothing/],
      ['no tokenizer', remove('tokenizer'), 'ERR_FILE_NOT_FOUND', /tokenizer in/],
      ['no scheduler', remove('scheduler'), 'ERR_FILE_NOT_FOUND', /scheduler in '.*scheduler_config\.json', found nothing/],
      ['an LFS pointer', write(unetFile, LFS), 'ERR_FILE_FORMAT', /diffusion_pytorch_model\.safetensors' is a Git LFS pointer, not the file itself; run 'git lfs pull'/],
      ['an LFS pointer as config', write('vae/config.json', LFS), 'ERR_FILE_FORMAT', /vae\/config\.json' is a Git LFS pointer/],
      ['no bytes', write(unetFile, ''), 'ERR_FILE_FORMAT', /found an empty file/],
      ['a cut file', write(unetFile, safetensors({ x: [1] }).subarray(0, 40)), 'ERR_FILE_FORMAT', /found something else, or a part of one/],
      ['a web page', write(unetFile, '<!DOCTYPE html><html><body>Sign in to read this file</body></html>'), 'ERR_FILE_FORMAT', /found a web page/],
      ['a folder for a file', then(remove(unetFile), (folder) => mkdir(join(folder, unetFile)).then(() => {})), 'ERR_FILE_READ', /found a folder/],
      ['a config that is no JSON', write('unet/config.json', '{'), 'ERR_FILE_FORMAT', /Expected JSON in/],
      ['only a pickle', then(remove(unetFile), write('unet/diffusion_pytorch_model.bin', 'PK')), 'ERR_FILE_FORMAT', /Expected '.*unet\/diffusion_pytorch_model\.safetensors', found only diffusion_pytorch_model\.bin: a pickle, which can run any program.*save_pretrained/],
    ];
    for (const [name, spoil, code, message] of cases) {
      const folder = await at('bad');
      await spoil(folder);
      const error = await thrown(async () => readDiffusionConfig((await findModel(folder)) as DiffusersModel));
      t.match(error, { code, message }, name);
      t.notMatch(error.message, /\n/, `${name}: one line`);
    }
    t.match(await thrown(() => findModel('/nowhere/model')), { code: 'ERR_FILE_NOT_FOUND' });
    const folder = await at('bad');
    t.match(await thrown(() => findModel(join(folder, 'unet'))), { code: 'ERR_FILE_NOT_FOUND', message: /one part of a model: give the folder above it/ });
    await cp(join(folder, unetFile), join(folder, 'vae', 'sd.safetensors'));
    await rm(join(folder, 'vae', 'config.json'));
    t.match(await thrown(() => findModel(join(folder, 'vae'))), { message: /for the single file, give '.*\.safetensors'/ });
  });
});

/** Names and shapes of Stable Diffusion 1.5 or 2.1 in the original layout: those that recognition looks at. */
function original(kind: 'sd1' | 'sd2', context = kind === 'sd1' ? 768 : 1024): Record<string, readonly number[]> {
  const unet = 'model.diffusion_model.';
  const shapes: Record<string, readonly number[]> = { [`${unet}input_blocks.0.0.weight`]: [320, 4, 3, 3], [`${unet}out.2.weight`]: [4, 320, 3, 3] };
  const blocks = [320, 320, 0, 640, 640, 0, 1280, 1280, 0, 1280, 1280];
  for (const [i, channels] of blocks.entries()) {
    const name = `${unet}input_blocks.${i + 1}.`;
    if (channels === 0) shapes[`${name}0.op.weight`] = [blocks[i - 1] ?? 0, blocks[i - 1] ?? 0, 3, 3];
    else shapes[`${name}0.in_layers.2.weight`] = [channels, channels, 3, 3];
    if (channels === 0 || i > 7) continue;
    shapes[`${name}1.proj_in.weight`] = kind === 'sd1' ? [channels, channels, 1, 1] : [channels, channels];
    shapes[`${name}1.transformer_blocks.0.attn2.to_k.weight`] = [channels, context];
  }
  const vae = 'first_stage_model.';
  Object.assign(shapes, { [`${vae}encoder.conv_in.weight`]: [128, 3, 3, 3], [`${vae}decoder.conv_in.weight`]: [512, 4, 3, 3], [`${vae}decoder.conv_out.weight`]: [3, 128, 3, 3] });
  Object.assign(shapes, { [`${vae}quant_conv.weight`]: [8, 8, 1, 1], [`${vae}post_quant_conv.weight`]: [4, 4, 1, 1], [`${vae}decoder.mid.attn_1.q.weight`]: [512, 512, 1, 1] });
  for (const [level, channels] of [128, 256, 512, 512].entries()) for (const i of [0, 1]) shapes[`${vae}encoder.down.${level}.block.${i}.conv1.weight`] = [channels, channels, 3, 3];
  const text = kind === 'sd1' ? 'cond_stage_model.transformer.text_model.' : 'cond_stage_model.model.';
  const layers = kind === 'sd1' ? 12 : 24;
  Object.assign(shapes, kind === 'sd1' ? { [`${text}embeddings.token_embedding.weight`]: [49408, context], [`${text}embeddings.position_embedding.weight`]: [77, context] } : { [`${text}token_embedding.weight`]: [49408, context], [`${text}positional_embedding`]: [77, context] });
  for (let i = 0; i < layers; i++) shapes[kind === 'sd1' ? `${text}encoder.layers.${i}.mlp.fc1.weight` : `${text}transformer.resblocks.${i}.mlp.c_fc.weight`] = [4 * context, context];
  return shapes;
}

t.test('single files', async (t) => {
  const folder = t.testdir();
  const file = (content: Buffer | string, name = 'model.safetensors'): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };

  t.test('sizes equal those of the published folders', async (t) => {
    const first = await recogniseSingleFile(file(safetensors(original('sd1'))));
    t.match(first, { family: 'sd1', predictionType: 'epsilon', predictionFrom: 'family', prefixes: { textEncoder: 'cond_stage_model.transformer.text_model.' } });
    t.same(first.config, sd15);
    const checker = { 'safety_checker.vision_model.embeddings.patch_embedding.weight': [1024, 3, 14, 14] };
    t.match(await recogniseSingleFile(file(safetensors({ ...original('sd1'), ...checker }))), { family: 'sd1' }, 'further nets in the file do not matter');

    const second = await recogniseSingleFile(file(safetensors(original('sd2'), { 'modelspec.architecture': 'stable-diffusion-v2-768-v' })));
    t.match(second, { family: 'sd2', predictionType: 'v_prediction', predictionFrom: 'metadata', scheduler: { prediction_type: 'v_prediction' } });
    t.same(second.config.unet, parseUnetConfig(json('unet', 'sd2'), ''));
    t.same(second.config.textEncoder, parseClipTextConfig(json('text', 'sd2'), ''));
  });

  t.test('2.x: the kind of prediction read off a bias', async (t) => {
    const telltale = 'model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias';
    for (const [half, expected] of [[0x3000, 'v_prediction'], [0x2800, 'epsilon']] as const) { // ±0.125, ±0.03125
      const shapes = { [telltale]: [2], ...original('sd2') };
      const path = file(Buffer.concat([safetensors(shapes), Buffer.from(new Uint16Array([half, half | 0x8000]).buffer)]));
      t.match(await recogniseSingleFile(path), { predictionType: expected, predictionFrom: 'weights' });
    }
  });

  t.test('other files', async (t) => {
    const without = (part: string): Record<string, readonly number[]> => Object.fromEntries(Object.entries(original('sd1')).filter(([name]) => !name.startsWith(part)));
    const cases: [string, Record<string, readonly number[]>, string, RegExp][] = [
      ['SDXL', { ...without('cond_stage'), 'conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight': [77, 768] }, 'ERR_FILE_FORMAT', /is a Stable Diffusion XL model; seedbed loads/],
      ['Flux', { 'double_blocks.0.img_attn.norm.key_norm.scale': [128] }, 'ERR_FILE_FORMAT', /is a Flux model/],
      ['SD 3', { 'model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight': [1, 1] }, 'ERR_FILE_FORMAT', /is a Stable Diffusion 3 model/],
      ['a LoRA', { 'lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight': [4, 320] }, 'ERR_FILE_FORMAT', /is a LoRA/],
      ['a ControlNet', { 'control_model.input_blocks.0.0.weight': [1] }, 'ERR_FILE_FORMAT', /is a ControlNet/],
      ['a VAE', { 'decoder.conv_in.weight': [1] }, 'ERR_FILE_FORMAT', /is a VAE alone/],
      ['a net of a folder', { 'down_blocks.0.resnets.0.conv1.weight': [1] }, 'ERR_FILE_FORMAT', /is a single net of a diffusers folder/],
      ['something else', { 'layer.weight': [1] }, 'ERR_FILE_FORMAT', /found 1 tensors of something else, the first 'layer\.weight'/],
      ['nothing', {}, 'ERR_FILE_FORMAT', /found 0 tensors/],
      ['inpainting', { ...original('sd1'), 'model.diffusion_model.input_blocks.0.0.weight': [320, 9, 3, 3] }, 'ERR_FILE_FORMAT', /inpainting model with 9 input channels/],
      ['no VAE', without('first_stage'), 'ERR_WEIGHTS', /Expected a VAE/],
      ['no text encoder', without('cond_stage'), 'ERR_WEIGHTS', /Expected a text encoder/],
    ];
    for (const [name, shapes, code, message] of cases) t.match(await thrown(() => recogniseSingleFile(file(safetensors(shapes)))), { code, message }, name);
  });

  t.test('files that are no safetensors', async (t) => {
    for (const [name, content, message] of [
      ['model.ckpt', 'PK', /found '.*model\.ckpt': a pickle, which can run any program when it is read, and is refused; .*save_pretrained/],
      ['model.pt', 'PK', /a pickle/],
      ['pickle.safetensors', 'PK\x03\x04 and so on for a while', /found a pickle/],
      ['model.gguf', 'GGUF and so on for a while', /found a GGUF file/],
      ['lfs.safetensors', LFS, /is a Git LFS pointer/],
      ['empty.safetensors', '', /empty file/],
      ['damaged.safetensors', Buffer.concat([Buffer.from([5, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{"x":')]), /a damaged one/],
    ] as const) {
      const path = file(content, name);
      t.match(await thrown(async () => (await findModel(path), recogniseSingleFile(path))), { code: 'ERR_FILE_FORMAT', message }, name);
    }
    t.same(await findModel(file(safetensors(original('sd1')))), { kind: 'single-file', path: join(folder, 'model.safetensors') });
  });
});
