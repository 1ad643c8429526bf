/** Plain values as MessagePack, held against the tests' own reader and writer. */
import { describe, expect, test } from "bun:test";
import { Violation } from "../src/frames.ts";
import { decode, encode } from "../src/plugin/values.ts";
import { pack, type Packed, unpack } from "./codec.ts";
import { generator } from "./random.ts";

const hex = (value: unknown) => encode(value).toString("hex");

test("every kind of value has its form", () => {
  for (const [value, bytes] of [
    [null, "c0"],
    [undefined, "c0"],
    [false, "c2"],
    [true, "c3"],
    [0, "00"],
    [127, "7f"],
    [-1, "ff"],
    [-32, "e0"],
    [-33, "d3ffffffffffffffdf"],
    [128, "cc80"],
    [256, "ce00000100"],
    [2 ** 40, "cf0000010000000000"],
    [2 ** 53, "cb4340000000000000"],
    [1.5, "cb3ff8000000000000"],
    [Number.NaN, "cb7ff8000000000000"],
    [-1n, "d3ffffffffffffffff"],
    [2n ** 64n - 1n, "cfffffffffffffffff"],
    ["é", "a2c3a9"],
    [new Uint8Array([1, 2]), "c4020102"],
    [new Uint16Array([1]), "c4020100"],
    [new ArrayBuffer(1), "c40100"],
    [Buffer.of(7), "c40107"],
    [[1, [null]], "920191c0"],
    [[undefined, , 1], "93c0c001"], // eslint-disable-line no-sparse-arrays
    [{ a: 1, b: undefined, c: null }, "82a16101a163c0"],
    [Object.assign(Object.create(null), { a: 1 }), "81a16101"],
    [new Date(0), pack("1970-01-01T00:00:00.000Z").toString("hex")],
    [{ at: new URL("http://a/") }, pack({ at: "http://a/" }).toString("hex")],
  ] as [unknown, string][]) {
    expect(hex(value)).toBe(bytes);
  }
});

test("lengths have the shortest form, and are read back", () => {
  for (const length of [0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536]) {
    expect(decode(encode("x".repeat(length)))).toBe("x".repeat(length));
    expect(decode(encode("é".repeat(length)))).toBe("é".repeat(length));
    expect((decode(encode(new Uint8Array(length))) as Uint8Array).length).toBe(length);
    if (length < 65_536) expect((decode(encode(Array(length).fill(1))) as unknown[]).length).toBe(length);
  }
  const keys = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`k${i}`, i]));
  expect(decode(encode(keys))).toEqual(keys);
});

describe("what cannot be sent", () => {
  for (const [name, value, error] of [
    ["a function", () => {}, TypeError],
    ["a symbol", Symbol("s"), TypeError],
    ["a map", new Map(), TypeError],
    ["a set", [new Set()], TypeError],
    ["an instance", { a: new (class A {})() }, TypeError],
    ["an error", new Error("e"), TypeError],
    ["a bigint that is too large", 2n ** 64n, RangeError],
    ["a bigint that is too small", -(2n ** 63n) - 1n, RangeError],
    ["too many parts", Array(70_000).fill(0), RangeError],
  ] as const) {
    test(`${name} is refused`, () => expect(() => encode(value)).toThrow(error));
  }

  test("is nested too deeply, or contains itself", () => {
    const nested = (depth: number) => Array.from({ length: depth - 1 }).reduce<unknown[]>((inner) => [inner], []);
    expect(() => encode(nested(65))).toThrow(RangeError);
    expect(decode(encode(nested(64)))).toEqual(nested(64));
    const self: Record<string, unknown> = {};
    self.self = self;
    expect(() => encode(self)).toThrow(RangeError);
    const endless = { toJSON: (): unknown => endless };
    expect(() => encode(endless)).toThrow(RangeError);
  });
});

test("whole numbers are numbers as long as a number can hold them", () => {
  for (const [bytes, value] of [
    ["cf001fffffffffffff", 2 ** 53 - 1],
    ["cf0020000000000000", 2n ** 53n],
    ["d3ffe0000000000001", -(2 ** 53) + 1],
    ["d38000000000000000", -(2n ** 63n)],
    ["d0ff", -1],
    ["d1ff00", -256],
    ["d2ffffff00", -256],
    ["ca3fc00000", 1.5],
  ] as const) {
    expect(decode(Buffer.from(bytes, "hex"))).toBe(value);
  }
});

test("a key __proto__ is a key", () => {
  const value = decode(pack({ ["__proto__"]: { evil: true } } as Packed)) as Record<string, unknown>;
  expect(Object.keys(value)).toEqual(["__proto__"]);
  expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
  expect((value as { evil?: unknown }).evil).toBeUndefined();
});

describe("what is no value is a violation", () => {
  for (const bytes of ["", "c1", "c7000a", "d40000", "92c0", "a3ff", "c403ff", "dc", "df0000000101c0", "8101c0", "c0c0", "ddffffffff", "dbffffffff", "c6ffffffff", "dfffffffff"]) {
    test(bytes, () => expect(() => decode(Buffer.from(bytes, "hex"))).toThrow(Violation));
  }
  test("nested too deeply", () => expect(() => decode(Buffer.alloc(65, 0x91))).toThrow("too deeply"));
  test("too many parts", () => expect(() => decode(Buffer.concat([Buffer.from("dd00020000", "hex"), Buffer.alloc(0x20000)]))).toThrow("too many"));
});

test("any value comes back, and any bytes are a value or a violation", () => {
  const random = generator(7);
  const value = (depth: number): Packed => {
    switch (random(depth > 4 ? 6 : 8)) {
      case 0:
        return null;
      case 1:
        return random(2) === 0;
      case 2:
        return random(1000) * (random(2) === 0 ? 1 : 2 ** 22);
      case 3:
        return random(1000) / 7 - 50.01;
      case 4:
        return "é\u{1f600}x".repeat(random(40));
      case 5:
        return new Uint8Array(random(300));
      case 6:
        return Array.from({ length: random(20) }, () => value(depth + 1));
      default:
        return Object.fromEntries(Array.from({ length: random(20) }, (_, i) => [`k${i}`, value(depth + 1)]));
    }
  };
  for (let round = 0; round < 300; round++) {
    const one = value(0);
    const bytes = encode(one);
    expect(unpack(bytes).value).toEqual(unpack(pack(one)).value);
    expect(decode(pack(one))).toEqual(decode(bytes));
    for (let cut = 0; cut < 5; cut++) {
      const mutated = Buffer.from(bytes.subarray(0, random(bytes.length + 1)));
      if (mutated.length > 0) mutated[random(mutated.length)] = random(256);
      try {
        decode(mutated);
      } catch (error) {
        expect(error).toBeInstanceOf(Violation);
      }
    }
  }
});
