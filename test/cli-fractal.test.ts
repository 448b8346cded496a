import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import t from 'tap';
import { fractals } from 'seedbed';
import { CommandThread } from './command.js';

const commands = new CommandThread();
t.teardown(() => commands.dispose());

t.test('wrong use: exit code 2 and a hint', async (t) => {
  for (const [args, message] of [
    [[], /expected at least one of --out, --sheet, --picture, --systems/],
    [['--family', 'fractal', '--sheet', 'x.png'], /Allowed choices are 1p-frac, fractaldb, ofdb, rcdb, visualatom/],
    [['--family', 'rcdb', '--sigma-factor', '4', '--sheet', 'x.png'], /option '--sigma-factor' is for 1p-frac, not for rcdb/],
    [['--instances', '4', '--sheet', 'x.png'], /option '--instances' is for fractaldb, rcdb, visualatom, not for 1p-frac/],
    [['--sigma-factor', 'anderson', '--sheet', 'x.png'], /Expected a number or andersonFarrell/],
    [['--sheet', 'x.png', '--mask', 'solid'], /Allowed choices are random, fill/],
    [['--family', 'rcdb', '--sheet', 'x.png', '--texture', 'paste'], /option '--texture' is for 1p-frac, fractaldb, ofdb, not for rcdb/],
    [['--picture', 'x.png', '--palette', 'embers'], /Allowed choices are gray, ink, ember/],
  ] as const) {
    const { code, stderr } = await commands.seedbed(['fractal', ...args]);
    t.equal(code, 2, args.join(' '));
    t.match(stderr, message);
  }
});

t.test('what a family would write', async (t) => {
  const { stdout } = await commands.seedbed(['fractal', '--family', 'fractaldb', '--out', 'set', '--picture', 'one.png', '--count', '3', '--dry-run']);
  t.equal(stdout, 'Would write 3000 pictures (imagefolder) in set, the systems in set.ifs.json; a picture in one.png.\n');
});

t.test('every family writes a dataset, a sheet, a picture and its systems, and reads them again', async (t) => {
  const folder = t.testdir();
  for (const [family, args, instances, reads] of [
    ['fractaldb', ['--instances', '3', '--points', '3000'], 3, async (path: string) => (await fractals.loadSystems(path)).systems.length],
    ['ofdb', ['--faithful', '--points', '3000', '--colour'], 1, async (path: string) => (await fractals.loadSystems(path)).systems.length],
    ['rcdb', ['--instances', '2'], 2, async (path: string) => (await fractals.loadContours(path)).length],
    ['visualatom', [], 1, async (path: string) => (await fractals.loadContours(path)).length],
  ] as const) {
    const at = (name: string): string => join(folder, family + name);
    // 3,000 points cannot fill a fifth of the search's 512 x 512 pixels: the systems come from a file where they are searched for.
    const systems = at('.json');
    if (family === 'fractaldb' || family === 'ofdb') await fractals.saveSystems(systems, await fractals.search({ count: 2, size: 64, points: 3000, padding: 2, seed: 4 }));
    else await fractals.saveContours(systems, fractals.contourClasses({ set: family, count: 2, seed: 4 }));
    const common = ['fractal', '--family', family, '--from', systems, '--size', '64', '--seed', '4', '--json', ...args];
    const { code, stdout, stderr } = await commands.seedbed([...common, '--out', at('-set'), '--sheet', at('.sheet.png'), '--picture', at('.png')]);
    t.equal(code, 0, `${family}: ${stderr}`);
    t.equal((JSON.parse(stdout) as { pictures: number }).pictures, 2 * instances);
    t.same((await readdir(at('-set'))).sort(), ['class-0', 'class-1']);
    t.equal((await readdir(join(at('-set'), 'class-1'))).length, instances);
    t.equal(await reads(at('-set.ifs.json')), 2);
    const [one = ''] = await readdir(join(at('-set'), 'class-1'));
    t.equal((await sharp(join(at('-set'), 'class-1', one)).metadata()).channels, args.some((arg) => arg === '--colour') ? 3 : 1);
    const sheet = await sharp(at('.sheet.png')).metadata();
    t.same([sheet.width, sheet.height], [2 * 68 + 4, 72]);
    const picture = await sharp(at('.png')).metadata();
    t.same([picture.width, picture.height], [64, 64]);
    const again = await commands.seedbed([...common, '--out', at('-again')]);
    t.equal(again.code, 0, again.stderr);
    const [file = ''] = await readdir(join(at('-set'), 'class-1'));
    t.same(await readFile(join(at('-again'), 'class-1', file)), await readFile(join(at('-set'), 'class-1', file)), 'the same systems, the same pictures');
  }
});

t.test('every option of a family and of its pictures', async (t) => {
  const folder = t.testdir();
  const system = { maps: 3, sigmaFactor: 5, halfWidth: 0.2, delta: 0.2, perturbation: 'additive', probabilities: 'perturbed', fillThreshold: 0.02, seed: 3 } as const;
  const drawn = { size: 64, points: 3000, padding: 3, value: 200, indexSeed: 7, draw: 'patch', texture: 'paste', mask: 'fill', start: 'fixedPoint', aspect: 'keep', precision: 'exact' } as const;
  const flags = Object.entries({ ...system, ...drawn }).flatMap(([name, value]) => [`--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`, String(value)]);
  const { code, stderr } = await commands.seedbed(['fractal', '--out', join(folder, 'set'), '--count', '2', ...flags]);
  t.equal(code, 0, stderr);
  const { copies, textureSeeds } = await fractals.family({ ...system, ...drawn, count: 2 });
  const images = await fractals.render(copies, { ...drawn, textureSeeds: [...textureSeeds] });
  for (const i of copies.keys()) t.same(new Uint8Array(await sharp(join(folder, 'set', `copy-${i}`, `copy-${i}.png`)).extractChannel(0).raw().toBuffer()), fractals.image(images, i).data, `copy ${i}`);
});

t.test("FractalDB's own CSV files give its pictures", async (t) => {
  const folder = t.testdir({ csv: { '00000.csv': '0.5,-0.5,0.5,0.5,0,0,0.5\n-0.5,-0.5,0.5,-0.5,1,0,0.5\n' } });
  const { code, stdout, stderr } = await commands.seedbed(['fractal', '--family', 'ofdb', '--from', join(folder, 'csv'), '--size', '64', '--points', '3000', '--sheet', join(folder, 'sheet.png')]);
  t.equal(code, 0, stderr);
  t.match(stdout, /1 system, 1 picture of each/);
});

t.test('a picture of the system of 1p-frac', async (t) => {
  const path = join(t.testdir(), 'one.png');
  const { code, stdout, stderr } = await commands.seedbed(['fractal', '--picture', path, '--count', '1', '--sigma-factor', 'andersonFarrell', '--maps', '3', '--size', '100', '--palette', 'ink']);
  t.equal(code, 0, stderr);
  t.match(stdout, /1 copies of one system of sigma-factor 4\.\d+/);
  const { width, channels } = await sharp(path).metadata();
  t.same([width, channels], [100, 3]);
});
