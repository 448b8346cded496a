import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { lstat, mkdir, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseClipTextConfig, parseUnetConfig, parseVaeConfig, toDiffusersConfig } from '#lib/diffusion/config.js';
import { fetchModel, isHubName, type FetchProgress } from '#lib/diffusion/hub.js';
import { findModel } from '#lib/diffusion/layout.js';
import { serveHub, sha256, type HubBehaviour, type HubServer } from './hub-server.js';
import { golden, run, thrown } from './support.js';

const COMMIT = '1234567890abcdef1234567890abcdef12345678';
const { nets, scheduler } = golden('configs') as { nets: Record<string, Record<string, { json: Record<string, unknown> }>>; scheduler: Record<string, unknown> };
const configs = toDiffusersConfig({ unet: parseUnetConfig(nets['unet']?.['sd1']?.json, ''), vae: parseVaeConfig(nets['vae']?.['sd1']?.json, ''), textEncoder: parseClipTextConfig(nets['text']?.['sd1']?.json, '') }, scheduler);

/** A safetensors file of some thousand bytes, different for each salt. */
function weights(salt: number, count = 200_000): Buffer {
  const header = Buffer.from(JSON.stringify({ x: { dtype: 'U8', shape: [count], data_offsets: [0, count] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.from(Array.from({ length: count }, (_, i) => (i * 7 + salt) % 251))]);
}

const UNET = 'unet/diffusion_pytorch_model.safetensors';
const NEEDED: Record<string, Buffer> = {
  ...Object.fromEntries(Object.entries(configs).map(([path, content]) => [path, Buffer.from(JSON.stringify(content))])),
  'tokenizer/vocab.json': Buffer.from('{}'),
  'tokenizer/merges.txt': Buffer.from('#version: 0.2\n'),
  [UNET]: weights(1),
  'vae/diffusion_pytorch_model.safetensors': weights(2),
  'text_encoder/model.safetensors': weights(3),
};
const FILES: Record<string, Buffer> = {
  ...NEEDED,
  'README.md': Buffer.from('# tiny'),
  'unet/diffusion_pytorch_model.bin': weights(4),
  'unet/diffusion_pytorch_model.fp16.safetensors': weights(5, 1000),
  'vae/diffusion_pytorch_model.bin': weights(6),
  'safety_checker/model.safetensors': weights(7),
  'model.ckpt': weights(8),
};

const OWN = ['HF_HOME', 'HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HF_ENDPOINT', 'HF_TOKEN', 'HF_TOKEN_PATH', 'HUGGING_FACE_HUB_TOKEN', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE'];

interface Hub extends HubServer {
  home: string;
  /** The repository's folder in the cache. */
  folder: string;
  behaviour: HubBehaviour;
}

/** A server and an empty cache, named by the environment as for Python. */
async function hub(t: Test, behaviour: Partial<HubBehaviour> = {}): Promise<Hub> {
  const home = t.testdir();
  const whole = { files: FILES, commit: COMMIT, ...behaviour };
  const served = await serveHub(whole);
  for (const name of OWN) delete process.env[name]; // eslint-disable-line @typescript-eslint/no-dynamic-delete
  Object.assign(process.env, { HF_HOME: home, HF_ENDPOINT: served.url });
  t.teardown(() => served.server.close());
  return { ...served, home, folder: join(home, 'hub', 'models--tiny--model'), behaviour: whole };
}

async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1)).sort();
}

t.test('names and options', async (t) => {
  for (const [name, expected] of [['org/name', true], ['runwayml/stable-diffusion-v1-5', true], ['/path/to/model', false], ['./a', false], ['../a', false], ['a/b/c', false], ['name', false], ['a/..', false], ['a--b/c', false]] as const) t.equal(isHubName(name), expected, name);
  t.match(await thrown(() => fetchModel('nonsense')), { code: 'ERR_INVALID_ARGUMENT', message: /'organisation\/name', received 'nonsense'/ });
  t.match(await thrown(() => fetchModel('a/b', { revison: 'x' } as never)), { code: 'ERR_INVALID_ARGUMENT', message: /did you mean 'revision'/ });
  t.match(await thrown(() => fetchModel('a/b', { revision: '../../x' })), { code: 'ERR_INVALID_ARGUMENT', message: /a branch, a tag or a commit for revision/ });
  const reason = new Error('never mind');
  t.equal(await thrown(() => fetchModel('a/b', { signal: AbortSignal.abort(reason) })), reason);
});

t.test('what is needed comes into the cache of Python’s layout', async (t) => {
  const { folder, asked } = await hub(t, { page: 7, redirect: true });
  const seen: FetchProgress[] = [];
  const snapshot = await fetchModel('tiny/model', { onProgress: (progress) => seen.push(progress) });
  t.equal(snapshot, join(folder, 'snapshots', COMMIT));
  t.same(await filesIn(snapshot), Object.keys(NEEDED).sort());
  for (const [path, content] of Object.entries(NEEDED)) t.ok((await readFile(join(snapshot, path))).equals(content), path);
  t.ok((await lstat(join(snapshot, UNET))).isSymbolicLink());
  t.equal(await readlink(join(snapshot, UNET)), `../../../blobs/${sha256(NEEDED[UNET] as Buffer)}`);
  t.equal(await readFile(join(folder, 'refs', 'main'), 'utf8'), COMMIT);
  t.match(await findModel(snapshot), { kind: 'diffusers' });
  const total = Object.values(NEEDED).reduce((sum, { length }) => sum + length, 0);
  t.match(seen.at(-1), { done: total, total });
  t.same(seen.map(({ done }) => done), seen.map(({ done }) => done).sort((a, b) => a - b), 'progress only grows');
  t.notOk(asked.some(({ path }) => /\.bin|\.ckpt|README|fp16|safety/.test(path)), 'nothing else was asked for');

  asked.length = 0;
  t.equal(await fetchModel('tiny/model'), snapshot);
  t.notOk(asked.some(({ path }) => path.includes('/resolve/')), 'nothing is fetched twice');
  asked.length = 0;
  t.equal(await fetchModel('tiny/model', { revision: COMMIT }), snapshot);
  t.same(asked, [], 'a commit in the cache asks nobody');
  await fetchModel('tiny/model', { variant: 'fp16' });
  t.same(await readFile(join(snapshot, 'unet/diffusion_pytorch_model.fp16.safetensors')), FILES['unet/diffusion_pytorch_model.fp16.safetensors']);
});

t.test('shards', async (t) => {
  const { [UNET]: _whole, ...rest } = NEEDED;
  const shards = ['unet/diffusion_pytorch_model-00001-of-00002.safetensors', 'unet/diffusion_pytorch_model-00002-of-00002.safetensors'];
  const map = Object.fromEntries(shards.map((path, i) => [String(i), path.slice(5)]));
  const files = { ...rest, 'unet/diffusion_pytorch_model.safetensors.index.json': Buffer.from(JSON.stringify({ weight_map: map })), [shards[0] as string]: weights(1), [shards[1] as string]: weights(9), 'unet/diffusion_pytorch_model.fp16-00001-of-00001.safetensors': weights(10) };
  await hub(t, { files });
  const found = await findModel(await fetchModel('tiny/model'));
  t.match(found, { components: { unet: { weights: shards.map((path) => new RegExp(path)) } } });
  t.notOk(existsSync(join((found as { folder: string }).folder, 'unet/diffusion_pytorch_model.fp16-00001-of-00001.safetensors')));
});

t.test('an interrupted file goes on where it stopped', async (t) => {
  const { folder, asked, behaviour } = await hub(t, { cut: { path: UNET, after: 50_000 } });
  t.match(await thrown(() => fetchModel('tiny/model')), { code: 'ERR_DOWNLOAD', message: /unet\/diffusion_pytorch_model\.safetensors/ });
  t.notOk(existsSync(join(folder, 'snapshots', COMMIT, UNET)), 'no half file under a real name');
  t.notOk(existsSync(join(folder, 'snapshots', COMMIT, 'model_index.json')), 'an unfinished snapshot is not taken for a model');
  delete behaviour.cut;
  asked.length = 0;
  const snapshot = await fetchModel('tiny/model');
  t.match(asked.find(({ path }) => path.endsWith(UNET))?.range, /^bytes=[1-9]\d+-$/);
  t.ok((await readFile(join(snapshot, UNET))).equals(NEEDED[UNET] as Buffer));
});

t.test('a stopped fetch goes on as well', async (t) => {
  const { behaviour } = await hub(t, { cut: { path: UNET, after: 50_000 } });
  const controller = new AbortController();
  const reason = new Error('enough');
  const error = await thrown(() => fetchModel('tiny/model', { signal: controller.signal, onProgress: ({ file }) => file.startsWith('vae') && controller.abort(reason) }));
  t.equal(error, reason);
  delete behaviour.cut;
  t.match(await findModel(await fetchModel('tiny/model')), { kind: 'diffusers' });
});

t.test('two calls at once fetch each file once', async (t) => {
  const { asked } = await hub(t);
  const [a, b] = await Promise.all([fetchModel('tiny/model'), fetchModel('tiny/model')]);
  t.equal(a, b);
  const fetched = asked.filter(({ path }) => path.includes('/resolve/')).map(({ path }) => path);
  t.equal(new Set(fetched).size, fetched.length);
});

t.test('wrong bytes', async (t) => {
  for (const path of [UNET, 'unet/config.json']) {
    const { folder } = await hub(t, { spoil: path });
    t.match(await thrown(() => fetchModel('tiny/model')), { code: 'ERR_DOWNLOAD', message: /Expected (sha256|Git hash) [0-9a-f]+ from .*, received [0-9a-f]+; the file was removed/ }, path);
    t.notOk((await filesIn(join(folder, 'blobs'))).some((name) => name.endsWith('.part')));
  }
});

t.test('refusals', async (t) => {
  const one = await hub(t, { token: 'secret', redirect: true });
  t.match(await thrown(() => fetchModel('tiny/model')), { code: 'ERR_DOWNLOAD', message: /answered 401: 'tiny\/model' does not exist or needs permission\. .*set HF_TOKEN$/ });
  process.env['HF_TOKEN'] = 'wrong';
  t.match(await thrown(() => fetchModel('tiny/model')), { code: 'ERR_DOWNLOAD', message: /HF_TOKEN is set; has its owner access/ });
  delete process.env['HF_TOKEN'];
  await writeFile(join(one.home, 'token'), 'secret\n');
  await fetchModel('tiny/model');
  const elsewhere = one.asked.filter(({ path }) => path.startsWith('cdn'));
  t.ok(elsewhere.length > 0);
  t.ok(elsewhere.every(({ authorization }) => authorization === undefined), 'the token is told to no other server');

  await hub(t);
  t.match(await thrown(() => fetchModel('tiny/other')), { code: 'ERR_DOWNLOAD', message: /answered 404: there is no model 'tiny\/other'/ });
  t.match(await thrown(() => fetchModel('tiny/model', { revision: 'v9' })), { code: 'ERR_DOWNLOAD', message: /answered 404: 'tiny\/model' has no revision 'v9'/ });
});

t.test('models that cannot be loaded are refused before their weights come', async (t) => {
  const index = { ...configs['model_index.json'], _class_name: 'FluxPipeline' };
  const flux = await hub(t, { files: { ...FILES, 'model_index.json': Buffer.from(JSON.stringify(index)) } });
  t.match(await thrown(() => fetchModel('tiny/model')), { code: 'ERR_FILE_FORMAT', message: /'tiny\/model' is a Flux model/ });
  t.notOk(flux.asked.some(({ path }) => path.endsWith('.safetensors')));

  const { [UNET]: _unet, 'unet/diffusion_pytorch_model.fp16.safetensors': _half, ...pickled } = FILES;
  await hub(t, { files: pickled });
  t.match(await thrown(() => fetchModel('tiny/model')), { code: 'ERR_FILE_FORMAT', message: /tiny\/model\/unet\/.*found only diffusion_pytorch_model\.bin: a pickle/ });
  await hub(t, { files: { 'sd.safetensors': weights(1) } });
  t.match(await thrown(() => fetchModel('tiny/model')), { code: 'ERR_FILE_FORMAT', message: /model_index\.json.*single file 'sd\.safetensors' can be loaded by path/ });
});

t.test('without network', async (t) => {
  const { server, home } = await hub(t);
  process.env['HF_HUB_OFFLINE'] = '1';
  t.match(await thrown(() => fetchModel('tiny/model')), { code: 'ERR_DOWNLOAD', message: /not completely in the cache and HF_HUB_OFFLINE is set: Expected 'tiny\/model' \(main\) in .*found nothing/ });
  delete process.env['HF_HUB_OFFLINE'];
  const snapshot = await fetchModel('tiny/model');
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
  t.equal(await fetchModel('tiny/model'), snapshot, 'an unreachable server: the cache serves');
  process.env['HF_HUB_OFFLINE'] = 'yes';
  t.equal(await fetchModel('tiny/model'), snapshot);
  t.equal(await fetchModel('tiny/model', { revision: COMMIT }), snapshot);
  await rm(join(snapshot, UNET));
  t.match(await thrown(() => fetchModel('tiny/model')), { code: 'ERR_DOWNLOAD', message: /not completely in the cache.*found no weights/ });
  Object.assign(process.env, { HF_HUB_OFFLINE: '', HF_HUB_CACHE: join(home, 'elsewhere') });
  t.match(await thrown(() => fetchModel('tiny/model')), { code: 'ERR_DOWNLOAD', message: /Cannot reach http/ });
});

const python = process.env['SEEDBED_PYTHON'] ?? 'python3';
const skip = spawnSync(python, ['-c', 'import huggingface_hub']).status === 0 ? false : `${python} has no huggingface_hub; SEEDBED_PYTHON names another one`;

t.test('Python’s huggingface_hub and we share a cache', { skip }, async (t) => {
  const download = (options: string): string => `from huggingface_hub import snapshot_download; print(snapshot_download('tiny/model', ${options}))`;
  const ask = async (code: string): Promise<string> => (await run(python, ['-c', code], { env: process.env })).stdout.trim();

  t.test('what we fetched, Python loads offline', async (t) => {
    await hub(t);
    const snapshot = await fetchModel('tiny/model');
    t.equal(await ask(download('local_files_only=True')), snapshot);
    const file = await ask(`from huggingface_hub import hf_hub_download; print(hf_hub_download('tiny/model', '${UNET}', local_files_only=True))`);
    t.equal(file, join(snapshot, UNET));
  });

  t.test('what Python fetched, we load offline', async (t) => {
    const { asked } = await hub(t);
    const snapshot = await ask(download("allow_patterns=['*.json', '*.txt', '*.safetensors']"));
    process.env['HF_HUB_OFFLINE'] = '1';
    t.equal(await fetchModel('tiny/model'), snapshot);
    delete process.env['HF_HUB_OFFLINE'];
    asked.length = 0;
    t.equal(await fetchModel('tiny/model'), snapshot);
    t.notOk(asked.some(({ path }) => path.includes('/resolve/')), 'and online nothing is fetched again');
  });
});

t.test('a cache that cannot be written', async (t) => {
  const { home } = await hub(t);
  await mkdir(join(home, 'hub'), { recursive: true });
  await writeFile(join(home, 'hub', 'models--tiny--model'), 'a file where a folder must be');
  t.match(await thrown(() => fetchModel('tiny/model')), { code: 'ERR_FILE_NOT_FOUND', message: /Cannot write '.*blobs': a part of the path is not a folder/ });
});
