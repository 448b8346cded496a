#!/usr/bin/env node
import { runCommandLine } from './program.js';

// A reader that has seen enough (`| head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

const code = await runCommandLine(process.argv.slice(2));
if (code !== 0) process.exitCode = code;
