import { z } from 'zod';
import { ArgumentError, SeedbedError } from './errors.js';
import { checkOptions, defined, positiveInt, share } from './options.js';
import { checkSampler, nativeSampler, type Sampler, type SamplerName, type SamplerOptions } from './sampler-options.js';

const off = z.literal(false).optional();
const none = z.null().optional();

/**
 * The fields of diffusers' scheduler_config.json. Those that would change the result in a way that is not built are here
 * with the values that do not; names that begin with an underscore are left out of account.
 */
const schedulerConfigSchema = z.strictObject({
  /** Timesteps of training, T. */
  num_train_timesteps: positiveInt.max(100_000).optional(),
  beta_start: z.number().gt(0).lt(1).optional(),
  beta_end: z.number().gt(0).lt(1).optional(),
  beta_schedule: z.enum(['linear', 'scaled_linear', 'squaredcos_cap_v2']).optional(),
  trained_betas: z.array(z.number()).nullish(),
  rescale_betas_zero_snr: z.boolean().optional(),
  /** What the network predicts. */
  prediction_type: z.enum(['epsilon', 'v_prediction', 'sample']).optional(),
  timestep_spacing: z.enum(['leading', 'linspace', 'trailing']).optional(),
  steps_offset: z.int().min(0).optional(),
  set_alpha_to_one: z.boolean().optional(),
  final_sigmas_type: z.enum(['zero', 'sigma_min']).optional(),
  clip_sample: z.boolean().optional(),
  clip_sample_range: z.number().gt(0).optional(),
  thresholding: z.boolean().optional(),
  dynamic_thresholding_ratio: share.optional(),
  sample_max_value: z.number().gt(0).optional(),

  use_karras_sigmas: z.boolean().nullish(),
  use_exponential_sigmas: z.boolean().nullish(),
  sigma_min: z.number().gt(0).nullish(),
  sigma_max: z.number().gt(0).nullish(),
  variance_type: z.enum(['fixed_small', 'fixed_large']).nullish(),
  skip_prk_steps: z.boolean().optional(),
  original_inference_steps: positiveInt.optional(),
  timestep_scaling: z.number().gt(0).optional(),
  algorithm_type: z.enum(['dpmsolver++', 'sde-dpmsolver++']).optional(),
  solver_type: z.enum(['midpoint', 'heun', 'logrho', 'bh1', 'bh2']).optional(),
  solver_order: z.literal(2).optional(),
  lower_order_final: z.boolean().optional(),
  euler_at_final: z.boolean().optional(),

  use_beta_sigmas: off.nullable(),
  use_lu_lambdas: off.nullable(),
  use_flow_sigmas: off.nullable(),
  use_dynamic_shifting: off.nullable(),
  flow_shift: z.number().nullish(), // of flow sigmas only, as the next two
  time_shift_type: z.string().nullish(),
  shift_terminal: none,
  interpolation_type: z.literal('linear').optional(),
  timestep_type: z.literal('discrete').optional(),
  predict_x0: z.literal(true).optional(),
  disable_corrector: z.array(z.never()).max(0).optional(),
  solver_p: none,
  lambda_min_clipped: z.union([z.null(), z.literal(-Infinity), z.literal('-inf'), z.literal('-Infinity')]).optional(),
});

type Fields = z.output<typeof schedulerConfigSchema>;
type Camel<Name extends string> = Name extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : Name;

/** A scheduler's settings: the content of a scheduler_config.json, or its fields in camel case. */
export type SchedulerConfig = { readonly [Name in keyof Fields]?: Fields[Name] } & { readonly [Name in keyof Fields as Camel<Name & string>]?: Fields[Name] } & { readonly [hidden: `_${string}`]: unknown };

const SAMPLERS_OF_CLASSES: Readonly<Record<string, SamplerName>> = {
  DDIMScheduler: 'ddim',
  DDPMScheduler: 'ddpm',
  PNDMScheduler: 'pndm',
  EulerDiscreteScheduler: 'euler',
  EulerAncestralDiscreteScheduler: 'euler_ancestral',
  HeunDiscreteScheduler: 'heun',
  DPMSolverMultistepScheduler: 'dpmpp_2m',
  UniPCMultistepScheduler: 'unipc',
  LMSDiscreteScheduler: 'lms',
  LCMScheduler: 'lcm',
  KDPM2DiscreteScheduler: 'kdpm2',
};

const LINEAR: Fields = { beta_start: 0.0001, beta_end: 0.02, beta_schedule: 'linear' };
const LINEAR_NARROW: Fields = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'linear' };

/** What diffusers takes for fields that a file leaves out, where that is not Stable Diffusion's usual value. */
const CLASS_DEFAULTS: Readonly<Record<SamplerName, Fields>> = {
  ddim: { ...LINEAR, clip_sample: true },
  ddpm: { ...LINEAR, clip_sample: true },
  pndm: { ...LINEAR, skip_prk_steps: false },
  euler: LINEAR,
  euler_ancestral: LINEAR,
  heun: LINEAR_NARROW,
  dpmpp_2m: LINEAR,
  dpmpp_2m_sde: LINEAR,
  unipc: LINEAR,
  lms: LINEAR,
  lcm: { beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear' },
  kdpm2: LINEAR_NARROW,
};

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The fields of a config, checked. Throws `ArgumentError` that names a field which is unknown or has a value that is not supported. */
export function checkSchedulerConfig(config: unknown): Fields & { className?: string } {
  if (typeof config !== 'object' || config === null || Array.isArray(config)) throw new ArgumentError('Expected the object of a scheduler_config.json for schedulerConfig');
  const { _class_name: className } = config as { _class_name?: unknown };
  const fields = Object.fromEntries(
    Object.entries(config)
      .filter(([name]) => !name.startsWith('_'))
      .map(([name, value]) => [snakeCase(name), value]),
  );
  const checked = checkOptions(schedulerConfigSchema, fields, 'schedulerConfig');
  return typeof className === 'string' ? { ...checked, className } : checked;
}

/** The content of a scheduler_config.json. diffusers writes -Infinity into some, which JSON does not know. */
export function parseSchedulerConfig(text: string): SchedulerConfig {
  try {
    return JSON.parse(text.replace(/(:\s*)-?(Infinity|NaN)\b/g, '$1null')) as SchedulerConfig;
  } catch (error) {
    throw new SeedbedError('ERR_FILE_FORMAT', `Expected JSON in a scheduler config (${(error as Error).message})`, { cause: error });
  }
}

function samplerOfClass({ className, algorithm_type }: Fields & { className?: string }): SamplerName | undefined {
  if (className === undefined) return undefined;
  const name = SAMPLERS_OF_CLASSES[className];
  if (name === undefined) throw new ArgumentError(`Expected one of ${Object.keys(SAMPLERS_OF_CLASSES).join(', ')} for _class_name, received '${className}'`);
  return name === 'dpmpp_2m' && algorithm_type === 'sde-dpmsolver++' ? 'dpmpp_2m_sde' : name;
}

/** What a config says about the sampler itself, in the words of its options. */
function samplerFields(name: SamplerName, config: Fields): Record<string, unknown> {
  const sigmas = {
    sigmas: config.use_karras_sigmas === true ? 'karras' : config.use_exponential_sigmas === true ? 'exponential' : undefined,
    sigmaMin: config.sigma_min ?? undefined,
    sigmaMax: config.sigma_max ?? undefined,
  };
  const { solver_type: solver, lower_order_final: lowerOrderFinal } = config;
  switch (name) {
    case 'ddim':
      return {};
    case 'ddpm':
      return { ddpmVariance: config.variance_type ?? undefined };
    case 'pndm':
      return { skipPrkSteps: config.skip_prk_steps };
    case 'lcm':
      return { originalSteps: config.original_inference_steps, timestepScaling: config.timestep_scaling };
    case 'dpmpp_2m':
    case 'dpmpp_2m_sde':
      return { ...sigmas, dpmSolverType: solver === 'midpoint' || solver === 'heun' ? solver : undefined, lowerOrderFinal, eulerAtFinal: config.euler_at_final };
    case 'unipc':
      return { ...sigmas, unipcSolverType: solver === 'bh1' || solver === 'bh2' ? solver : undefined, lowerOrderFinal };
    case 'euler':
    case 'heun':
    case 'lms':
    case 'kdpm2':
      return { ...sigmas };
    case 'euler_ancestral':
      return {}; // knows none of these
    default:
      return name satisfies never;
  }
}

function nativeSchedule(name: SamplerName, config: Fields, sampler: SamplerOptions): Record<string, unknown> {
  return defined({
    trainTimesteps: config.num_train_timesteps ?? config.trained_betas?.length,
    betaStart: config.beta_start,
    betaEnd: config.beta_end,
    betaSchedule: config.beta_schedule,
    trainedBetas: config.trained_betas ?? undefined,
    rescaleBetasZeroSnr: config.rescale_betas_zero_snr,
    prediction: config.prediction_type,
    spacing: ('spacing' in sampler ? sampler.spacing : undefined) ?? config.timestep_spacing,
    stepsOffset: config.steps_offset,
    setAlphaToOne: config.set_alpha_to_one ?? name !== 'pndm',
    finalSigma: config.final_sigmas_type,
    clipSample: config.clip_sample,
    clipSampleRange: config.clip_sample_range,
    thresholding: config.thresholding,
    dynamicThresholdingRatio: config.dynamic_thresholding_ratio,
    sampleMaxValue: config.sample_max_value,
  });
}

/** A sampler and the noise schedule under it, as the addon reads them. */
export interface ResolvedSampler {
  name: SamplerName;
  sampler: Record<string, unknown>;
  schedule: Record<string, unknown>;
}

/**
 * Brings a sampler and a scheduler config together as diffusers' `from_config` does: the sampler is the one asked for, else
 * the config's; its options win over the config's fields; what a diffusers file leaves out is the default of the sampler's
 * class there. Without a file, the noise schedule is Stable Diffusion's.
 */
export function resolveSampler(options: { sampler?: Sampler | undefined; schedulerConfig?: SchedulerConfig | undefined; steps?: number | undefined }): ResolvedSampler {
  const { className, ...given } = checkSchedulerConfig(options.schedulerConfig ?? {});
  const fromClass = samplerOfClass({ ...given, ...(className !== undefined && { className }) });
  const asked = checkSampler(options.sampler ?? fromClass ?? 'ddim');
  const name = asked.type;
  const config = className === undefined ? given : { ...CLASS_DEFAULTS[name], ...defined(given) };
  const sampler = { ...defined(samplerFields(name, config)), ...asked };
  if (Array.isArray('timesteps' in asked ? asked.timesteps : undefined)) delete (sampler as { sigmas?: unknown }).sigmas;
  return { name, sampler: nativeSampler(sampler, options.steps ?? defaultSteps(asked)), schedule: nativeSchedule(name, config, asked) };
}

const DEFAULT_STEPS = 50;

function defaultSteps(sampler: SamplerOptions): number | undefined {
  if ('timesteps' in sampler && sampler.timesteps !== undefined) return undefined;
  if ('sigmas' in sampler && Array.isArray(sampler.sigmas)) return undefined;
  return sampler.type === 'lcm' ? 4 : DEFAULT_STEPS;
}

/** The sampler and noise schedule of a model folder's scheduler_config.json (its parsed content). */
export function samplerFromConfig(config: SchedulerConfig, steps?: number): ResolvedSampler {
  return resolveSampler({ schedulerConfig: config, steps });
}
