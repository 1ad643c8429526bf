/**
 * The committed corpus and some thousand mutations of it, read by the shim's own
 * frame reader and session in this process. Whatever comes, the outcome is an
 * orderly one, it does not depend on how the bytes were split, and what is kept
 * in memory is bounded by the protocol's limits.
 */
import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { App } from "../src/app.ts";
import { FrameReader, Violation } from "../src/frames.ts";
import { Link } from "../src/link.ts";
import { ProgressPage } from "../src/progress-page.ts";
import { Session } from "../src/session.ts";
import type { Calls } from "../src/plugin/calls.ts";
import { PreparedResponse } from "../src/static-routes.ts";
import { frame, frames, pack, T } from "./codec.ts";
import { seatOf } from "./plugin.ts";
import { generator } from "./random.ts";

const MUTATIONS_PER_FILE = 200;
const CORPUS = path.join(import.meta.dir, "corpus");
const corpus = fs
  .readdirSync(CORPUS)
  .filter((name) => name.endsWith(".bin"))
  .sort()
  .map((name): [string, Buffer] => [name, fs.readFileSync(path.join(CORPUS, name))]);

/** Files whose conversation breaks the protocol. */
const isBad = (name: string) => name.startsWith("bad-");
/** Files whose conversation begins with a spare. */
const isSpare = (name: string) => name.endsWith("assign.bin");

/** Files whose conversation is with a plugin that has made three calls. */
const isPlugin = (name: string) => name.includes("plugin");

const FIELDS = { dir: "/", entry: "/app.ts", name: "app", version: "1.0.0", workerId: "w", mount: "/app", origin: "", dev: false, env: {} };
const ASSIGN = frame(T.ASSIGN, 0, pack(FIELDS));
const ASSIGN_PLUGIN = frame(T.ASSIGN, 0, pack({ ...FIELDS, plugin: seatOf() }));

/** One conversation with an app that tries all that handlers do. */
class Conversation {
  /** What the app was asked, in order. */
  readonly asked: string[] = [];
  /** What its calls have come to, in order. */
  readonly told: string[] = [];
  violation: string | null = null;
  #out = Buffer.alloc(0);
  readonly #link: Link;
  readonly #reader: FrameReader;

  constructor() {
    this.#link = new Link({
      write: (data: unknown, offset = 0, length = 0) => {
        this.#out = Buffer.concat([this.#out, (data as Buffer).subarray(offset, offset + length)]);
        return length;
      },
    } as never);
    const page = ProgressPage.scratch();
    const app = new App({ default: { fetch: (request: Request) => this.#handle(request), onIdle() {} } });
    const load = async (_assignment: unknown, calls: Calls | null) => {
      for (const arg of calls === null ? [] : [1, "two", [3]]) {
        const told = (value: unknown) => void this.told.push(`${Bun.inspect(arg)} → ${value instanceof Error ? String(value) : Bun.inspect(value)}`);
        calls!.call("service", "method", [arg]).then(told, told);
      }
      return app;
    };
    const session = new Session(this.#link, page, load, (turn) => void setImmediate(turn));
    this.#reader = new FrameReader((...frame) => session.frame(...frame));
  }

  async start(assign: Buffer): Promise<this> {
    this.push([assign]);
    while (!this.sent().some(({ type }) => type === T.READY)) await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    return this;
  }

  /** Reads the chunks until one of them breaks the protocol; anything but a violation is thrown on. */
  push(chunks: Uint8Array[]): void {
    try {
      for (const chunk of chunks) this.#link.turn((bytes) => this.#reader.push(bytes), Buffer.from(chunk));
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.violation = error.message;
    }
  }

  /** The frames that went out; none is cut off. */
  sent() {
    this.#link.flush();
    const { frames: found, rest } = frames(this.#out);
    if (rest.length > 0) throw new Error("a frame was cut off");
    return found;
  }

  #handle(request: Request): unknown {
    this.asked.push(`${request.method} ${request.url} ${request.body !== null}`);
    switch (new URL(request.url).pathname) {
      case "/headers":
        this.asked.push(JSON.stringify([...request.headers]));
        return answer("h");
      case "/read":
        return request.text().then((text) => answer(text));
      case "/stream":
        return new Response(chunks(60));
      case "/wait":
        return new Promise((resolve) => request.signal.addEventListener("abort", resolve));
      case "/throw":
        throw new Error("thrown");
      case "/reject":
        return Promise.reject(new Error("rejected"));
      default:
        return answer("ok");
    }
  }
}

const answer = (text: string) => new PreparedResponse(200, "", { x: "1" }, Buffer.from(text));

/** A body that is longer than the window. */
function chunks(count: number): ReadableStream {
  return new ReadableStream({
    pull(controller) {
      if (count-- === 0) controller.close();
      else controller.enqueue(new Uint8Array(10_000));
    },
  });
}

function mutate(input: Buffer, random: (n: number) => number): Buffer {
  let bytes = Buffer.from(input);
  for (let edits = 1 + random(4); edits > 0 && bytes.length > 0; edits--) {
    const at = random(bytes.length);
    const size = 1 + random(Math.min(40, bytes.length - at));
    switch (random(7)) {
      case 0:
        bytes[at] = bytes[at]! ^ (1 << random(8));
        break;
      case 1:
        bytes[at] = [0, 1, 0x7f, 0x80, 0x90, 0x96, 0xc0, 0xc1, 0xc4, 0xc6, 0xd9, 0xdb, 0xdc, 0xdd, 0xdf, 0xff][random(16)]!;
        break;
      case 2:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + size)]);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at + size), bytes.subarray(at)]);
        break;
      case 4:
        bytes = bytes.subarray(0, at);
        break;
      case 5: {
        const other = corpus[random(corpus.length)]![1];
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(random(other.length))]);
        break;
      }
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from(Array.from({ length: size }, () => random(256))), bytes.subarray(at)]);
    }
  }
  return bytes;
}

function split(bytes: Buffer, random: (n: number) => number): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + random(random(3) === 0 ? 5 : 5000);
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

/** Reads `bytes` whole and split, and compares. */
async function replay(name: string, bytes: Buffer, random: (n: number) => number): Promise<Conversation> {
  const begin = async () => (isSpare(name) ? new Conversation() : new Conversation().start(isPlugin(name) ? ASSIGN_PLUGIN : ASSIGN));
  const whole = await begin();
  whole.push([bytes]);
  const parts = await begin();
  parts.push(split(bytes, random));
  if (isPlugin(name)) await new Promise((resolve) => setImmediate(resolve));
  const outcome = ({ asked, told, violation }: Conversation) => ({ asked, told, violation });
  expect(outcome(parts)).toEqual(outcome(whole));
  const answered = whole.sent().filter(({ type }) => type === T.RESPONSE || type === T.ERROR).map(({ stream }) => stream);
  expect(new Set(answered).size).toBe(answered.length);
  return whole;
}

test("the corpus is there", () => {
  expect(corpus.length).toBeGreaterThanOrEqual(30);
});

describe("every file of the corpus", () => {
  for (const [name, bytes] of corpus) {
    test(`${name} ${isBad(name) ? "is a violation" : "is accepted"}`, async () => {
      const { violation } = await replay(name, bytes, generator(1));
      expect(violation !== null).toBe(isBad(name));
    });
  }
});

describe(`${MUTATIONS_PER_FILE} mutations of every file end orderly`, () => {
  for (const [index, [name, bytes]] of corpus.entries()) {
    test(name, async () => {
      const random = generator(1000 + index);
      for (let round = 0; round < MUTATIONS_PER_FILE; round++) await replay(name, mutate(bytes, random), random);
    });
  }
});

test("a header that promises a large payload costs no more than that payload", () => {
  const reader = new FrameReader(() => {});
  const before = process.memoryUsage().arrayBuffers;
  const promise = Buffer.from([0, 4, 0, 0, T.BODY, 0, 0, 0, 1]);
  for (let i = 0; i < 10; i++) reader.push(i === 0 ? promise : Buffer.alloc(20_000));
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 * 1024 * 1024);
});
