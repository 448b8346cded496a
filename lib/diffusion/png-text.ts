import { crc32, inflateSync } from 'node:zlib';
import { SeedbedError } from '../errors.js';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const FRAME = 12; // length, type, check sum
const LONGEST_KEYWORD = 79;
const LARGEST_TEXT = 2 ** 24; // a compressed text that grows beyond this is an attack

interface Chunk {
  type: string;
  data: Buffer;
  /** Where the chunk ends in the file. */
  end: number;
}

/** The chunks of a PNG file (specification, section 5.3), with their check sums checked. Throws `ERR_IMAGE`. */
function* chunks(png: Buffer): Generator<Chunk, void, void> {
  if (!png.subarray(0, SIGNATURE.length).equals(SIGNATURE)) throw new SeedbedError('ERR_IMAGE', 'Expected a PNG picture, found another kind of file');
  for (let at = SIGNATURE.length; at < png.length; ) {
    const length = at + FRAME <= png.length ? png.readUInt32BE(at) : Infinity;
    const end = at + FRAME + length;
    if (end > png.length) throw new SeedbedError('ERR_IMAGE', `Expected a whole PNG picture, found its end cut off at byte ${png.length}`);
    const type = png.toString('latin1', at + 4, at + 8);
    if (crc32(png.subarray(at + 4, end - 4)) !== png.readUInt32BE(end - 4)) throw new SeedbedError('ERR_IMAGE', `Expected a whole PNG picture, found a damaged part '${type}' at byte ${at}`);
    yield { type, data: png.subarray(at + 8, end - 4), end };
    if (type === 'IEND') return;
    at = end;
  }
}

function encodeChunk(type: string, data: Buffer): Buffer {
  const chunk = Buffer.alloc(FRAME + data.length);
  chunk.writeUInt32BE(data.length, 0);
  chunk.write(type, 4, 'latin1');
  data.copy(chunk, 8);
  chunk.writeUInt32BE(crc32(chunk.subarray(4, 8 + data.length)), 8 + data.length);
  return chunk;
}

/** A text that tEXt may hold: Latin-1 without control characters but the line feed. Others go to iTXt, which is UTF-8. */
const isPlain = (text: string): boolean => /^[\n\x20-\x7e\xa0-\xff]*$/.test(text);

function encodeText(keyword: string, text: string): Buffer {
  if (!/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(keyword) || keyword.length > LONGEST_KEYWORD) throw new SeedbedError('ERR_INVALID_ARGUMENT', `Expected a keyword of 1 to ${LONGEST_KEYWORD} plain characters, received '${keyword}'`);
  const clean = text.replaceAll('\0', ''); // the format has no way to say it
  if (isPlain(clean)) return encodeChunk('tEXt', Buffer.from(`${keyword}\0${clean}`, 'latin1'));
  return encodeChunk('iTXt', Buffer.concat([Buffer.from(`${keyword}\0\0\0\0\0`, 'latin1'), Buffer.from(clean, 'utf8')])); // not compressed, no language
}

/** The same picture with texts in it, by keyword; texts of these keywords that were there go. Throws `ERR_IMAGE`. */
export function writePngTexts(png: Uint8Array, texts: Readonly<Record<string, string>>): Buffer {
  const file = Buffer.from(png.buffer, png.byteOffset, png.byteLength);
  const parts: Buffer[] = [];
  let begin = 0;
  for (const chunk of chunks(file)) {
    const replaced = Object.hasOwn(texts, decodeText(chunk)?.keyword ?? '');
    if (!replaced) parts.push(file.subarray(begin, chunk.end));
    begin = chunk.end;
    if (chunk.type === 'IHDR') for (const [keyword, text] of Object.entries(texts)) parts.push(encodeText(keyword, text));
  }
  return Buffer.concat(parts);
}

/** All texts of a PNG picture, by keyword; the last of a keyword counts. Throws `ERR_IMAGE`. */
export function readPngTexts(png: Uint8Array): Record<string, string> {
  const texts = new Map<string, string>();
  for (const chunk of chunks(Buffer.from(png.buffer, png.byteOffset, png.byteLength))) {
    const entry = decodeText(chunk);
    if (entry !== undefined) texts.set(entry.keyword, entry.text());
  }
  return Object.fromEntries(texts);
}

/** The text in a chunk; undefined for other chunks and malformed ones. */
function decodeText({ type, data }: Chunk): { keyword: string; text: () => string } | undefined {
  const [keyword, rest] = cut(data);
  if (rest === undefined) return undefined;
  switch (type) {
    case 'tEXt':
      return { keyword, text: () => rest.toString('latin1') };
    case 'zTXt':
      return { keyword, text: () => inflate(rest.subarray(1)).toString('latin1') };
    case 'iTXt': {
      const body = cut(cut(rest.subarray(2))[1])[1]; // after compression flag and method, language, translated keyword
      return body === undefined ? undefined : { keyword, text: () => (rest[0] === 1 ? inflate(body) : body).toString('utf8') };
    }
    default:
      return undefined;
  }
}

/** What stands before the first zero byte, and after it. */
function cut(data: Buffer | undefined): [string, Buffer | undefined] {
  const zero = data?.indexOf(0) ?? -1;
  return data === undefined || zero < 0 ? ['', undefined] : [data.toString('latin1', 0, zero), data.subarray(zero + 1)];
}

function inflate(data: Buffer): Buffer {
  try {
    return inflateSync(data, { maxOutputLength: LARGEST_TEXT });
  } catch (error) {
    throw new SeedbedError('ERR_IMAGE', 'Expected readable texts in the PNG picture, found a damaged one', { cause: error });
  }
}
