// `npm run bench -- NAME [--quick] [--json]`: runs bench/NAME.mjs.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { bootstrap, root, runNode } from './bootstrap.mjs';

const [name, ...args] = process.argv.slice(2);
const known = readdirSync(join(root, 'bench')).flatMap((file) => (/^[a-z-]+\.mjs$/.test(file) && !file.startsWith('lib') ? [file.slice(0, -4)] : []));
if (name === undefined || !existsSync(join(root, 'bench', `${name}.mjs`))) {
  console.error(`seedbed: expected the name of a benchmark (${known.join(', ')}), received ${name ?? 'none'}`);
  process.exit(2);
}
await bootstrap();
runNode(`bench/${name}.mjs`, args);
