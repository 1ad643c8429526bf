/** MessagePack for the control payloads, which are few and small. The heads have their own reader and writer. */
import { Violation } from "./frames.ts";

export type Value = string | boolean | Buffer | Map<string, string | boolean>;

const TRUNCATED = "the MessagePack value is truncated";

/**
 * The one value in `bytes`: a map of strings to strings, booleans and, `deep`, bytes and further such maps. Throws a
 * {@link Violation} at anything else.
 *
 * One loop reads keys and values alike: a function that is called some twenty times is compiled to machine code, on
 * threads that are made for it, and that costs a worker's start more than all of its reading.
 */
export function decodeMap(bytes: Buffer): Map<string, Value> {
  const cursor = new Cursor(bytes);
  const map = cursor.map(true);
  if (cursor.at !== bytes.length) throw new Violation("bytes follow the MessagePack value");
  return map;
}

class Cursor {
  at = 0;

  constructor(private readonly bytes: Buffer) {}

  map(deep: true): Map<string, Value>;
  map(deep: false): Map<string, string | boolean>;
  map(deep: boolean): Map<string, Value> {
    const { bytes } = this;
    const size = bytes.length;
    const count = this.#count();
    let { at } = this;
    const map = new Map<string, Value>();
    let key = "";
    for (let i = 0; i < 2 * count; i++) {
      const isKey = i % 2 === 0;
      // Past the end there is no tag, and lengths are beyond it.
      const tag = bytes[at++];
      let length = -1;
      if (tag === undefined) throw new Violation(TRUNCATED);
      else if (tag >= 0xa0 && tag < 0xc0) length = tag & 0x1f;
      else if (tag === 0xd9) length = bytes[at++] ?? size;
      else if (tag === 0xda) length = at + 2 > size ? size : bytes.readUInt16BE(at);
      else if (tag === 0xdb) length = at + 4 > size ? size : bytes.readUInt32BE(at);
      if (tag === 0xda) at += 2;
      else if (tag === 0xdb) at += 4;
      let value: Value;
      if (length >= 0) {
        if (length > size - at) throw new Violation(TRUNCATED);
        value = bytes.utf8Slice(at, at + length);
        // The mark of a byte that was not UTF-8, unless it was there before.
        if (value.includes("\ufffd") && Buffer.byteLength(value) !== length) throw new Violation("a MessagePack string is not UTF-8");
        at += length;
      } else if (isKey) {
        throw new Violation("a MessagePack map has a key that is no string");
      } else if (tag === 0xc2 || tag === 0xc3) {
        value = tag === 0xc3;
      } else if (deep && tag >= 0xc4 && tag <= 0xc6) {
        const start = at + (1 << (tag - 0xc4));
        if (start > size || (length = bytes.readUIntBE(at, start - at)) > size - start) throw new Violation(TRUNCATED);
        value = bytes.subarray(start, (at = start + length));
      } else if (deep) {
        this.at = at - 1;
        value = this.map(false) as Map<string, string | boolean>;
        at = this.at;
      } else {
        throw new Violation(`MessagePack tag 0x${tag.toString(16)} has no place here`);
      }
      if (!isKey) map.set(key, value);
      else if (map.has((key = value as string))) throw new Violation(`a MessagePack map has the key ${JSON.stringify(key)} twice`);
    }
    this.at = at;
    return map;
  }

  /** The number of a map's entries. */
  #count(): number {
    const { bytes, at } = this;
    const tag = bytes[at];
    if (tag === undefined) throw new Violation(TRUNCATED);
    if (tag >= 0x80 && tag < 0x90) {
      this.at = at + 1;
      return tag & 0x0f;
    }
    const width = tag === 0xde ? 2 : tag === 0xdf ? 4 : 0;
    if (width === 0) throw new Violation(`MessagePack tag 0x${tag.toString(16)} has no place here`);
    if (at + 1 + width > bytes.length) throw new Violation(TRUNCATED);
    this.at = at + 1 + width;
    return width === 2 ? bytes.readUInt16BE(at + 1) : bytes.readUInt32BE(at + 1);
  }
}

/** The one small number of a CANCEL or a HOOK: `[number]` in its shortest form. */
export function decodeNumber(bytes: Buffer, start: number, end: number): number {
  if (end - start !== 2 || bytes[start] !== 0x91 || bytes[start + 1]! >= 0x80) throw new Violation("a control payload is no array of one small number");
  return bytes[start + 1]!;
}

/** One array of plain values as MessagePack. Numbers are whole, from 0 to 2⁵³ − 1. */
export function encode(values: readonly (null | boolean | number | string)[]): Buffer {
  let size = 1;
  for (const value of values) size += typeof value === "string" ? 5 + 3 * value.length : 9;
  const bytes = Buffer.allocUnsafe(size);
  let at = 0;
  const put32 = (number: number) => {
    for (let shift = 24; shift >= 0; shift -= 8) bytes[at++] = number >>> shift;
  };
  bytes[at++] = 0x90 | values.length;
  for (const value of values) {
    if (value === null) bytes[at++] = 0xc0;
    else if (typeof value === "boolean") bytes[at++] = value ? 0xc3 : 0xc2;
    else if (typeof value === "number") {
      bytes[at++] = 0xcf;
      put32(Math.floor(value / 2 ** 32));
      put32(value);
    } else {
      bytes[at++] = 0xdb;
      const length = bytes.utf8Write(value, at + 4);
      put32(length);
      at += length;
    }
  }
  return bytes.subarray(0, at);
}
