// What a drawing allows: whether a mirror, a turn or a tilt can be seen, and from which colours it stands out.

const SEEN = 14; // mean difference in bytes over what is drawn
const ALIKE = 75; // distance of two colours
const RIM_POINTS = 96;

/** Mean difference between a drawing and itself after moving each point (from the centre), over the pixels that either covers. */
function difference({ pixels, side }, move) {
  let [sum, covered] = [0, 0];
  const middle = (side - 1) / 2;
  for (let y = 0; y < side; y += 2)
    for (let x = 0; x < side; x += 2) {
      const [u, v] = move(x - middle, y - middle).map((value) => Math.round(value + middle));
      const here = (y * side + x) * 4;
      const inside = u >= 0 && v >= 0 && u < side && v < side;
      const there = (v * side + u) * 4;
      const alpha = inside ? pixels[there + 3] : 0;
      if (pixels[here + 3] < 32 && alpha < 32) continue;
      covered++;
      for (let c = 0; c < 3; c++) sum += Math.abs(255 - pixels[here + 3] + pixels[here + c] - (255 - alpha + (inside ? pixels[there + c] : 0))) / 3;
    }
  return covered === 0 ? 0 : sum / covered;
}

/** Colours along the edge of what is drawn. */
function rim({ pixels, side }) {
  const colours = [];
  const alphaAt = (x, y) => (x < 0 || y < 0 || x >= side || y >= side ? 0 : pixels[(y * side + x) * 4 + 3]);
  for (let y = 0; y < side; y++)
    for (let x = 0; x < side; x++) {
      if (alphaAt(x, y) < 250 || Math.min(alphaAt(x - 3, y), alphaAt(x + 3, y), alphaAt(x, y - 3), alphaAt(x, y + 3)) > 20) continue;
      colours.push([...pixels.subarray((y * side + x) * 4, (y * side + x) * 4 + 3)]);
    }
  const step = Math.max(1, Math.floor(colours.length / RIM_POINTS));
  return colours.filter((_, i) => i % step === 0);
}

const COS = Math.cos(0.5);
const SIN = Math.sin(0.5);

/** `{ mirrors, turns, tilts, standsOut }` of a drawing with premultiplied pixels. */
export function factsOf(drawing) {
  const edge = rim(drawing);
  return {
    mirrors: difference(drawing, (x, y) => [-x, y]) > SEEN,
    turns: difference(drawing, (x, y) => [-x, -y]) > SEEN,
    tilts: difference(drawing, (x, y) => [x * COS - y * SIN, x * SIN + y * COS]) > SEEN,
    standsOut: (colour) => edge.filter((other) => Math.hypot(...other.map((value, c) => value - colour[c])) < ALIKE).length <= 0.35 * edge.length,
  };
}
