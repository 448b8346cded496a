// A service with one loaded model: requests queue, progress comes as server-sent events, a client that goes away stops its picture.
//
//   node examples/service.mjs org/name 8080
//   curl -N -d '{ "prompt": "a red fox", "steps": 20 }' http://localhost:8080/generate

import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';
import { encodePng, loadDiffusion, writeGenerationSettings } from 'seedbed';

const [model = 'model', port = '8080'] = process.argv.slice(2);
const MOST_WAITING = 16;
const LONGEST_BODY = 10_000;

const sd = await loadDiffusion(model);
let waiting = 0;

/** What a stranger may choose; everything else is ours. */
const allowed = ({ prompt, negativePrompt, steps, guidanceScale, seed }) => ({ prompt, negativePrompt, steps: Math.min(steps ?? 30, 100), guidanceScale, seed });
const defined = (options) => Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

async function generate(request, response) {
  if (Number(request.headers['content-length'] ?? Infinity) > LONGEST_BODY) return answer(response, 413, { error: 'Expected a short JSON object with its length' });
  if (waiting >= MOST_WAITING) return answer(response, 503, { error: 'Busy, try again later' });
  waiting++;
  const controller = new AbortController();
  response.on('close', () => controller.abort(new Error('The client went away')));
  try {
    // Throws for wrong options, before the answer begins.
    const job = sd.generate({ ...defined(allowed(await json(request))), previewEvery: 5, signal: controller.signal });
    job.catch(() => {}); // read below
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    const send = (event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    for await (const { type, preview, ...event } of job) {
      send(type, { ...event, ...(preview && { preview: (await encodePng(preview[0])).toString('base64') }) });
    }
    const { images, settings } = await job;
    send('done', { settings: settings[0], png: writeGenerationSettings(await encodePng(images[0]), settings[0]).toString('base64') });
    response.end();
  } catch (error) {
    if (controller.signal.aborted) return;
    const wrongUse = error.code === 'ERR_INVALID_ARGUMENT' || error instanceof SyntaxError;
    if (response.headersSent) response.end(`event: error\ndata: ${JSON.stringify({ code: error.code, message: error.message })}\n\n`);
    else answer(response, wrongUse ? 400 : 500, { error: error.message });
  } finally {
    waiting--;
  }
}

function answer(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

const server = createServer((request, response) => {
  if (request.method === 'POST' && request.url === '/generate') void generate(request, response);
  else if (request.url === '/health') answer(response, 200, { waiting, model: sd.info.model });
  else answer(response, 404, { error: 'POST /generate, GET /health' });
}).listen(Number(port), () => console.log(`http://localhost:${server.address().port}`));

process.once('SIGTERM', () => server.close(() => sd.dispose()));
