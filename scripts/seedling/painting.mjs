// Paints one picture: a background, then the drawing as often as its boxes say. Floats inside, bytes at the end.

import { WHITE } from './tables/colours.mjs';
import { PIXELS } from './variations.mjs';

const LOBES = 2;
const STEPS = 512;

/** Lanczos' kernel with two lobes, as a table of STEPS values a pixel. */
const KERNEL = Float64Array.from({ length: LOBES * STEPS }, (_, i) => {
  const x = (Math.PI * i) / STEPS;
  return i === 0 ? 1 : (LOBES * Math.sin(x) * Math.sin(x / LOBES)) / (x * x);
});
const kernel = (x) => {
  const step = (Math.abs(x) * STEPS + 0.5) | 0;
  return step < LOBES * STEPS ? KERNEL[step] : 0;
};

const mix = (a, b, share) => a.map((value, c) => value + (b[c] - value) * share);

/** The colour of each pixel of a background. */
function shader(background, texture) {
  if (background === undefined) return () => WHITE;
  const { type, colours, period } = background;
  const [first, second] = colours;
  const half = period / 2;
  switch (type) {
    case 'plain':
      return () => first;
    case 'gradient':
      return (x, y) => mix(first, second, y / (PIXELS - 1));
    case 'striped':
      return (x) => (x % period < half ? first : second);
    case 'checkered':
      return (x, y) => (x % period < half === y % period < half ? first : second);
    case 'dotted':
      return (x, y) => (Math.hypot((x % period) - half, (y % period) - half) < period * 0.3 ? second : first);
    case 'fractal': {
      const [dark, light] = [mix(first, [0, 0, 0], 0.25), mix(first, WHITE, 0.4)];
      return (x, y) => mix(dark, light, texture[y * PIXELS + x] / 255);
    }
    default:
      throw new Error(`Expected a known background, found '${type}'`);
  }
}

/** For each of `count` output pixels from `first`: which source pixels count, and how much. `at` is the middle of the drawing. */
function taps(first, count, at, scale, side, flipped) {
  const wide = Math.max(1, scale);
  return Array.from({ length: count }, (_, k) => {
    const centre = (first + k + 0.5 - at) * scale + side / 2;
    const begin = Math.ceil(centre - LOBES * wide - 0.5);
    const weights = [];
    for (let i = begin; i <= centre + LOBES * wide - 0.5; i++) weights.push(kernel((i + 0.5 - centre) / wide));
    const sum = weights.reduce((a, b) => a + b, 0);
    const inside = weights.map((weight, i) => [begin + i, weight / sum]).filter(([i, weight]) => i >= 0 && i < side && weight !== 0);
    return { from: Int32Array.from(inside, ([i]) => (flipped ? side - 1 - i : i)), weights: Float64Array.from(inside, ([, weight]) => weight) };
  });
}

/** Pixels of a frame that a box of this extent can touch: the first, and how many. */
function span(at, extent, frame) {
  const first = Math.max(0, Math.floor(at - extent));
  return [first, Math.max(0, Math.min(frame, Math.ceil(at + extent)) - first)];
}

/** Writes RGBA value `at` of `target`: the weighted sum of the values `first + from[t] * step` of `source`. */
function weigh(source, first, step, from, weights, target, at) {
  let [red, green, blue, alpha] = [0, 0, 0, 0];
  for (let t = 0; t < from.length; t++) {
    const weight = weights[t];
    const i = (first + from[t] * step) * 4;
    red += weight * source[i];
    green += weight * source[i + 1];
    blue += weight * source[i + 2];
    alpha += weight * source[i + 3];
  }
  target[at * 4] = red;
  target[at * 4 + 1] = green;
  target[at * 4 + 2] = blue;
  target[at * 4 + 3] = alpha;
}

/** The drawing upright, or turned by half a circle: rows first, then columns. Calls `put(x, y, r, g, b, a)`. */
function resample({ pixels, side }, [x0, y0, size], { mirrored, upsideDown }, put, frame = PIXELS) {
  const scale = side / size;
  const extent = size / 2 + LOBES;
  const [[left, width], [top, height]] = [span(x0, extent, frame), span(y0, extent, frame)];
  const columns = taps(left, width, x0, scale, side, mirrored !== upsideDown);
  const rows = taps(top, height, y0, scale, side, upsideDown);
  const across = new Float64Array(side * width * 4);
  for (let k = 0; k < width; k++) {
    const { from, weights } = columns[k];
    for (let j = 0; j < side; j++) weigh(pixels, j * side, 1, from, weights, across, j * width + k);
  }
  const sum = new Float64Array(4);
  for (let k = 0; k < height; k++) {
    const { from, weights } = rows[k];
    for (let i = 0; i < width; i++) {
      weigh(across, i, width, from, weights, sum, 0);
      put(left + i, top + k, sum[0], sum[1], sum[2], sum[3]);
    }
  }
}

/** Pixels of a tilted drawing per pixel of the picture: fewer are soft, more are slow. */
const FINER = 1.5;

/** The drawing at most FINER times as large as it will be. */
function shrink(drawing, size) {
  const side = Math.ceil(size * FINER);
  if (side >= drawing.side) return drawing;
  const pixels = new Float64Array(side * side * 4);
  const put = (x, y, ...colour) => pixels.set(colour, (y * side + x) * 4);
  resample(drawing, [side / 2, side / 2, side], { mirrored: false, upsideDown: false }, put, side);
  return { pixels, side };
}

/** The drawing tilted: the same kernel, along the picture's axes. */
function resampleTilted(drawing, [x0, y0, size, angle], { mirrored }, put) {
  const { pixels, side } = shrink(drawing, size);
  const scale = side / size; // drawing's pixels per picture's pixel
  const wide = Math.max(1, scale);
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  const turned = Math.abs(cos) + Math.abs(sin);
  const reach = LOBES * wide * turned;
  const extent = (size * turned) / 2 + LOBES;
  const [[left, width], [top, height]] = [span(x0, extent, PIXELS), span(y0, extent, PIXELS)];
  for (let y = top; y < top + height; y++)
    for (let x = left; x < left + width; x++) {
      const [dx, dy] = [x + 0.5 - x0, y + 0.5 - y0];
      const u = (dx * cos + dy * sin) * scale + side / 2;
      const v = (dy * cos - dx * sin) * scale + side / 2;
      if (Math.min(u, v) < -reach || Math.max(u, v) > side + reach) continue;
      let [red, green, blue, alpha, sum] = [0, 0, 0, 0, 0];
      for (let j = Math.ceil(v - reach - 0.5); j <= v + reach - 0.5; j++) {
        const b = (j + 0.5 - v) / wide;
        for (let i = Math.ceil(u - reach - 0.5); i <= u + reach - 0.5; i++) {
          const a = (i + 0.5 - u) / wide;
          const along = kernel(a * cos - b * sin);
          if (along === 0) continue;
          const weight = along * kernel(a * sin + b * cos);
          sum += weight;
          if (j < 0 || j >= side || i < 0 || i >= side) continue;
          const at = (j * side + (mirrored ? side - 1 - i : i)) * 4;
          red += weight * pixels[at];
          green += weight * pixels[at + 1];
          blue += weight * pixels[at + 2];
          alpha += weight * pixels[at + 3];
        }
      }
      if (sum !== 0) put(x, y, red / sum, green / sum, blue / sum, alpha / sum);
    }
}

/** One drawing over the canvas: its pixels are premultiplied RGBA bytes of `side` x `side`. */
function paint(canvas, drawing, box, { mirrored = false, upsideDown = false }) {
  const put = (x, y, red, green, blue, alpha) => {
    const under = 1 - alpha / 255; // not clamped: white on white stays white where the kernel overshoots
    const at = (y * PIXELS + x) * 3;
    canvas[at] = canvas[at] * under + red;
    canvas[at + 1] = canvas[at + 1] * under + green;
    canvas[at + 2] = canvas[at + 2] * under + blue;
  };
  const tilted = !upsideDown && box[3] !== 0;
  (tilted ? resampleTilted : resample)(drawing, box, { mirrored, upsideDown }, put);
}

/** A picture's bytes, [64, 64, 3]. `drawing` is `{ pixels, side }`; `texture` the bytes of a fractal background. */
export function paintPicture(variation, drawing, texture) {
  const canvas = new Float64Array(PIXELS * PIXELS * 3);
  const colourAt = variation.ground === 'black' ? () => [0, 0, 0] : shader(variation.background, texture);
  for (let y = 0; y < PIXELS; y++)
    for (let x = 0; x < PIXELS; x++) {
      const colour = colourAt(x, y);
      for (let c = 0; c < 3; c++) canvas[(y * PIXELS + x) * 3 + c] = colour[c];
    }
  for (const box of variation.boxes) paint(canvas, drawing, box, variation);
  const bytes = new Uint8ClampedArray(canvas); // rounds to even at the half, clamps
  return new Uint8Array(bytes.buffer);
}
