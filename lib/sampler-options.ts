import { z } from 'zod';
import { ArgumentError } from './errors.js';
import { checkOptions, defined, nearest, positiveInt, share, show } from './options.js';

/** Samplers by name. */
export const SAMPLER_NAMES = ['ddim', 'ddpm', 'pndm', 'euler', 'euler_ancestral', 'heun', 'dpmpp_2m', 'dpmpp_2m_sde', 'unipc', 'lms', 'lcm', 'kdpm2'] as const;

export type SamplerName = (typeof SAMPLER_NAMES)[number];

const spacingFields = {
  /** Where the timesteps lie. Default: the scheduler config's, else as in diffusers. */
  spacing: z.enum(['leading', 'linspace', 'trailing']).optional(),
};

const timestepFields = {
  ...spacingFields,
  /** The timesteps to visit, falling, in place of `steps`. */
  timesteps: z.array(z.number().min(0)).min(1).optional(),
};

const sigmaFields = {
  ...timestepFields,
  /** How the sigmas fall: `normal` (default: those of the timesteps), `karras` (arXiv 2206.00364), `exponential`, or a list that ends where the run ends, usually at 0. */
  sigmas: z.union([z.enum(['normal', 'karras', 'exponential']), z.array(z.number().min(0)).min(2)]).optional(),
  /** Smallest and largest sigma of `karras` and `exponential`. Default: the schedule's. */
  sigmaMin: z.number().gt(0).optional(),
  sigmaMax: z.number().gt(0).optional(),
};

const dpmFields = {
  ...sigmaFields,
  /** Default `midpoint`. */
  dpmSolverType: z.enum(['midpoint', 'heun']).optional(),
  /** First order in the last step of runs of fewer than 15 steps. Default true. */
  lowerOrderFinal: z.boolean().optional(),
  /** First order in the last step of any run. Default false. */
  eulerAtFinal: z.boolean().optional(),
};

/** Options of each sampler, by its name. */
const members = {
  /** Denoising diffusion implicit models (arXiv 2010.02502). `eta`: share of ddpm's noise, 0 (default) to 1. */
  ddim: z.strictObject({ type: z.literal('ddim'), ...timestepFields, eta: share.optional() }),
  /** Ancestral sampling (arXiv 2006.11239). */
  ddpm: z.strictObject({ type: z.literal('ddpm'), ...timestepFields, ddpmVariance: z.enum(['fixed_small', 'fixed_large']).optional() }),
  /** Pseudo numerical methods (arXiv 2202.09778). `skipPrkSteps` (default true): PLMS. */
  pndm: z.strictObject({ type: z.literal('pndm'), ...spacingFields, skipPrkSteps: z.boolean().optional() }),
  euler: z.strictObject({ type: z.literal('euler'), ...sigmaFields }),
  euler_ancestral: z.strictObject({ type: z.literal('euler_ancestral'), ...sigmaFields }),
  heun: z.strictObject({ type: z.literal('heun'), ...sigmaFields }),
  /** DPM-Solver++(2M) (arXiv 2211.01095). */
  dpmpp_2m: z.strictObject({ type: z.literal('dpmpp_2m'), ...dpmFields }),
  dpmpp_2m_sde: z.strictObject({ type: z.literal('dpmpp_2m_sde'), ...dpmFields }),
  /** UniPC of order 2 (arXiv 2302.04867). */
  unipc: z.strictObject({ type: z.literal('unipc'), ...sigmaFields, unipcSolverType: z.enum(['bh1', 'bh2']).optional(), lowerOrderFinal: z.boolean().optional() }),
  /** Linear multistep; `order` 1 to 4 (default). */
  lms: z.strictObject({ type: z.literal('lms'), ...sigmaFields, order: z.int().min(1).max(4).optional() }),
  /** Latent consistency models (arXiv 2310.04378), distilled on `originalSteps` (default 50) steps. */
  lcm: z.strictObject({ type: z.literal('lcm'), timesteps: timestepFields.timesteps, originalSteps: positiveInt.optional(), timestepScaling: z.number().gt(0).optional() }),
  /** DPM-Solver-2 with midpoints (diffusers' KDPM2). */
  kdpm2: z.strictObject({ type: z.literal('kdpm2'), ...sigmaFields }),
};

/** A sampler with its options. */
const optionsSchema = z.discriminatedUnion('type', [
  members.ddim,
  members.ddpm,
  members.pndm,
  members.euler,
  members.euler_ancestral,
  members.heun,
  members.dpmpp_2m,
  members.dpmpp_2m_sde,
  members.unipc,
  members.lms,
  members.lcm,
  members.kdpm2,
]);

/** A sampler by name, or with options. `checkSampler` gives better messages. */
export const samplerSchema = z.union([z.enum(SAMPLER_NAMES), optionsSchema]);

export type SamplerOptions = z.output<typeof optionsSchema>;
export type Sampler = SamplerName | SamplerOptions;

/** A sampler as given, checked, in its long form. Throws `ArgumentError` with the nearest name for an unknown one. */
export function checkSampler(sampler: unknown): SamplerOptions {
  const options: unknown = typeof sampler === 'string' ? { type: sampler } : sampler;
  if (typeof options !== 'object' || options === null) throw new ArgumentError(`Expected the name of a sampler or an object with its type for sampler, received ${show(sampler)}`);
  const { type } = options as { type?: unknown };
  const name = SAMPLER_NAMES.find((known) => known === type);
  if (name !== undefined) return checkOptions(members[name] as z.ZodType<SamplerOptions>, options, `the sampler ${name}`);
  const near = typeof type === 'string' ? nearest(type, SAMPLER_NAMES) : undefined;
  throw new ArgumentError(`Expected one of ${SAMPLER_NAMES.join(', ')} for sampler, received ${show(type)}${near === undefined ? '' : `; did you mean '${near}'?`}`);
}

type MemberFields = { [Key in SamplerOptions as keyof Key]?: unknown };

/** A sampler as the addon reads it. */
export function nativeSampler(sampler: SamplerOptions, steps: number | undefined): Record<string, unknown> {
  const { sigmas, timesteps, spacing: _, dpmSolverType, unipcSolverType, ddpmVariance, ...rest } = sampler as SamplerOptions & Record<string, unknown> & MemberFields;
  const listed = Array.isArray(sigmas) || timesteps !== undefined;
  if (listed && steps !== undefined) throw new ArgumentError(`Expected steps or a list of ${timesteps === undefined ? 'sigmas' : 'timesteps'}, received both`);
  return defined({
    ...rest,
    steps,
    solverType: dpmSolverType ?? unipcSolverType,
    variance: ddpmVariance,
    customTimesteps: timesteps,
    ...(Array.isArray(sigmas) ? { customSigmas: sigmas } : { sigmas }),
  });
}
