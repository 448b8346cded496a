import t from 'tap';
import { loadDiffusion, type GenerateOptions } from 'seedbed';
import { writeFormulaPipeline } from './formula.js';
import { picture, thrown } from './support.js';

const sd = await loadDiffusion(writeFormulaPipeline(t.testdir(), 'sd1'), { dtype: 'float32', threads: 1 });
t.teardown(() => sd.dispose());
const SMALL = { width: 32, height: 32, decode: false } as const;

t.test('a plan refuses what generate refuses', async (t) => {
  const tensor = (shape: number[]) => ({ data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape, dtype: 'float32' as const });
  const cases: [GenerateOptions, RegExp][] = [
    [{ prompt: 'x', width: 33 }, /multiple of 4 for width, received 33/],
    [{ prompt: 'x', strength: 0.5 }, /Expected an image with strength/],
    [{ prompt: 'x', mask: picture(8, 8, 1) }, /Expected an image with the mask/],
    [{ prompt: 'x', sampler: { type: 'euler', sigmas: [1, 0] }, steps: 3 }, /Expected steps or a list of sigmas, received both/],
  ];
  for (const [options, message] of cases) {
    t.match(await thrown(() => sd.plan(options)), { code: 'ERR_INVALID_ARGUMENT', message });
    t.match(await thrown(() => sd.generate(options)), { code: 'ERR_INVALID_ARGUMENT', message });
  }
  const late: [GenerateOptions, RegExp][] = [
    [{ ...SMALL, prompt: tensor([1, 77, 16]) }, /prompt must have shape/],
    [{ ...SMALL, prompt: 'x', negativePrompt: tensor([1, 77, 16]) }, /negativePrompt must have shape/],
    [{ ...SMALL, prompt: 'x', negativePrompt: tensor([1, 7, 32]) }, /negativePrompt must have shape \[\*, 77, 32\], got \[1, 7, 32\]/],
  ];
  for (const [options, message] of late) t.match(await thrown(() => sd.generate(options)), { message });
});

t.test('a plan says what generate does', async (t) => {
  const options: GenerateOptions = { ...SMALL, prompt: ['a cat', 'a dog'], negativePrompt: 'x', count: 2, seed: 4, steps: 2, sampler: 'euler' };
  const plan = sd.plan(options);
  t.match(plan, { steps: 2, width: 32, height: 32, seeds: [4, 5, 6, 7] });
  t.same(plan.settings.map(({ prompt, seed }) => [prompt, seed]), [['a cat', 4], ['a cat', 5], ['a dog', 6], ['a dog', 7]]);
  const { seeds, settings } = await sd.generate(options);
  t.same([seeds, settings], [plan.seeds, plan.settings]);
  t.equal(sd.plan({ prompt: 'x' }).steps, 50);
  t.match(sd.plan({ prompt: 'x', image: picture(45, 38, 3) }), { width: 44, height: 36 }, 'the size of the picture, rounded down');
});

t.test('strength is a share of a list of timesteps or sigmas, too', async (t) => {
  const sampler = { type: 'ddim' as const, timesteps: [800, 600, 400, 200] };
  const seen: number[] = [];
  const job = sd.generate({ ...SMALL, prompt: 'x', sampler, image: picture(32, 32, 3), strength: 0.5 });
  for await (const event of job) if (event.type === 'step') seen.push(event.steps);
  t.same(seen, [2, 2]);
});
