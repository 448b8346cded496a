import { ArgumentError } from '../errors.js';
import { defined, show } from '../options.js';
import type { Sampler, SamplerOptions } from '../sampler-options.js';
import type { FeatureCache, FreeU, GenerateOptions, TokenMerging } from './generate-options.js';
import type { GenerationSettings } from './png-metadata.js';

type SettingsOptions = Pick<GenerateOptions, 'prompt' | 'negativePrompt' | 'steps' | 'sampler' | 'guidanceScale' | 'guidanceRescale' | 'seed' | 'width' | 'height' | 'strength' | 'clipSkip' | 'freeU' | 'featureCache' | 'tokenMerging'>;

/** What describes where a picture came from, and is no option of `generate`. */
const DESCRIPTIONS = ['schedule', 'model', 'dtype', 'revision', 'variant', 'imageSha256', 'maskSha256', 'other'];
const OTHER_DESCRIPTIONS = /^(Version|Model hash|Model|Created Date)$|[Hh]ashes$/;
const SIGMAS = ['normal', 'karras', 'exponential'];

/**
 * Options of `generate` from a picture's settings, as `readGenerationSettings` gives them, and the names of the settings that
 * have no counterpart here. A picture made from another one needs that one too, as `image`. Throws `ArgumentError`.
 */
export function optionsFromSettings(settings: GenerationSettings): { options: SettingsOptions; ignored: string[] } {
  const { prompt, negativePrompt, steps, guidanceScale, seed, width, height, strength } = settings;
  const { guidanceRescale, clipSkip, freeU, featureCache, tokenMerging } = settings as { guidanceRescale?: number; clipSkip?: number; freeU?: FreeU; featureCache?: FeatureCache; tokenMerging?: TokenMerging };
  const sampler = samplerOf(settings);
  const options = defined({ prompt, negativePrompt, steps: hasList(sampler) ? undefined : steps, sampler, guidanceScale, guidanceRescale, seed, width, height, strength, clipSkip, freeU, featureCache, tokenMerging });
  const other = Object.keys((settings['other'] as Record<string, unknown> | undefined) ?? {}).filter((name) => !OTHER_DESCRIPTIONS.test(name));
  const ignored = Object.keys(settings).filter((name) => !(name in options) && !DESCRIPTIONS.includes(name) && name !== 'steps');
  return { options: options as SettingsOptions, ignored: [...ignored, ...other] };
}

const hasList = (sampler: Sampler | undefined): boolean => typeof sampler === 'object' && (('timesteps' in sampler && sampler.timesteps !== undefined) || ('sigmas' in sampler && Array.isArray(sampler.sigmas)));

/** Other programs write the schedule beside the sampler's name. */
function samplerOf({ sampler, schedule }: GenerationSettings): Sampler | undefined {
  if (sampler === undefined || schedule === undefined || schedule === 'normal') return sampler as Sampler | undefined;
  const options = typeof sampler === 'string' ? { type: sampler } : sampler;
  if (schedule === 'trailing') return { ...options, spacing: schedule } as SamplerOptions;
  if (typeof schedule === 'string' && SIGMAS.includes(schedule)) return { ...options, sigmas: schedule } as SamplerOptions;
  throw new ArgumentError(`Expected one of ${[...SIGMAS, 'trailing'].join(', ')} for schedule, received ${show(schedule)}`);
}
