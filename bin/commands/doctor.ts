import type { Command } from 'commander';
import { doctor, type Diagnosis, type Finding } from '../../lib/setup/doctor.js';
import { example, outputOf } from '../arguments.js';

const gigabytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

function line<T>(name: string, finding: Finding<T>, describe: (value: T) => string): string {
  return finding.ok ? `  ok   ${name.padEnd(10)} ${describe(finding.value)}` : `  --   ${name.padEnd(10)} ${finding.reason}`;
}

function text(d: Diagnosis): string {
  const features = [d.cpu.avx2 && 'AVX2', d.cpu.avx512 && 'AVX-512', d.cpu.avx512Bf16 && 'AVX512-BF16', d.cpu.amxBf16 && 'AMX-BF16'].filter((f) => f !== false);
  return [
    `  Node       ${d.node} on ${d.platform}`,
    `  processor  ${d.cpu.model}, ${d.cpu.cores} cores; ${features.length > 0 ? features.join(', ') : 'no vector extensions known here'}`,
    `  memory     ${gigabytes(d.memory.total)}, ${gigabytes(d.memory.free)} free`,
    `  threads    ${d.threads} (SEEDBED_THREADS changes it)`,
    `  cache      ${d.cacheFolder}`,
    line('toolchain', d.toolchain, (t) => `${t.compilerVersion}; ${t.cmakeVersion}`),
    line('libtorch', d.libtorch, (l) => `${l.version} in ${l.folder} (${l.source})`),
    line('addon', d.addon, (a) => a.main),
    line('native', d.native, (n) => `built for torch ${n.builtForTorch}, loaded ${n.loadedTorch}; torch uses ${n.cpuCapability}, fractals ${n.orbitKernel}`),
    `  GPU        ${d.cuda.ok ? 'found, CUDA' : `none. ${d.cuda.reason}`}`,
    line('products', d.matmul, (m) => `one core: float32 ${m.float32.toFixed(0)}, bfloat16 ${m.bfloat16.toFixed(0)} GFLOP/s`),
    `  choice     ${d.choice.device}, ${d.choice.precision}${d.choice.precision === 'float32' && d.cpu.avx512Bf16 ? ' (bfloat16 is slower on this processor)' : ''}`,
    d.ready ? 'Ready.' : 'Not ready: see the lines marked -- above.',
  ].join('\n');
}

export function addDoctor(program: Command): void {
  const command = program
    .command('doctor')
    .description('show what is installed, what the machine can do, and what would be chosen')
    .option('--json', 'print one JSON object instead of text')
    .action(async () => {
      const diagnosis = await doctor();
      process.stdout.write(`${outputOf(command).json ? JSON.stringify(diagnosis) : text(diagnosis)}\n`);
      if (!diagnosis.ready) process.exitCode = 1;
    });
  example(command, 'npx seedbed doctor');
}
