/** The frame reader alone: any split, every limit. */
import { describe, expect, test } from "bun:test";
import { FrameReader, Violation } from "../src/frames.ts";
import { frame, T } from "./codec.ts";
import { generator } from "./random.ts";

type Seen = [type: number, stream: number, payload: string];

function read(chunks: Uint8Array[]): Seen[] {
  const seen: Seen[] = [];
  const reader = new FrameReader((type, stream, bytes, start, end) => seen.push([type, stream, bytes.toString("latin1", start, end)]));
  for (const chunk of chunks) reader.push(Buffer.from(chunk));
  return seen;
}

const sample = Buffer.concat([
  frame(T.REQUEST, 1, Buffer.from("abc")),
  frame(T.END, 1, Buffer.alloc(0)),
  frame(T.PING, 0, Buffer.from("12345678")),
  frame(T.BODY, 70_000, Buffer.alloc(300, "x")),
  frame(T.END, 0xffff_ffff, Buffer.from("z")),
]);
const whole = read([sample]);

describe("any split of the bytes gives the same frames", () => {
  test("one byte at a time", () => {
    expect(read([...sample].map((byte) => Uint8Array.of(byte)))).toEqual(whole);
    expect(whole.map(([type]) => type)).toEqual([T.REQUEST, T.END, T.PING, T.BODY, T.END]);
  });

  test("in two at every place", () => {
    for (let at = 0; at <= sample.length; at++) expect(read([sample.subarray(0, at), sample.subarray(at)])).toEqual(whole);
  });

  test("at random places", () => {
    const random = generator(7);
    for (let round = 0; round < 500; round++) {
      const chunks: Buffer[] = [];
      for (let at = 0; at < sample.length; ) {
        const size = 1 + random(40);
        chunks.push(sample.subarray(at, at + size));
        at += size;
      }
      expect(read(chunks)).toEqual(whole);
    }
  });
});

describe("a frame that cannot be is refused by its header alone", () => {
  /** A header that promises `length` bytes which never come. */
  const header = (type: number, stream: number, length: number) => {
    const bytes = Buffer.alloc(9);
    bytes.writeUInt32BE(length, 0);
    bytes[4] = type;
    bytes.writeUInt32BE(stream, 5);
    return bytes;
  };
  const KIB = 1024;
  const limits: [name: string, type: number, stream: number, least: number, most: number][] = [
    ["REQUEST", T.REQUEST, 1, 0, 512 * KIB],
    ["BODY", T.BODY, 1, 1, 256 * KIB],
    ["END", T.END, 1, 0, 256 * KIB],
    ["ASSIGN", T.ASSIGN, 0, 0, 1024 * KIB],
    ["CREDIT", T.CREDIT, 1, 4, 4],
    ["PING", T.PING, 0, 8, 8],
    ["CANCEL", T.CANCEL, 1, 0, 64],
    ["HOOK", T.HOOK, 0, 0, 64],
  ];
  for (const [name, type, stream, least, most] of limits) {
    test(`${name} has ${least} to ${most} bytes`, () => {
      read([header(type, stream, most)]);
      expect(() => read([header(type, stream, most + 1)])).toThrow(Violation);
      expect(() => read([header(type, stream, 0xffff_ffff)])).toThrow(Violation);
      if (least > 0) expect(() => read([header(type, stream, least - 1)])).toThrow(Violation);
    });
    test(`${name} is ${stream === 0 ? "only on the link itself" : "never on the link itself"}`, () => {
      expect(() => read([header(type, stream === 0 ? 1 : 0, least)])).toThrow(Violation);
    });
  }

  test("a type that only a worker sends, or nobody", () => {
    for (const type of [0x00, T.HELLO, T.READY, T.FAILED, T.RESPONSE, T.ERROR, T.PONG, T.HOOK_DONE, 0x05, 0x17, 0x7f, 0xff]) {
      expect(() => read([header(type, 1, 0)])).toThrow(Violation);
      expect(() => read([header(type, 0, 0)])).toThrow(Violation);
    }
  });
});
