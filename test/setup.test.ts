import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { chmod, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t from 'tap';
import { doctor } from 'seedbed';
import { download } from '#lib/setup/download.js';
import { findLibtorch, libtorchVersion, packageRoot } from '#lib/setup/find.js';
import { DOWNLOADS, TORCH_VERSION } from '#lib/setup/manifest.js';
import { checkDiskSpace } from '#lib/setup/toolchain.js';
import { unpackLibtorch } from '#lib/setup/unpack.js';
import { run, runScript, thrown } from './support.js';

const CONTENT = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7) % 251));

interface Behaviour {
  /** Send this many bytes, and close the connection once `when` resolves. */
  cut?: { at: number; when: () => Promise<void> };
  ranges?: boolean;
  status?: number;
  content?: Buffer;
}

async function serve(behaviour: Behaviour): Promise<{ url: string; requests: (string | undefined)[]; server: Server }> {
  const requests: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    requests.push(request.headers.range);
    const { cut, ranges = true, status, content = CONTENT } = behaviour;
    const from = ranges ? Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0) : 0;
    if (status !== undefined) return void response.writeHead(status).end();
    response.writeHead(from > 0 ? 206 : 200, { 'content-length': content.length - from });
    const body = content.subarray(from);
    if (cut === undefined) return void response.end(body);
    response.write(body.subarray(0, cut.at));
    void cut.when().then(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/file`, requests, server };
}

const manifest = (url: string): { url: string; file: string; size: number; sha256: string } => ({ url, file: 'file', size: CONTENT.length, sha256: createHash('sha256').update(CONTENT).digest('hex') });

t.test('downloads', async (t) => {
  t.test('whole, with progress', async (t) => {
    const folder = t.testdir();
    const { url, server } = await serve({});
    const seen: number[] = [];
    await download(manifest(url), join(folder, 'deep', 'file'), { onBytes: (done) => seen.push(done) });
    server.close();
    t.same(await readFile(join(folder, 'deep', 'file')), CONTENT);
    t.equal(seen.at(-1), CONTENT.length);
    t.same(await readdir(join(folder, 'deep')), ['file']);
  });

  t.test('interrupted, then continued from where it stopped', async (t) => {
    const folder = t.testdir();
    const arrived = async (): Promise<void> => {
      while (!((await stat(join(folder, 'file.part')).catch(() => undefined))?.size ?? 0)) await setTimeout(5);
    };
    const behaviour: Behaviour = { cut: { at: 100_000, when: arrived } };
    const { url, requests, server } = await serve(behaviour);
    const error = await thrown(() => download(manifest(url), join(folder, 'file')));
    t.equal(error.code, 'ERR_DOWNLOAD');
    t.same(await readdir(folder), ['file.part'], 'no half file under the real name');
    delete behaviour.cut;
    await download(manifest(url), join(folder, 'file'));
    server.close();
    t.match(requests[1], /^bytes=\d+-$/);
    t.same(await readFile(join(folder, 'file')), CONTENT);
  });

  t.test('from a server without ranges, from the start', async (t) => {
    const folder = t.testdir({ 'file.part': 'something older' });
    const { url, server } = await serve({ ranges: false });
    await download(manifest(url), join(folder, 'file'));
    server.close();
    t.same(await readFile(join(folder, 'file')), CONTENT);
  });

  t.test('wrong bytes, wrong length, wrong answer', async (t) => {
    const folder = t.testdir();
    const other = Buffer.from(CONTENT);
    other[5] = 255;
    for (const [name, behaviour, message] of [
      ['bytes', { content: other }, /Expected sha256 .* the file was removed/],
      ['short', { content: CONTENT.subarray(0, 10) }, /Expected 300000 bytes .* received 10; run again/],
      ['long', { content: Buffer.concat([CONTENT, CONTENT]) }, /it sends more/],
      ['missing', { status: 404 }, /answer 200, it answered 404/],
    ] as const) {
      const { url, server } = await serve(behaviour);
      const error = await thrown(() => download(manifest(url), join(folder, 'file')));
      server.close();
      t.equal(error.code, 'ERR_DOWNLOAD', `${name}: ${error.message}`);
      t.match(error.message, message, name);
      t.notOk((await readdir(folder)).includes('file'), `${name}: nothing under the real name`);
      await rm(join(folder, 'file.part'), { force: true });
    }
    t.match((await thrown(() => download(manifest('http://127.0.0.1:1/x'), join(folder, 'file')))).message, /Cannot fetch http:\/\/127\.0\.0\.1:1\/x/);
  });

  t.test('aborted', async (t) => {
    const folder = t.testdir();
    const { url, server } = await serve({});
    const reason = new Error('enough');
    t.equal(await thrown(() => download(manifest(url), join(folder, 'file'), { signal: AbortSignal.abort(reason) })), reason);
    server.close();
  });

  t.test('through a proxy', async (t) => {
    const folder = t.testdir();
    const { url, server } = await serve({});
    const tunnels: string[] = [];
    const { connect } = await import('node:net');
    const proxy = createServer().on('connect', (request, socket) => {
      tunnels.push(request.url ?? '');
      const target = connect(Number(new URL(url).port), '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        target.pipe(socket).pipe(target);
      });
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const proxyUrl = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const file = manifest(url.replace('127.0.0.1', 'files.test'));
    const before = process.env['http_proxy'];
    process.env['http_proxy'] = proxyUrl;
    try {
      await download(file, join(folder, 'file'));
    } finally {
      if (before === undefined) delete process.env['http_proxy'];
      else process.env['http_proxy'] = before;
      server.close();
      proxy.close();
    }
    t.equal(tunnels.length, 1, 'the proxy was asked');
    t.match(tunnels[0], /^files\.test:/);
  });
});

/** A zip made by Python, which every machine with pip has. */
async function zipOf(path: string, files: Record<string, string>): Promise<void> {
  const script = 'import json,sys,zipfile\nz=zipfile.ZipFile(sys.argv[1],"w",zipfile.ZIP_DEFLATED)\n[z.writestr(k,v) for k,v in json.loads(sys.argv[2]).items()]\nz.close()';
  await run('python3', ['-c', script, path, JSON.stringify(files)]);
}

const base64url = (text: string): string => createHash('sha256').update(text).digest('base64url');

t.test('unpacking', async (t) => {
  const folder = t.testdir();
  const wheel = join(folder, 'torch.whl');
  const files: Record<string, string> = {
    'torch/version.py': `__version__ = '${TORCH_VERSION}+cpu'\n`,
    'torch/lib/libc10.so': 'c10',
    'torch/lib/libtorch_cpu.so': 'cpu',
    'torch/lib/libgomp.so.1': 'gomp',
    'torch/lib/libtorch_python.so': 'not wanted',
    'torch/lib/libtorch_cuda.so': 'not wanted',
    'torch/include/ATen/ATen.h': 'header',
    'torch/nn/__init__.py': 'not wanted',
  };
  const record = (changed = ''): Record<string, string> => ({ [`torch-${TORCH_VERSION}.dist-info/RECORD`]: Object.entries(files).map(([name, text]) => `${name},sha256=${base64url(text + (name === changed ? '!' : ''))},${text.length}`).join('\n') });

  await zipOf(wheel, { ...files, ...record() });
  const target = join(folder, 'libtorch');
  await unpackLibtorch(wheel, target);
  t.same((await readdir(target, { recursive: true })).sort(), ['include', 'include/ATen', 'include/ATen/ATen.h', 'lib', 'lib/libc10.so', 'lib/libgomp.so.1', 'lib/libtorch_cpu.so', 'version.py']);
  t.equal(libtorchVersion(target), `${TORCH_VERSION}+cpu`);

  const archive = join(folder, 'libtorch.zip');
  await zipOf(archive, { 'libtorch/build-version': `${TORCH_VERSION}\n`, 'libtorch/lib/libc10.so': 'c10', 'libtorch/lib/libtorch_cpu.so': 'cpu', 'libtorch/include/ATen/ATen.h': 'header' });
  await unpackLibtorch(archive, target);
  t.equal(libtorchVersion(target), TORCH_VERSION, 'the official archive too; the old folder is replaced');

  const cases: [string, Record<string, string>, RegExp][] = [
    ['damaged file', { ...files, ...record('torch/lib/libc10.so') }, /Expected sha256 .* for torch\/lib\/libc10\.so/],
    ['another version', { ...files, 'torch/version.py': "__version__ = '2.1.0'\n" }, new RegExp(`Expected libtorch ${TORCH_VERSION} .* found 2\\.1\\.0`)],
    ['another package', { 'numpy/version.py': '' }, /found none/],
  ];
  for (const [name, content, message] of cases) {
    await zipOf(wheel, content);
    const error = await thrown(() => unpackLibtorch(wheel, target));
    t.equal(error.code, 'ERR_LIBTORCH', name);
    t.match(error.message, message, name);
  }
  await writeFile(wheel, 'no zip');
  t.equal((await thrown(() => unpackLibtorch(wheel, target))).code, 'ERR_LIBTORCH');
  t.equal((await thrown(() => unpackLibtorch(join(folder, 'none'), target))).code, 'ERR_FILE_NOT_FOUND');
  t.equal(libtorchVersion(target), TORCH_VERSION, 'failures leave what was there');
  t.notOk((await readdir(folder)).some((name) => name.endsWith('.tmp')), 'and nothing half-unpacked');
});

const LOAD = "import { fractals } from 'seedbed'; try { fractals.sample(); console.log('ok'); } catch (e) { console.log(e.code, e.message); }";

t.test('libtorch is looked for in the stated order', async (t) => {
  const folder = t.testdir();
  const { stdout: missing } = await runScript(LOAD, { env: { SEEDBED_CACHE: folder, SEEDBED_LIBTORCH: '' } });
  t.match(missing, /^ERR_LIBTORCH Expected libtorch 2\.13\.0 in '.*libtorch-2\.13\.0' \(cache\), found none\. Run: npx seedbed setup/);
  const { stdout: asked } = await runScript(LOAD, { env: { SEEDBED_LIBTORCH: folder } });
  t.match(asked, /^ERR_LIBTORCH .*\(SEEDBED_LIBTORCH\), found none/, 'an explicit folder comes first, even when it is wrong');
  const { stdout: found } = await runScript(LOAD, { env: { SEEDBED_CACHE: folder, SEEDBED_LIBTORCH: findLibtorch().folder } });
  t.equal(found, 'ok\n');
  const { stdout: python } = await runScript(LOAD, { env: { SEEDBED_LIBTORCH: 'python', PATH: '/nowhere' } });
  t.match(python, /^ERR_LIBTORCH Expected python3 to import torch/);

  await mkdir(join(folder, 'old', 'lib'), { recursive: true });
  for (const name of ['libc10.so', 'libtorch_cpu.so']) await writeFile(join(folder, 'old', 'lib', name), '');
  await writeFile(join(folder, 'old', 'build-version'), '2.1.0\n');
  const { stdout: old } = await runScript(LOAD, { env: { SEEDBED_LIBTORCH: join(folder, 'old') } });
  t.match(old, /^ERR_LIBTORCH Expected libtorch 2\.13\.0 .* found 2\.1\.0/);
  await writeFile(join(folder, 'old', 'build-version'), `${TORCH_VERSION}\n`);
  const { stdout: broken } = await runScript(LOAD, { env: { SEEDBED_LIBTORCH: join(folder, 'old') } });
  t.match(broken, /^ERR_NATIVE The native addon .* does not load with libtorch 2\.13\.0 .* run: npx seedbed setup --rebuild/);
});

t.test('what is missing is said with the command to run', async (t) => {
  const folder = t.testdir({ bin: {} });
  const bin = join(folder, 'bin');
  const cli = (args: string[], path: string, env: Record<string, string> = {}): Promise<{ code: number; stdout: string; stderr: string }> =>
    run(process.execPath, [join(packageRoot, 'dist', 'bin', 'seedbed.js'), ...args], { env: { ...process.env, PATH: path, CXX: undefined, SEEDBED_CACHE: join(folder, 'cache'), SEEDBED_LIBTORCH: '', ...env } })
      .then((done) => ({ code: 0, ...done }))
      .catch((e: unknown) => e as { code: number; stdout: string; stderr: string });
  const compiler = await cli(['setup'], bin);
  t.equal(compiler.code, 1);
  t.match(compiler.stderr, /Expected a C\+\+20 compiler \(tried c\+\+, g\+\+, clang\+\+\), found none\. Run: apt-get install -y g\+\+ cmake/);
  await writeFile(join(bin, 'c++'), '#!/bin/sh\necho fake 1.0\n');
  await chmod(join(bin, 'c++'), 0o755);
  const cmake = await cli(['setup'], bin);
  t.match(cmake.stderr, /Expected cmake 3\.18 or later, found none\. Run: apt-get/);
  await writeFile(join(bin, 'cmake'), '#!/bin/sh\necho cmake version 3.25.1\n');
  await chmod(join(bin, 'cmake'), 0o755);
  for (const tool of ['sh', 'echo']) await symlink(`/bin/${tool}`, join(bin, tool));
  const cuda = await cli(['setup'], bin, { SEEDBED_CUDA: '1' });
  t.match(cuda.stderr, /Expected nvcc in PATH for SEEDBED_CUDA=1, found none\. Install the CUDA toolkit/);
  const offline = await cli(['setup', '--from', 'pip'], bin);
  t.match(offline.stderr, /Cannot get libtorch 2\.13\.0 .*npx seedbed setup --wheel FILE/, 'no network and no pip');
  t.equal((await cli(['setup', '--from', 'floppy'], bin)).code, 2);
  t.equal((await thrown(() => checkDiskSpace(folder, 1e18, 'everything'))).code, 'ERR_DISK_FULL');
});

t.test('the manifest is complete', async (t) => {
  for (const { url, file, size, sha256 } of Object.values(DOWNLOADS)) {
    t.ok(decodeURIComponent(url).endsWith(file));
    t.ok(file.includes(TORCH_VERSION));
    t.ok(size > 1e8);
    t.match(sha256, /^[0-9a-f]{64}$/);
  }
});

t.test('doctor', async (t) => {
  const diagnosis = await doctor();
  t.ok(diagnosis.ready);
  t.equal(diagnosis.native.ok && diagnosis.native.value.loadedTorch, TORCH_VERSION);
  t.ok(diagnosis.cpu.cores >= 1);
  t.ok(diagnosis.matmul.ok && diagnosis.matmul.value.float32 > 0);
});
