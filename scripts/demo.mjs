// `npm run demo`: everything from nothing, then `seedbed demo` with the same arguments.
import { bootstrap, runNode } from './bootstrap.mjs';

await bootstrap();
runNode('dist/bin/seedbed.js', ['demo', ...process.argv.slice(2)]);
