/**
 * MessagePack for the control payloads, which are few and small: whatever is
 * not on the path of a request. The heads have their own reader and writer.
 */
import { Violation } from "./frames.ts";

export type Value = null | boolean | number | string | Value[] | Map<string, Value>;

/** The one value in `bytes`; maps have string keys. Throws a {@link Violation} at anything else. */
export function decode(bytes: Buffer, depth = 3): Value {
  const decoder = new Decoder(bytes);
  const value = decoder.value(depth);
  if (decoder.at !== bytes.length) throw new Violation("bytes follow the MessagePack value");
  return value;
}

class Decoder {
  at = 0;
  readonly #view: DataView;

  constructor(private readonly bytes: Buffer) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  value(depth: number): Value {
    const tag = this.#view.getUint8(this.#take(1));
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.#map(tag & 0x0f, depth);
    if (tag < 0xa0) return this.#array(tag & 0x0f, depth);
    if (tag < 0xc0) return this.#string(tag & 0x1f);
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xca:
        return this.#view.getFloat32(this.#take(4));
      case 0xcb:
        return this.#view.getFloat64(this.#take(8));
      case 0xcc:
        return this.#length(1);
      case 0xcd:
        return this.#length(2);
      case 0xce:
        return this.#length(4);
      case 0xcf:
        return Number(this.#view.getBigUint64(this.#take(8)));
      case 0xd9:
        return this.#string(this.#length(1));
      case 0xda:
        return this.#string(this.#length(2));
      case 0xdb:
        return this.#string(this.#length(4));
      case 0xdc:
        return this.#array(this.#length(2), depth);
      case 0xdd:
        return this.#array(this.#length(4), depth);
      case 0xde:
        return this.#map(this.#length(2), depth);
      case 0xdf:
        return this.#map(this.#length(4), depth);
      default:
        throw new Violation(`MessagePack tag 0x${tag.toString(16)} has no place in a control payload`);
    }
  }

  /** Moves past `count` bytes and returns where they begin. */
  #take(count: number): number {
    const at = this.at;
    if (count > this.bytes.length - at) throw new Violation("the MessagePack value is truncated");
    this.at = at + count;
    return at;
  }

  #length(size: 1 | 2 | 4): number {
    const at = this.#take(size);
    return size === 1 ? this.#view.getUint8(at) : size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #string(length: number): string {
    const at = this.#take(length);
    const text = this.bytes.toString("utf8", at, at + length);
    // The mark of a byte that was not UTF-8, unless it was there before.
    if (text.includes("\ufffd") && Buffer.byteLength(text) !== length) throw new Violation("a MessagePack string is not UTF-8");
    return text;
  }

  #array(length: number, depth: number): Value[] {
    if (depth === 0) throw new Violation("MessagePack values are nested too deep");
    const values: Value[] = [];
    for (let i = 0; i < length; i++) values.push(this.value(depth - 1));
    return values;
  }

  #map(length: number, depth: number): Map<string, Value> {
    if (depth === 0) throw new Violation("MessagePack values are nested too deep");
    const values = new Map<string, Value>();
    for (let i = 0; i < length; i++) {
      const key = this.value(0);
      if (typeof key !== "string") throw new Violation("a MessagePack map has a key that is no string");
      if (values.has(key)) throw new Violation(`a MessagePack map has the key ${JSON.stringify(key)} twice`);
      values.set(key, this.value(depth - 1));
    }
    return values;
  }
}

/** One array of plain values as MessagePack. */
export function encode(values: readonly (null | boolean | number | string)[]): Buffer {
  const parts: Uint8Array[] = [Uint8Array.of(0x90 | values.length)];
  for (const value of values) {
    if (value === null) parts.push(Uint8Array.of(0xc0));
    else if (typeof value === "boolean") parts.push(Uint8Array.of(value ? 0xc3 : 0xc2));
    else if (typeof value === "number") parts.push(encodeNumber(value));
    else {
      const text = Buffer.from(value);
      const head = Buffer.allocUnsafe(5);
      head[0] = 0xdb;
      head.writeUInt32BE(text.length, 1);
      parts.push(head, text);
    }
  }
  return Buffer.concat(parts);
}

function encodeNumber(value: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(9);
  if (Number.isSafeInteger(value) && value >= 0) {
    bytes[0] = 0xcf;
    bytes.writeBigUInt64BE(BigInt(value), 1);
  } else {
    bytes[0] = 0xcb;
    bytes.writeDoubleBE(value, 1);
  }
  return bytes;
}
