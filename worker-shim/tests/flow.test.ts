/** Flow control: who may send how much, and who holds back whom. */
import { describe, expect, test } from "bun:test";
import { T, unpack } from "./codec.ts";
import { readResponse, TestWorker, WINDOW } from "./worker.ts";

const CHUNK = 64 * 1024;

const APP = `
const noted = Promise.withResolvers();
const step = Promise.withResolvers();
let pulled = 0;
const endless = (size) => new ReadableStream({
  async pull(c) { await 1; pulled += size; c.enqueue(new Uint8Array(size)) },
  cancel(reason) { noted.resolve(reason.name) },
}, { highWaterMark: 0 });
const handlers = {
  "/endless": () => new Response(endless(10_000)),
  "/endless-large": () => new Response(endless(5_000_000)),
  "/generator": () => new Response((async function* () { try { for (;;) { await 1; yield "x".repeat(10_000) } } finally { noted.resolve("generator closed") } })()),
  "/large": () => new Response(Buffer.alloc(1_000_000)),
  "/pulled": () => new Response(String(pulled)),
  "/noted": async () => new Response(await noted.promise),
  "/small": () => new Response("small"),
  "/count": async (r) => { let n = 0; for await (const chunk of r.body) n += chunk.length; return new Response(String(n)) },
  "/sum": async (r) => { const bytes = new Uint8Array(await r.arrayBuffer()); return new Response(String(bytes.length)) },
  "/one-chunk": async (r) => { const reader = r.body.getReader(); await reader.read(); noted.resolve("read"); await step.promise; let n = 1; while (!(await reader.read()).done) n++; return new Response(String(n)) },
  "/go": () => { step.resolve(); return new Response() },
  "/echo": (r) => new Response(r.body),
  "/ticks": () => new Response(new ReadableStream({ async start(c) { for (let i = 0; i < 3; i++) { await Bun.sleep(1); c.enqueue("tick " + i + ";") } c.close() } })),
};
export default { fetch(r) { return handlers[new URL(r.url).pathname](r) } };
`;

let worker: TestWorker;
/** An own worker for each test: the counters above are the app's. */
async function fresh(): Promise<void> {
  worker = await TestWorker.start(APP);
}

/** Bytes of body received on a stream so far. */
function received(stream: number): number {
  return worker.seen(T.BODY, stream).reduce((sum, { payload }) => sum + payload.length, 0);
}

/** Waits until the shim has sent what it may and its event loop has gone quiet. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await worker.ping();
}

describe("a response body", () => {
  for (const pathname of ["/endless", "/endless-large", "/generator", "/large"]) {
    test(`${pathname} stops at the window and goes on by as much as is granted`, async () => {
      await fresh();
      const stream = worker.request(pathname);
      await worker.take(T.RESPONSE, stream);
      await worker.until(() => received(stream) === WINDOW);
      await settle();
      expect(received(stream)).toBe(WINDOW);
      worker.credit(stream, 1);
      await worker.until(() => received(stream) === WINDOW + 1);
      worker.credit(stream, 100_000);
      await worker.until(() => received(stream) === WINDOW + 100_001);
      await settle();
      expect(received(stream)).toBe(WINDOW + 100_001);
      expect(await worker.stop()).toBe(0);
    });
  }

  test("has no frame above 256 KiB, whatever the app's chunks are", async () => {
    await fresh();
    const stream = worker.request("/endless-large");
    worker.credit(stream, 4_000_000);
    await worker.until(() => received(stream) === WINDOW + 4_000_000);
    expect(Math.max(...worker.seen(T.BODY, stream).map(({ payload }) => payload.length))).toBeLessThanOrEqual(256 * 1024);
    await worker.stop();
  });

  test("counts what came inside RESPONSE against the window", async () => {
    await fresh();
    const response = readResponse((await worker.take(T.RESPONSE, worker.request("/large"))).payload);
    await settle();
    expect(response.body.length + received(1)).toBe(WINDOW);
    await worker.stop();
  });

  test("is not pulled from the app beyond the window and a chunk", async () => {
    await fresh();
    const stream = worker.request("/endless");
    await worker.until(() => received(stream) === WINDOW);
    await settle();
    expect(Number((await worker.fetch("/pulled")).text())).toBeLessThanOrEqual(WINDOW + 2 * 10_000);
    await worker.stop();
  });

  test("that nobody takes stalls no other stream", async () => {
    await fresh();
    const stalled = [worker.request("/endless"), worker.request("/large"), worker.request("/generator")];
    await worker.until(() => stalled.every((stream) => received(stream) === WINDOW));
    for (let i = 0; i < 50; i++) expect((await worker.fetch("/small")).text()).toBe("small");
    expect((await worker.fetch("/large")).body.length).toBe(1_000_000);
    await worker.stop();
  });

  test("is cancelled in the app when the supervisor cancels", async () => {
    await fresh();
    const stream = worker.request("/endless");
    await worker.until(() => received(stream) === WINDOW);
    worker.cancel(stream, 1);
    expect((await worker.fetch("/noted")).text()).toBe("AbortError");
    await worker.stop();
  });

  test("of a generator runs its finally when the supervisor cancels", async () => {
    await fresh();
    const stream = worker.request("/generator");
    await worker.until(() => received(stream) === WINDOW);
    worker.cancel(stream, 1);
    expect((await worker.fetch("/noted")).text()).toBe("generator closed");
    await worker.stop();
  });

  test("is sent as the app makes it, not at its end", async () => {
    await fresh();
    const stream = worker.request("/ticks");
    const types: number[] = [];
    const parts: string[] = [];
    while (types.at(-1) !== T.END) {
      const frame = await worker.take([T.RESPONSE, T.BODY, T.END], stream);
      types.push(frame.type);
      if (frame.type === T.BODY) parts.push(frame.payload.toString());
    }
    expect(types).toEqual([T.RESPONSE, T.BODY, T.BODY, T.BODY, T.END]);
    expect(parts).toEqual(["tick 0;", "tick 1;", "tick 2;"]);
    await worker.stop();
  });
});

describe("a link that the supervisor does not read", () => {
  test("stops the app's streams, and everything arrives once it reads again", async () => {
    await fresh();
    worker.pause();
    const streams = Array.from({ length: 20 }, () => worker.request("/endless"));
    for (const stream of streams) worker.credit(stream, 1_000_000);
    const asked = worker.request("/pulled");
    worker.resume();
    const total = WINDOW + 1_000_000;
    await worker.until(() => streams.every((stream) => received(stream) === total));
    expect((await worker.answer(asked)).status).toBe(200);
    for (const stream of streams) worker.cancel(stream, 1);
    await worker.ping();
    expect(await worker.stop()).toBe(0);
  });

  test("loses no buffered answer", async () => {
    await fresh();
    worker.pause();
    const streams = Array.from({ length: 150 }, (_, i) => worker.request(i % 3 === 0 ? "/large" : "/small"));
    worker.resume();
    const answers = await Promise.all(streams.map((stream) => worker.answer(stream)));
    expect(answers.map(({ body }) => body.length)).toEqual(streams.map((_, i) => (i % 3 === 0 ? 1_000_000 : 5)));
    expect(await worker.stop()).toBe(0);
  });
});

describe("a request body", () => {
  test("is credited in steps of 64 KiB or more as the app takes it", async () => {
    await fresh();
    const size = 3_000_000;
    const stream = worker.request("/count", { method: "POST", fin: false });
    let window = WINDOW;
    for (let sent = 0; sent < size; ) {
      while (window < 10_000) {
        const granted = (await worker.take(T.CREDIT, stream)).payload.readUInt32BE();
        expect(granted).toBeGreaterThanOrEqual(CHUNK);
        window += granted;
      }
      const bytes = Math.min(10_000, size - sent);
      worker.send(T.BODY, stream, Buffer.alloc(bytes));
      sent += bytes;
      window -= bytes;
    }
    worker.send(T.END, stream, Buffer.alloc(0));
    expect((await worker.answer(stream)).text()).toBe(String(size));
    await worker.stop();
  });

  test("that the app does not read is not credited", async () => {
    await fresh();
    const stream = worker.request("/one-chunk", { method: "POST", fin: false });
    for (let i = 0; i < 4; i++) worker.send(T.BODY, stream, Buffer.alloc(CHUNK));
    expect((await worker.fetch("/noted")).text()).toBe("read");
    await settle();
    expect(worker.seen(T.CREDIT, stream).length).toBe(1);
    await worker.fetch("/go");
    worker.send(T.END, stream, Buffer.alloc(0));
    expect((await worker.answer(stream)).text()).toBe("4");
    await worker.stop();
  });

  test("within the window needs no credit", async () => {
    await fresh();
    const stream = worker.request("/sum", { method: "POST", fin: false, body: Buffer.alloc(100_000) });
    worker.send(T.END, stream, Buffer.alloc(WINDOW - 100_000));
    expect((await worker.answer(stream)).text()).toBe(String(WINDOW));
    await worker.stop();
  });

  for (const pathname of ["/sum", "/count", "/echo"]) {
    test(`of 8 MB passes through ${pathname}`, async () => {
      await fresh();
      const size = 8_000_000;
      const stream = worker.request(pathname, { method: "POST", fin: false });
      const sending = worker.sendBody(stream, Buffer.alloc(size, "z"));
      const answer = await worker.answer(stream);
      await sending;
      expect(pathname === "/echo" ? answer.body.length : Number(answer.text())).toBe(size);
      await worker.stop();
    });
  }

  test("that the app cancels stays quiet though more of it comes", async () => {
    const own = await TestWorker.start("export default { async fetch(r) { await r.body.cancel(); await Bun.sleep(5); return new Response('done') } }");
    const stream = own.request("/", { method: "POST", fin: false });
    expect(unpack((await own.take(T.CANCEL, stream)).payload).value).toEqual([5]);
    for (let i = 0; i < 4; i++) own.send(T.BODY, stream, Buffer.alloc(CHUNK));
    expect((await own.answer(stream)).text()).toBe("done");
    expect(own.seen(T.CREDIT, stream)).toEqual([]);
    expect(await own.stop()).toBe(0);
  });
});
