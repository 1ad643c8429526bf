/** Plain values as MessagePack: the arguments and answers of calls, and the bodies of hooks. See the limits in PROTOCOL.md. */
import { Violation } from "../frames.ts";

const MAX_DEPTH = 64;
const MAX_VALUES = 64 * 1024;
const TRUNCATED = "a MessagePack value is truncated";
const BIGGEST = 2n ** 64n;

/** Written to by {@link put}; grown as needed. */
let out = Buffer.alloc(0);
let at = 0;
let values = 0;

/**
 * A plain value: null, booleans, numbers, bigints of 64 bits, strings, bytes, arrays, plain objects, and whatever has a `toJSON`, as a
 * `Date` has. `undefined` is null, and left out of objects.
 *
 * @throws TypeError at anything else, RangeError at what is nested too deeply or has too many parts
 */
export function encode(value: unknown): Buffer {
  out = Buffer.allocUnsafe(512);
  at = values = 0;
  put(value, MAX_DEPTH);
  const bytes = out.subarray(0, at);
  out = Buffer.alloc(0);
  return bytes;
}

function put(value: unknown, depth: number): void {
  if (++values > MAX_VALUES) throw new RangeError(`A value may have ${MAX_VALUES} parts`);
  switch (typeof value) {
    case "undefined":
      return putByte(0xc0);
    case "boolean":
      return putByte(value ? 0xc3 : 0xc2);
    case "number":
      return putNumber(value);
    case "bigint":
      return putBigInt(value);
    case "string":
      return putText(value);
    case "object":
      return value === null ? putByte(0xc0) : putObject(value, depth);
    default:
      throw new TypeError(`A ${typeof value} cannot be sent`);
  }
}

function putObject(value: object, depth: number): void {
  if (value instanceof ArrayBuffer) return putBytes(new Uint8Array(value));
  if (ArrayBuffer.isView(value)) return putBytes(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  if (typeof (value as { toJSON?: unknown }).toJSON === "function") {
    values--;
    if (depth === 0) throw tooDeep();
    return put((value as { toJSON(): unknown }).toJSON(), depth - 1);
  }
  if (depth === 0) throw tooDeep();
  if (Array.isArray(value)) {
    putLength(0x90, 16, -1, 0xdc, 0xdd, value.length);
    for (const one of value) put(one, depth - 1);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // One of another realm has another `Object`, above which there is nothing either.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    throw new TypeError(`${Bun.inspect(value, { depth: 0 }).slice(0, 100)} is no plain object and cannot be sent`);
  }
  const entries = Object.entries(value).filter(([, one]) => one !== undefined);
  putLength(0x80, 16, -1, 0xde, 0xdf, entries.length);
  for (const [key, one] of entries) {
    putText(key);
    put(one, depth - 1);
  }
}

function tooDeep(): RangeError {
  return new RangeError(`A value may be nested ${MAX_DEPTH} levels deep, and not contain itself`);
}

function room(size: number): void {
  if (at + size <= out.length) return;
  const larger = Buffer.allocUnsafe(Math.max(2 * out.length, at + size));
  out.copy(larger, 0, 0, at);
  out = larger;
}

function putByte(byte: number): void {
  room(1);
  out[at++] = byte;
}

function putNumber(value: number): void {
  room(9);
  if (!Number.isSafeInteger(value)) {
    out[at] = 0xcb;
    out.writeDoubleBE(value, at + 1);
    at += 9;
  } else if (value >= -32 && value < 0x80) out[at++] = value;
  else if (value < 0 || value > 0xffff_ffff) putBigInt(BigInt(value));
  else if (value < 0x100) {
    out[at++] = 0xcc;
    out[at++] = value;
  } else {
    out[at] = 0xce;
    out.writeUInt32BE(value, at + 1);
    at += 5;
  }
}

function putBigInt(value: bigint): void {
  if (value >= BIGGEST || value < -BIGGEST / 2n) throw new RangeError("A bigint of more than 64 bits cannot be sent");
  room(9);
  out[at] = value < 0n ? 0xd3 : 0xcf;
  out.writeBigUInt64BE(BigInt.asUintN(64, value), at + 1);
  at += 9;
}

function putText(text: string): void {
  const length = Buffer.byteLength(text);
  putLength(0xa0, 32, 0xd9, 0xda, 0xdb, length);
  room(length);
  at += out.utf8Write(text, at);
}

function putBytes(bytes: Uint8Array): void {
  putLength(0, 0, 0xc4, 0xc5, 0xc6, bytes.length);
  room(bytes.length);
  out.set(bytes, at);
  at += bytes.length;
}

/** The shortest form of a length; a negative tag: there is none of that width. */
function putLength(fix: number, fixes: number, tag8: number, tag16: number, tag32: number, length: number): void {
  room(5);
  if (length < fixes) out[at++] = fix | length;
  else if (length < 0x100 && tag8 >= 0) {
    out[at++] = tag8;
    out[at++] = length;
  } else if (length < 0x10000) {
    out[at] = tag16;
    at = out.writeUInt16BE(length, at + 1);
  } else {
    out[at] = tag32;
    at = out.writeUInt32BE(length, at + 1);
  }
}

/** The one value that `bytes` are. Whole numbers that a number cannot hold are bigints. @throws Violation */
export function decode(bytes: Buffer): unknown {
  const reader = new Reader(bytes);
  const value = reader.value(MAX_DEPTH);
  if (reader.at !== bytes.length) throw new Violation("bytes follow the MessagePack value");
  return value;
}

class Reader {
  at = 0;
  #values = 0;

  constructor(private readonly bytes: Buffer) {}

  value(depth: number): unknown {
    if (++this.#values > MAX_VALUES) throw new Violation("a MessagePack value has too many parts");
    const tag = this.bytes[this.#take(1)]!;
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.#map(tag & 0x0f, depth);
    if (tag < 0xa0) return this.#array(tag & 0x0f, depth);
    if (tag < 0xc0) return this.#text(tag & 0x1f);
    if (tag >= 0xe0) return tag - 0x100;
    const { bytes } = this;
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
      case 0xc3:
        return tag === 0xc3;
      case 0xc4:
      case 0xc5:
      case 0xc6: {
        const length = this.#uint(1 << (tag - 0xc4));
        const start = this.#take(length);
        return new Uint8Array(bytes.subarray(start, start + length));
      }
      case 0xca:
        return bytes.readFloatBE(this.#take(4));
      case 0xcb:
        return bytes.readDoubleBE(this.#take(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#uint(1 << (tag - 0xcc));
      case 0xcf:
        return narrow(bytes.readBigUInt64BE(this.#take(8)));
      case 0xd0:
        return bytes.readInt8(this.#take(1));
      case 0xd1:
        return bytes.readInt16BE(this.#take(2));
      case 0xd2:
        return bytes.readInt32BE(this.#take(4));
      case 0xd3:
        return narrow(bytes.readBigInt64BE(this.#take(8)));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#uint(1 << (tag - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(2 << (tag - 0xdc)), depth);
      case 0xde:
      case 0xdf:
        return this.#map(this.#uint(2 << (tag - 0xde)), depth);
      default:
        throw new Violation(`MessagePack tag 0x${tag.toString(16)} has no place here`);
    }
  }

  #array(length: number, depth: number): unknown[] {
    if (depth === 0) throw new Violation("a MessagePack value is nested too deeply");
    const array: unknown[] = [];
    for (let i = 0; i < length; i++) array.push(this.value(depth - 1));
    return array;
  }

  #map(length: number, depth: number): Record<string, unknown> {
    if (depth === 0) throw new Violation("a MessagePack value is nested too deeply");
    const map: Record<string, unknown> = {};
    for (let i = 0; i < length; i++) {
      const key = this.value(0);
      if (typeof key !== "string") throw new Violation("a MessagePack map has a key that is no string");
      this.#values--;
      const value = this.value(depth - 1);
      // An assignment to it would change the object's prototype.
      if (key === "__proto__") Object.defineProperty(map, key, { value, writable: true, enumerable: true, configurable: true });
      else map[key] = value;
    }
    return map;
  }

  #text(length: number): string {
    const start = this.#take(length);
    return this.bytes.utf8Slice(start, start + length);
  }

  #uint(width: number): number {
    return this.bytes.readUIntBE(this.#take(width), width);
  }

  /** Where the next `size` bytes begin. */
  #take(size: number): number {
    const start = this.at;
    if (size > this.bytes.length - start) throw new Violation(TRUNCATED);
    this.at += size;
    return start;
  }
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
