/**
 * Reads request heads. The head becomes one Latin-1 string, in which a
 * character's index is its byte's, and every field is a slice of it. Header
 * values are cut out only when the app asks for them, but are checked here:
 * a malformed head ends the link, not a request.
 */
import { MAX_HEAD_BYTES, MAX_HEADER_PAIRS, Violation } from "./frames.ts";

/** Most heads fit; a longer one costs a second look. */
const FIRST_LOOK = 4096;

/** The fields of the head that was read last, so that a request costs no object for them. */
export const head = {
  flags: 0,
  method: "",
  url: "",
  /** The text of the head, and where in it the first header's name begins. */
  text: "",
  headersAt: 0,
  /** Names and values together, so twice the number of headers. */
  headerCount: 0,
  peerAddress: "",
  peerPort: 0,
  /** Bytes of the head. */
  length: 0,
};

let text = "";
let at = 0;

/** Thrown where the text ended inside a value. No error, whose stack would be looked at by every start. */
const OVERRUN = Symbol("overrun");

/** Reads the head at the start of `bytes[start..end)` into {@link head}. */
export function readRequestHead(bytes: Buffer, start: number, end: number): void {
  const size = end - start;
  for (let look = FIRST_LOOK; ; look = MAX_HEAD_BYTES) {
    text = bytes.latin1Slice(start, start + Math.min(size, look));
    try {
      readFields();
      return;
    } catch (error) {
      if (error !== OVERRUN) throw error;
      if (size <= look || look === MAX_HEAD_BYTES) throw new Violation("a request head is truncated");
    }
  }
}

function readFields(): void {
  at = 0;
  if (text.charCodeAt(0) !== 0x96) {
    if (text.length === 0) throw OVERRUN;
    throw new Violation("a request head is no array of six");
  }
  at = 1;
  head.flags = readUint();
  if (head.flags > 1) throw new Violation(`a request head has unknown flags ${head.flags}`);
  head.method = readText();
  head.url = readText();
  const count = readArrayLength();
  if (count > 2 * MAX_HEADER_PAIRS || count % 2 !== 0) throw new Violation(`a request head has ${count} names and values`);
  head.headerCount = count;
  head.headersAt = at;
  for (let i = 0; i < count; i += 2) {
    // Short ones, which nearly all are, without a call; past the end `at` is beyond the text or no number.
    const tag = text.charCodeAt(at);
    if (tag >= 0xa0 && tag < 0xc0) at += 1 + (tag & 0x1f);
    else skip(textLength());
    if (text.charCodeAt(at) === 0xc4) at += 2 + text.charCodeAt(at + 1);
    else skip(binaryLength());
    if (!(at <= text.length)) throw OVERRUN;
  }
  head.peerAddress = readText();
  head.peerPort = readUint();
  head.text = text;
  head.length = at;
}

/** Adds the headers of a head that {@link readRequestHead} has accepted to `headers`. */
export function readHeaders(source: string, from: number, count: number, headers: Headers): void {
  text = source;
  at = from;
  for (let i = 0; i < count; i += 2) {
    const name = knownName(textLength());
    headers.append(name, slice(binaryLength()));
  }
}

/** Header names seen before, by a hash of theirs. The same few come with every request: a slice each is half their cost. */
const names: string[] = new Array(256).fill("");
const LONGEST_KNOWN = 64;

/** The next `length` characters, as the string that was made of them the last time. */
function knownName(length: number): string {
  if (length === 0 || length > LONGEST_KNOWN || at + length > text.length) return slice(length);
  const slot = (length * 7 + text.charCodeAt(at) * 31 + text.charCodeAt(at + length - 1)) & 0xff;
  const known = names[slot]!;
  if (known.length === length && text.startsWith(known, at)) {
    at += length;
    return known;
  }
  // Encoded and decoded: a slice would keep its whole head in memory.
  return (names[slot] = Buffer.from(slice(length), "latin1").toString("latin1"));
}

function byte(): number {
  if (at >= text.length) throw OVERRUN;
  return text.charCodeAt(at++);
}

function bigEndian(size: number): number {
  if (at + size > text.length) throw OVERRUN;
  let value = 0;
  for (let i = 0; i < size; i++) value = value * 256 + text.charCodeAt(at++);
  return value;
}

function slice(length: number): string {
  const from = at;
  skip(length);
  return text.slice(from, at);
}

function skip(length: number): void {
  at += length;
  if (at > text.length) throw OVERRUN;
}

function readText(): string {
  return slice(textLength());
}

function textLength(): number {
  const tag = byte();
  if (tag >= 0xa0 && tag < 0xc0) return tag & 0x1f;
  if (tag === 0xd9) return bigEndian(1);
  if (tag === 0xda) return bigEndian(2);
  if (tag === 0xdb) return bigEndian(4);
  throw wrongType("a string", tag);
}

function binaryLength(): number {
  const tag = byte();
  if (tag === 0xc4) return bigEndian(1);
  if (tag === 0xc5) return bigEndian(2);
  if (tag === 0xc6) return bigEndian(4);
  throw wrongType("binary", tag);
}

function readArrayLength(): number {
  const tag = byte();
  if (tag >= 0x90 && tag < 0xa0) return tag & 0x0f;
  if (tag === 0xdc) return bigEndian(2);
  if (tag === 0xdd) return bigEndian(4);
  throw wrongType("an array", tag);
}

function readUint(): number {
  const tag = byte();
  if (tag < 0x80) return tag;
  if (tag === 0xcc) return bigEndian(1);
  if (tag === 0xcd) return bigEndian(2);
  if (tag === 0xce) return bigEndian(4);
  throw wrongType("an unsigned integer", tag);
}

function wrongType(wanted: string, tag: number): Violation {
  return new Violation(`a request head has MessagePack tag 0x${tag.toString(16)} where ${wanted} belongs`);
}
