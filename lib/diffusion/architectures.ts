import { SeedbedError } from '../errors.js';

/** diffusers pipelines whose nets are a Stable Diffusion 1.x or 2.x UNet, VAE and CLIP text encoder. */
const SUPPORTED = /^(StableDiffusion(Img2Img|Inpaint|InpaintLegacy|SAG|PAG|AttendAndExcite|Panorama)?Pipeline(Safe)?|LatentConsistencyModel(Img2Img)?Pipeline)$/;

/** Names of other models, by the beginning of their pipeline's class. The longer name stands before the shorter. */
const OTHERS: readonly (readonly [RegExp, string])[] = [
  [/^StableDiffusionXL/, 'Stable Diffusion XL'],
  [/^StableDiffusion3/, 'Stable Diffusion 3'],
  [/^StableDiffusion(Latent)?Upscale/, 'Stable Diffusion upscaler'],
  [/^StableDiffusionDepth2Img/, 'Stable Diffusion depth-to-image'],
  [/^StableDiffusionInstructPix2Pix/, 'InstructPix2Pix'],
  [/^StableDiffusionControlNet/, 'ControlNet'],
  [/^Stable(DiffusionImageVariation|UnCLIP)/, 'Stable Diffusion image-variation'],
  [/^StableVideoDiffusion/, 'Stable Video Diffusion'],
  [/^(StableCascade|Wuerstchen)/, 'Stable Cascade'],
  [/^StableAudio/, 'Stable Audio'],
  [/^Flux2/, 'FLUX.2'],
  [/^Flux/, 'Flux'],
  [/^PixArt/, 'PixArt'],
  [/^IF(Img2Img|Inpainting|SuperResolution)?(SuperResolution)?Pipeline/, 'DeepFloyd IF'],
  [/^AltDiffusion/, 'AltDiffusion'],
  [/^(AnimateDiff|TextToVideo|CogVideoX|HunyuanVideo|LTX|Wan|Mochi|Allegro|Latte|SkyReels|SanaVideo|EasyAnimate)/, 'video'],
];

/** Throws `ERR_FILE_FORMAT` naming the model when a pipeline's class is not one of ours. */
export function checkPipeline(className: string, path: string): void {
  if (SUPPORTED.test(className)) return;
  const known = OTHERS.find(([pattern]) => pattern.test(className))?.[1];
  throw otherArchitecture(path, known === undefined ? `${className.replace(/Pipeline$/, '')} model` : `${known} model`, className);
}

export function otherArchitecture(path: string, what: string, detail?: string): SeedbedError {
  const article = /^[aeiou]|^(SD|LDM|LTX|XL)/i.test(what) && !/^u[ns]/i.test(what) ? 'an' : 'a';
  return new SeedbedError('ERR_FILE_FORMAT', `'${path}' is ${article} ${what}${detail === undefined ? '' : ` (${detail})`}; seedbed loads Stable Diffusion 1.x and 2.x`);
}

/** Throws `ERR_FILE_FORMAT` naming the kind of model that has so many input channels. */
export function checkInputChannels(channels: number, latentChannels: number, path: string): void {
  if (channels === latentChannels) return;
  const kind = ({ 5: 'depth-to-image', 7: 'upscaling', 8: 'image-editing (InstructPix2Pix)', 9: 'inpainting' } as Record<number, string>)[channels] ?? 'Stable Diffusion';
  throw otherArchitecture(path, `${kind} model with ${channels} input channels`, `a text-to-image model has ${latentChannels}`);
}
