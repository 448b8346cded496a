// Colours of backgrounds, and how many bytes each may wander from here.

export const COLOURS = {
  red: [220, 45, 45],
  orange: [245, 140, 40],
  yellow: [250, 215, 65],
  green: [65, 165, 75],
  blue: [45, 95, 215],
  purple: [135, 70, 185],
  pink: [245, 150, 195],
  brown: [135, 90, 55],
  black: [22, 22, 25],
  grey: [150, 150, 155],
  'light blue': [165, 215, 245],
};
export const WHITE = [255, 255, 255];
export const WANDER = 12;
