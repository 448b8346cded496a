// Words of the category for each subgroup of Unicode's list, the more general one first.

export const CATEGORIES = {
  'face-smiling': ['face'], 'face-affection': ['face'], 'face-tongue': ['face'], 'face-hand': ['face'], 'face-neutral-skeptical': ['face'], 'face-sleepy': ['face'],
  'face-unwell': ['face'], 'face-hat': ['face'], 'face-glasses': ['face'], 'face-concerned': ['face'], 'face-negative': ['face'], 'face-costume': ['creature'],
  'cat-face': ['animal', 'cat face'], 'monkey-face': ['animal', 'monkey face'], heart: ['heart'], emotion: ['symbol'],
  'hand-fingers-open': ['hand'], 'hand-fingers-partial': ['hand'], 'hand-single-finger': ['hand'], 'hand-fingers-closed': ['hand'], hands: ['hand'], 'hand-prop': ['hand'],
  'body-parts': ['body part'], person: ['person'], 'person-gesture': ['person'], 'person-role': ['person'], 'person-fantasy': ['character'], 'person-activity': ['person'],
  'person-sport': ['athlete'], 'person-resting': ['person'], family: ['group of people'], 'person-symbol': ['symbol'],
  'animal-mammal': ['animal', 'mammal'], 'animal-bird': ['animal', 'bird'], 'animal-amphibian': ['animal', 'amphibian'], 'animal-reptile': ['animal', 'reptile'],
  'animal-marine': ['animal', 'sea animal'], 'animal-bug': ['animal', 'bug'], 'plant-flower': ['plant', 'flower'], 'plant-other': ['plant'],
  'food-fruit': ['food', 'fruit'], 'food-vegetable': ['food', 'vegetable'], 'food-prepared': ['food', 'dish'], 'food-asian': ['food', 'Asian dish'], 'food-sweet': ['food', 'dessert'],
  drink: ['drink'], dishware: ['tableware'],
  'place-map': ['map'], 'place-geographic': ['landscape'], 'place-building': ['building'], 'place-religious': ['building', 'religious building'], 'place-other': ['place'],
  'transport-ground': ['vehicle'], 'transport-water': ['vehicle', 'boat'], 'transport-air': ['vehicle', 'aircraft'], hotel: ['object'], time: ['clock'], 'sky-weather': ['sky object'],
  event: ['party object'], 'award-medal': ['award'], sport: ['sports object'], game: ['game'], 'arts-crafts': ['craft object'],
  clothing: ['clothing'], sound: ['sound object'], music: ['music object'], 'musical-instrument': ['musical instrument'], phone: ['device'], computer: ['device'],
  'light-video': ['device'], 'book-paper': ['paper object'], money: ['money'], mail: ['mail object'], writing: ['writing tool'], office: ['office object'], lock: ['lock'],
  tool: ['tool'], science: ['science tool'], medical: ['medical object'], household: ['household object'], 'other-object': ['object'],
  'transport-sign': ['sign'], warning: ['sign'], arrow: ['symbol', 'arrow'], religion: ['symbol', 'religious symbol'], zodiac: ['symbol', 'zodiac sign'],
  'av-symbol': ['symbol', 'button'], gender: ['symbol'], math: ['symbol', 'math sign'], punctuation: ['symbol', 'punctuation mark'], currency: ['symbol'],
  'other-symbol': ['symbol'], geometric: ['shape'],
};

/** Categories that are no thing one can count: "bread, food". */
export const UNCOUNTED = new Set(['food', 'clothing', 'money', 'tableware']);

/** In these subgroups many names fit their category badly; it is not said of them. */
export const EXCEPTIONS = {
  'transport-ground': /wheelchair|skate|stop|motorway|track|drum|pump|wheel|light|sign|construction|station/,
  'transport-water': /anchor|buoy/,
  'transport-air': /parachute|seat|satellite/,
  clothing: /fan|purse|handbag|bag|backpack|comb|beads|lipstick|ring|gem/,
  'place-building': /brick|rock|stack|Liberty|construction/,
  'place-map': /compass|globe/,
  money: /treasure|card|receipt|chart/,
  'animal-mammal': /paw/,
  'animal-bird': /feather|wing/,
  'animal-bug': /web|microbe/,
  'animal-marine': /shell|coral/,
  'animal-reptile': /dragon/,
  'plant-other': /nest/,
  'plant-flower': /rosette/,
  'sky-weather': /umbrella|snowman|thermometer|wave|fire|droplet|spiral|fog/,
  drink: /bottle and|clinking|ice cube|teapot|liquid/,
  'food-prepared': /salt|butter/,
};
