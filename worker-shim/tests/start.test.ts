/** From the start of the process to READY or FAILED. */
import { afterEach, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { type Packed, T, unpack } from "./codec.ts";
import { TestWorker } from "./worker.ts";

let worker: TestWorker;
afterEach(() => worker.stop());

test("HELLO names the build and bun, and the page is mapped", async () => {
  worker = await TestWorker.spawn();
  const hello = unpack((await worker.take(T.HELLO)).payload).value;
  expect(hello).toEqual(["__BUNTIME_BUILD__", Bun.version, true]);
  expect(fs.readFileSync(worker.page).readUInt32LE(0)).toBe(0x42544d31);
});

test("without a page HELLO says so, and requests are served", async () => {
  worker = await TestWorker.spawn({ page: false });
  const hello = unpack((await worker.take(T.HELLO)).payload).value;
  expect(hello).toEqual(["__BUNTIME_BUILD__", Bun.version, false]);
  worker.assign("export default { fetch: () => new Response('hi') }");
  await worker.take(T.READY);
  expect((await worker.fetch("/")).text()).toBe("hi");
});

test("the build id in HELLO is what was written over the placeholder", async () => {
  worker = await TestWorker.spawn({ build: "0.1.0+abcdef" });
  expect((unpack((await worker.take(T.HELLO)).payload).value as Packed[])[0]).toBe("0.1.0+abcdef");
});

/** Loads an app and returns the READY or FAILED payload. */
async function load(files: string | Record<string, string>, assign: Record<string, Packed> = {}): Promise<{ ready: boolean; value: Packed[] }> {
  worker = await TestWorker.spawn();
  await worker.take(T.HELLO);
  worker.assign(files, assign);
  const frame = await worker.take([T.READY, T.FAILED]);
  return { ready: frame.type === T.READY, value: unpack(frame.payload).value as Packed[] };
}

describe("READY", () => {
  test("tells the hooks and maxRequestBodySize", async () => {
    const { value } = await load("export default { fetch() {}, onIdle() {}, maxRequestBodySize: 1234 }");
    expect(value).toEqual([1, 1234]);
  });

  test("has both hooks where there are both, and nil where there is no size", async () => {
    const { value } = await load("export default { fetch() {}, onIdle() {}, onTerminate() {} }");
    expect(value).toEqual([3, null]);
  });
});

describe("maxRequestBodySize in READY", () => {
  const sizes: Record<string, number | null> = { undefined: null, Infinity: null, 0: 0, 1234.9: 1234, "128 * 1024 * 1024": 134_217_728, "2 ** 60": Number.MAX_SAFE_INTEGER };
  for (const [source, reported] of Object.entries(sizes)) {
    test(`${source} is ${reported}`, async () => {
      expect((await load(`export default { fetch() {}, maxRequestBodySize: ${source} }`)).value[1]).toBe(reported!);
    });
  }
});

describe("a default export is an app if it is", () => {
  const forms: Record<string, string> = {
    "an object": "export default { fetch: () => new Response('ok') }",
    "a function with fetch": "export default Object.assign(() => {}, { fetch: () => new Response('ok') })",
    "a class instance, bound to itself": "class App { word = 'ok'; fetch() { return new Response(this.word) } }\nexport default new App()",
    "an object with routes only": "export default { routes: { '/': () => new Response('ok') } }",
    "module.exports": "module.exports = { fetch: () => new Response('ok') }",
    "an awaited promise": "export default await Promise.resolve({ fetch: () => new Response('ok') })",
    "an instance that has stop(), as Elysia's": "export default { fetch: () => new Response('ok'), stop() {}, server: null }",
  };
  for (const [name, source] of Object.entries(forms)) {
    test(name, async () => {
      expect((await load(source)).ready).toBe(true);
      expect((await worker.fetch("/")).text()).toBe("ok");
    });
  }
});

describe("FAILED says what is wrong and what to do", () => {
  const failures: Record<string, [source: string | Record<string, string>, message: RegExp]> = {
    "no default export": ["export const x = 1", /no default export\nhint: export default \{ fetch/],
    "a promise": ["export default Promise.resolve({ fetch() {} })", /is a promise\nhint: await it/],
    "a string": ["export default 'app'", /is a string\nhint: /],
    "null": ["export default null", /is null\nhint: /],
    "neither fetch nor routes": ["export default { port: 1 }", /neither fetch nor routes\nhint: /],
    "fetch that is no function": ["export default { fetch: 3 }", /fetch is not a function\nhint: /],
    "error that is no function": ["export default { fetch() {}, error: 3 }", /error is not a function\nhint: /],
    "a running server": ["export default Bun.serve({ port: 0, fetch() {} })", /Bun\.serve\(\) has started\nhint: /],
    "a body size that is text": ["export default { fetch() {}, maxRequestBodySize: '10mb' }", /maxRequestBodySize is "10mb", which is no number of bytes\nhint: /],
    "a negative body size": ["export default { fetch() {}, maxRequestBodySize: -1 }", /maxRequestBodySize is -1, .*\nhint: /],
    "a body size that is NaN": ["export default { fetch() {}, maxRequestBodySize: NaN }", /maxRequestBodySize is NaN, .*\nhint: /],
    "a route that is no handler": ["export default { routes: { '/': 3 } }", /route "\/" is 3, which is no handler\nhint: /],
    "a method in lower case": ["export default { routes: { '/': { get() {} } } }", /no handler\nhint: .*upper-case/],
    "a route without its slash": ["export default { routes: { x() {} } }", /does not begin with \/\nhint: write "\/x"/],
    "an HTML import": [{ "index.ts": "import page from './page.html'\nexport default { routes: { '/': page } }", "page.html": "<p>" }, /HTML import.*\nhint: /],
    "a static response that streams": ["export default { routes: { '/': new Response(new ReadableStream()) } }", /streaming body\nhint: /],
  };
  for (const [name, [source, message]] of Object.entries(failures)) {
    test(name, async () => {
      const { ready, value } = await load(source);
      expect(ready).toBe(false);
      expect(value[1]).toMatch(message);
      expect(value[3]).toBe(value[1]!);
    });
  }

  test("an error at the top level has the source line and position, and no frame of the shim", async () => {
    const { value } = await load("interface A {\n  b: string;\n}\n\nthrow new RangeError('top');\nexport default {}");
    const [name, message, stack, inspect] = value as string[];
    expect([name, message]).toEqual(["RangeError", "top"]);
    expect(stack).toContain("index.ts:5:11");
    expect(inspect).toContain("5 | throw new RangeError('top');");
    expect(stack! + inspect!).not.toContain("dist/shim.js");
  });

  test("a syntax error has the place in the file", async () => {
    const { ready, value } = await load("export default {\n  fetch( {\n}");
    expect(ready).toBe(false);
    expect(value[3]).toMatch(/index\.ts:\d+:\d+/);
  });

  test("a missing module is named", async () => {
    const { value } = await load("import './nowhere'\nexport default {}");
    expect(value[1]).toMatch(/nowhere/);
  });

  test("an entrypoint in a directory with odd characters loads", async () => {
    const { ready } = await load({ "a b%20#ü/index.ts": "export default { fetch: () => new Response(import.meta.dir) }" });
    expect(ready).toBe(true);
    expect((await worker.fetch("/")).text()).toBe(path.join(worker.home, "app", "a b%20#ü"));
  });
});
