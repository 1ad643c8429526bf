/** The protocol as the tests speak it: written apart from the shim's own, so that they check each other. */

export const T = {
  HELLO: 0x01,
  ASSIGN: 0x02,
  READY: 0x03,
  FAILED: 0x04,
  REQUEST: 0x10,
  RESPONSE: 0x11,
  BODY: 0x12,
  END: 0x13,
  CREDIT: 0x14,
  CANCEL: 0x15,
  ERROR: 0x16,
  PING: 0x20,
  PONG: 0x21,
  HOOK: 0x30,
  HOOK_DONE: 0x31,
  CALL: 0x40,
  RESULT: 0x41,
} as const;

export type Packed = null | boolean | number | string | Uint8Array | Packed[] | { [key: string]: Packed };

/** A number that is packed as a float whatever its value. */
export function pack(value: Packed): Buffer {
  if (value === null) return Buffer.from([0xc0]);
  if (typeof value === "boolean") return Buffer.from([value ? 0xc3 : 0xc2]);
  if (typeof value === "number") {
    if (!Number.isInteger(value) || value < 0) {
      const bytes = Buffer.alloc(9, 0xcb);
      bytes.writeDoubleBE(value, 1);
      return bytes;
    }
    if (value < 0x80) return Buffer.from([value]);
    if (value < 0x100) return Buffer.from([0xcc, value]);
    return sized(0xcd, value);
  }
  if (typeof value === "string") {
    const bytes = Buffer.from(value);
    if (bytes.length < 32) return Buffer.concat([Buffer.from([0xa0 | bytes.length]), bytes]);
    return Buffer.concat([bytes.length < 256 ? Buffer.from([0xd9, bytes.length]) : sized(0xda, bytes.length), bytes]);
  }
  if (value instanceof Uint8Array) {
    return Buffer.concat([value.length < 256 ? Buffer.from([0xc4, value.length]) : sized(0xc5, value.length), value]);
  }
  if (Array.isArray(value)) {
    const head = value.length < 16 ? Buffer.from([0x90 | value.length]) : sized(0xdc, value.length);
    return Buffer.concat([head, ...value.map(pack)]);
  }
  const entries = Object.entries(value);
  const head = entries.length < 16 ? Buffer.from([0x80 | entries.length]) : sized(0xde, entries.length);
  return Buffer.concat([head, ...entries.flatMap(([key, one]) => [pack(key), pack(one)])]);
}

/** A 16-bit length after `tag`, or the 32-bit form (the next tag) where that is too short. */
function sized(tag: number, length: number): Buffer {
  const wide = length > 0xffff;
  const bytes = Buffer.alloc(wide ? 5 : 3);
  bytes[0] = wide ? tag + 1 : tag;
  if (wide) bytes.writeUInt32BE(length, 1);
  else bytes.writeUInt16BE(length, 1);
  return bytes;
}

/** The MessagePack value at the start of `bytes`, and how many bytes it takes. */
export function unpack(bytes: Buffer): { value: Packed; size: number } {
  let at = 0;
  const u8 = () => bytes[at++]!;
  const uint = (size: number) => {
    at += size;
    return bytes.readUIntBE(at - size, size);
  };
  const take = (size: number) => {
    if (at + size > bytes.length) throw new Error("truncated");
    at += size;
    return bytes.subarray(at - size, at);
  };
  const next = (): Packed => {
    const tag = u8();
    if (tag < 0x80) return tag;
    if (tag < 0x90) return map(tag & 15);
    if (tag < 0xa0) return list(tag & 15);
    if (tag < 0xc0) return take(tag & 31).toString();
    switch (tag) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return take(uint(1));
      case 0xc5: return take(uint(2));
      case 0xc6: return take(uint(4));
      case 0xcb: return take(8).readDoubleBE();
      case 0xcc: return uint(1);
      case 0xcd: return uint(2);
      case 0xce: return uint(4);
      case 0xcf: return Number(take(8).readBigUInt64BE());
      case 0xd9: return take(uint(1)).toString();
      case 0xda: return take(uint(2)).toString();
      case 0xdb: return take(uint(4)).toString();
      case 0xdc: return list(uint(2));
      case 0xdd: return list(uint(4));
      case 0xde: return map(uint(2));
      default: throw new Error(`tag 0x${tag.toString(16)}`);
    }
  };
  const list = (length: number) => Array.from({ length }, next);
  const map = (length: number) => Object.fromEntries(Array.from({ length }, () => [next() as string, next()]));
  const value = next();
  return { value, size: at };
}

export interface Frame {
  type: number;
  stream: number;
  payload: Buffer;
}

export function frame(type: number, stream: number, payload: Uint8Array): Buffer {
  const header = Buffer.alloc(9);
  header.writeUInt32BE(payload.length, 0);
  header[4] = type;
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** The whole frames at the start of `bytes`, and what is left. */
export function frames(bytes: Buffer): { frames: Frame[]; rest: Buffer } {
  const found: Frame[] = [];
  let at = 0;
  while (bytes.length - at >= 9) {
    const end = at + 9 + bytes.readUInt32BE(at);
    if (end > bytes.length) break;
    found.push({ type: bytes[at + 4]!, stream: bytes.readUInt32BE(at + 5), payload: bytes.subarray(at + 9, end) });
    at = end;
  }
  return { frames: found, rest: bytes.subarray(at) };
}
