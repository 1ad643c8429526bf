/** Every kind of response that an app can give, as it comes over the wire. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import path from "node:path";
import { T, unpack } from "./codec.ts";
import { AppError, TestWorker, WINDOW } from "./worker.ts";

const APP = `
import path from "node:path";
const file = (name) => Bun.file(path.join(import.meta.dir, name));
const later = () => Bun.sleep(1);
class Custom extends Response { constructor(text) { super("custom " + text, { headers: { x: "custom" } }) } }
const shared = new Response("shared");
const used = new Response("used");
await used.text();
const handlers = {
  "/string": () => new Response("héllo"),
  "/html": () => new Response("<p>", { headers: { "Content-Type": "text/html" } }),
  "/empty-string": () => new Response(""),
  "/null": () => new Response(null),
  "/undefined": () => new Response(),
  "/number": () => new Response(42),
  "/buffer": () => new Response(Buffer.from([0, 255, 1])),
  "/typed": () => new Response(new Uint16Array([1, 2])),
  "/view": () => new Response(new DataView(new ArrayBuffer(3))),
  "/array-buffer": () => new Response(new ArrayBuffer(5)),
  "/params": () => new Response(new URLSearchParams({ a: "1 2" })),
  "/form": () => { const form = new FormData(); form.set("a", "b"); return new Response(form) },
  "/blob": () => new Response(new Blob(["<b>"], { type: "text/x" })),
  "/blob-untyped": () => new Response(new Blob([Buffer.from("b")])),
  "/json": () => Response.json({ a: "é" }, { status: 201, headers: { x: "1" } }),
  "/redirect": () => Response.redirect("/there", 307),
  "/clone": () => new Response("cloned").clone(),
  "/custom": () => new Custom("x"),
  "/file": () => new Response(file("data.txt")),
  "/file-status": () => new Response(file("data.txt"), { status: 203, headers: { "content-type": "a/b" } }),
  "/file-slice": () => new Response(file("data.txt").slice(2, 5)),
  "/file-empty": () => new Response(file("empty.txt")),
  "/file-missing": () => new Response(file("missing.txt")),
  "/file-directory": () => new Response(file(".")),
  "/stream": () => new Response(new ReadableStream({ async pull(c) { await later(); c.enqueue("a"); c.enqueue(Buffer.from("b")); c.close() } })),
  "/stream-now": () => new Response(new ReadableStream({ start(c) { c.enqueue("now"); c.close() } })),
  "/stream-empty": () => new Response(new ReadableStream({ start(c) { c.close() } })),
  "/stream-bytes": () => new Response(new ReadableStream({ type: "bytes", pull(c) { c.enqueue(new Uint8Array([1, 2])); c.close() } })),
  "/stream-direct": () => new Response(new ReadableStream({ type: "direct", async pull(c) { c.write("one "); await c.flush(); await later(); c.write("two"); await c.end() } })),
  "/stream-views": () => new Response(new ReadableStream({ start(c) { c.enqueue(new Uint16Array([0x4241])); c.enqueue(new ArrayBuffer(1)); c.close() } })),
  "/generator": () => new Response((async function* () { yield "a"; await later(); yield Buffer.from("b") })()),
  "/generator-function": () => new Response(async function* () { yield "a"; await later(); yield "b" }),
  "/iterable": () => new Response({ async *[Symbol.asyncIterator]() { await later(); yield "it" } }),
  "/transform": () => new Response(new Response("through").body.pipeThrough(new TransformStream())),
  "/upstream": () => fetch("data:text/plain,upstream"),
  "/rewritten": () => new HTMLRewriter().on("p", { element(e) { e.setInnerContent("new") } }).transform(new Response("<p>old</p>", { headers: { "content-type": "text/html" } })),
  "/cookies": () => new Response("c", { headers: [["set-cookie", "a=1"], ["x", "1"], ["Set-Cookie", "b=2; Path=/"], ["x", "2"]] }),
  "/latin1": () => new Response("l", { headers: { x: "caf\\xe9" } }),
  "/status-text-latin1": () => new Response("s", { statusText: "Gr\u00fcn" }),
  "/status-text": () => new Response("s", { status: 299, statusText: "Quite Fine" }),
  "/204": () => new Response(null, { status: 204, headers: { x: "1", "content-length": "9" } }),
  "/204-body": () => new Response("dropped", { status: 204 }),
  "/304": () => new Response(null, { status: 304, headers: { etag: '"1"' } }),
  "/404": async () => { await later(); return new Response("none", { status: 404 }) },
  "/hop": () => new Response("h", { headers: { connection: "close", "keep-alive": "timeout=1", "transfer-encoding": "chunked", "content-length": "99", upgrade: "x", "proxy-connection": "close", x: "1" } }),
  "/promised-length": () => new Response(new ReadableStream({ async pull(c) { await later(); c.enqueue("abc"); c.close() } }), { headers: { "content-length": "3" } }),
  "/encoded-length": () => new Response(new ReadableStream({ async pull(c) { await later(); c.enqueue("abc"); c.close() } }), { headers: { "content-length": "99", "content-encoding": "gzip" } }),
  "/too-long": () => new Response(new ReadableStream({ async pull(c) { await later(); c.enqueue("abcdef"); c.close() } }), { headers: { "content-length": "3" } }),
  "/too-short": () => new Response(new ReadableStream({ async pull(c) { await later(); c.enqueue("a"); c.close() } }), { headers: { "content-length": "3" } }),
  "/head-length": () => new Response(null, { headers: { "content-length": "77" } }),
  "/big-string": () => new Response("é".repeat(200_000)),
  "/big-buffer": () => new Response(Buffer.alloc(1_000_000, "x")),
  "/window": () => new Response(Buffer.alloc(${WINDOW}, "w")),
  "/window-and-one": () => new Response(Buffer.alloc(${WINDOW} + 1, "w")),
  "/shared": () => shared,
  "/used": () => used,
  "/locked": () => { const response = new Response(new ReadableStream()); response.body.getReader(); return response },
  "/nothing": () => undefined,
  "/text": () => "text",
  "/101": () => new Response(null, { status: 101 }),
  "/error-response": () => Response.error(),
  "/throw": () => { throw new RangeError("thrown") },
  "/reject": async () => { await later(); throw new RangeError("rejected") },
  "/reject-now": async () => { throw new RangeError("rejected now") },
  "/throw-string": () => { throw "just text" },
  "/throw-response": () => { throw new Response("thrown") },
  "/reject-response": async () => { throw new Response("thrown") },
  "/throw-undefined": async () => { throw undefined },
  "/throw-huge": () => { throw new Error("m".repeat(3_000_000)) },
  "/throw-hostile": () => { throw Object.defineProperty(new Error("x"), "message", { get() { throw 1 } }) },
  "/many-headers": () => new Response("", { headers: Array.from({ length: 513 }, (_, i) => ["h" + i, "v"]) }),
  "/fat-headers": () => new Response("", { headers: { x: "v".repeat(300_000) } }),
  "/full-headers": () => new Response("b", { headers: Array.from({ length: 500 }, (_, i) => ["h" + i, "v".repeat(400)]) }),
  "/stream-fails": () => new Response(new ReadableStream({ async pull(c) { await later(); if (this.sent) throw new Error("stream broke"); this.sent = true; c.enqueue("first") } })),
  "/stream-of-objects": () => new Response(new ReadableStream({ async pull(c) { await later(); c.enqueue({}) } })),
};
export default { fetch(request) { return handlers[new URL(request.url).pathname](request) } };
`;

let worker: TestWorker;
beforeAll(async () => {
  worker = await TestWorker.start({ "index.ts": APP, "data.txt": "0123456789", "empty.txt": "" });
});
afterAll(async () => {
  expect(await worker.stop()).toBe(0);
});

describe("a buffered response is one frame with type and bytes", () => {
  const TEXT = "text/plain;charset=utf-8";
  const OCTETS = "application/octet-stream";
  const cases: [pathname: string, body: string | Buffer, type: string | null][] = [
    ["/string", "héllo", TEXT],
    ["/html", "<p>", "text/html"],
    ["/empty-string", "", null],
    ["/null", "", null],
    ["/undefined", "", null],
    ["/number", "42", TEXT],
    ["/buffer", Buffer.from([0, 255, 1]), OCTETS],
    ["/typed", Buffer.from([1, 0, 2, 0]), OCTETS],
    ["/view", Buffer.alloc(3), OCTETS],
    ["/array-buffer", Buffer.alloc(5), OCTETS],
    ["/params", "a=1+2", "application/x-www-form-urlencoded;charset=UTF-8"],
    ["/blob", "<b>", "text/x"],
    ["/blob-untyped", "b", OCTETS],
    ["/clone", "cloned", TEXT],
    ["/custom", "custom x", TEXT],
    ["/window", Buffer.alloc(WINDOW, "w"), OCTETS],
  ];
  for (const [pathname, body, type] of cases) {
    test(pathname, async () => {
      const answer = await worker.fetch(pathname);
      expect([answer.status, answer.statusText, answer.fin]).toEqual([200, null, true]);
      expect(answer.body.equals(Buffer.from(body as string))).toBe(true);
      expect(answer.header("content-type")).toBe(type);
      expect(answer.header("content-length")).toBe(null);
    });
  }

  test("Response.json with status and headers", async () => {
    const answer = await worker.fetch("/json");
    expect([answer.status, answer.text(), answer.header("x"), answer.header("content-type")]).toEqual([201, '{"a":"é"}', "1", "application/json;charset=utf-8"]);
  });

  test("Response.redirect", async () => {
    const answer = await worker.fetch("/redirect");
    expect([answer.status, answer.header("location"), answer.fin, answer.text()]).toEqual([307, "/there", true, ""]);
  });

  test("FormData with its boundary", async () => {
    const answer = await worker.fetch("/form");
    const form = await new Response(answer.body as Buffer<ArrayBuffer>, { headers: { "content-type": answer.header("content-type")! } }).formData();
    expect([...form]).toEqual([["a", "b"]]);
  });
});

describe("a response that does not fit into one frame", () => {
  for (const [pathname, size] of [["/big-string", 400_000], ["/big-buffer", 1_000_000], ["/window-and-one", WINDOW + 1]] as const) {
    test(`${pathname} has its length and comes in body frames`, async () => {
      const answer = await worker.fetch(pathname);
      expect([answer.fin, answer.header("content-length"), answer.body.length]).toEqual([false, String(size), size]);
    });
  }
});

describe("streams", () => {
  const cases: [pathname: string, body: string][] = [
    ["/stream", "ab"],
    ["/stream-now", "now"],
    ["/stream-empty", ""],
    ["/stream-bytes", "\x01\x02"],
    ["/stream-direct", "one two"],
    ["/stream-views", "AB\0"],
    ["/generator", "ab"],
    ["/generator-function", "ab"],
    ["/iterable", "it"],
    ["/transform", "through"],
    ["/upstream", "upstream"],
    ["/rewritten", "<p>new</p>"],
  ];
  for (const [pathname, body] of cases) {
    test(pathname, async () => {
      const answer = await worker.fetch(pathname);
      expect([answer.status, answer.text(), answer.header("content-length")]).toEqual([200, body, null]);
    });
  }

  test("a promised length is passed on", async () => {
    const answer = await worker.fetch("/promised-length");
    expect([answer.text(), answer.header("content-length")]).toEqual(["abc", "3"]);
  });

  test("a length beside a content-encoding is not believed", async () => {
    const answer = await worker.fetch("/encoded-length");
    expect([answer.text(), answer.header("content-length"), answer.header("content-encoding")]).toEqual(["abc", null, "gzip"]);
  });

  for (const pathname of ["/too-long", "/too-short", "/stream-fails", "/stream-of-objects"]) {
    test(`${pathname} ends with CANCEL 3 and the error on stderr`, async () => {
      const stream = worker.request(pathname);
      await worker.take(T.RESPONSE, stream);
      expect(unpack((await worker.take(T.CANCEL, stream)).payload).value).toEqual([3]);
      await worker.ping();
      expect(worker.seen(T.END, stream)).toEqual([]);
      for (const frame of worker.seen(T.BODY, stream)) await worker.take(T.BODY, frame.stream);
    });
  }

  test("the error of a stream is on stderr", () => {
    expect(worker.stderr).toContain("stream broke");
    expect(worker.stderr).toContain("content-length is 3");
  });
});

describe("files", () => {
  test("have type and length", async () => {
    const answer = await worker.fetch("/file");
    expect([answer.status, answer.text(), answer.header("content-type"), answer.header("content-length")]).toEqual([200, "0123456789", "text/plain;charset=utf-8", "10"]);
  });

  test("keep the app's status and type", async () => {
    const answer = await worker.fetch("/file-status");
    expect([answer.status, answer.text(), answer.header("content-type")]).toEqual([203, "0123456789", "a/b"]);
  });

  test("can be slices", async () => {
    const answer = await worker.fetch("/file-slice");
    expect([answer.text(), answer.header("content-length")]).toEqual(["234", "3"]);
  });

  test("can be empty", async () => {
    const answer = await worker.fetch("/file-empty");
    expect([answer.text(), answer.header("content-length")]).toEqual(["", "0"]);
  });

  test("that are missing are the app's error", async () => {
    const error = await worker.fetch("/file-missing").catch((error) => error);
    expect(error).toBeInstanceOf(AppError);
    expect(error.message).toContain("ENOENT");
  });

  test("that are directories are the app's error", async () => {
    expect(await worker.fetch("/file-directory").catch((error) => error.message)).toContain("directory");
  });

  test("larger than the window come whole", async () => {
    const bytes = Buffer.alloc(1_500_000, "0123456789abcdef");
    fs.writeFileSync(path.join(worker.home, "app", "data.txt"), bytes);
    const answer = await worker.fetch("/file");
    expect([answer.header("content-length"), answer.body.equals(bytes)]).toEqual(["1500000", true]);
    fs.writeFileSync(path.join(worker.home, "app", "data.txt"), "0123456789");
  });
});

describe("heads", () => {
  test("repeat set-cookie and join the others", async () => {
    const answer = await worker.fetch("/cookies");
    expect(answer.headers.filter(([name]) => name === "set-cookie").map(([, value]) => value)).toEqual(["a=1", "b=2; Path=/"]);
    expect(answer.header("x")).toBe("1, 2");
  });

  test("carry values as bytes", async () => {
    expect((await worker.fetch("/latin1")).header("x")).toBe("caf\xe9");
  });

  test("carry statusText", async () => {
    const answer = await worker.fetch("/status-text");
    expect([answer.status, answer.statusText]).toEqual([299, "Quite Fine"]);
  });

  test("leave out a statusText that is not ASCII", async () => {
    const answer = await worker.fetch("/status-text-latin1");
    expect([answer.status, answer.statusText, answer.text()]).toEqual([200, null, "s"]);
  });

  test("leave out what is the connection's business", async () => {
    const answer = await worker.fetch("/hop");
    expect(answer.headers).toEqual([["x", "1"], ["content-type", "text/plain;charset=utf-8"]]);
  });

  test("of 500 headers and 200 KB pass", async () => {
    const answer = await worker.fetch("/full-headers");
    expect([answer.headers.length, answer.text()]).toEqual([501, "b"]);
  });

  for (const pathname of ["/many-headers", "/fat-headers"]) {
    test(`beyond the limits are the app's error: ${pathname}`, async () => {
      expect(await worker.fetch(pathname).catch((error) => error.message)).toMatch(/The response has \d+ headers of \d+ bytes/);
    });
  }

  test("204 and 304 have neither body nor length", async () => {
    for (const [pathname, status] of [["/204", 204], ["/204-body", 204], ["/304", 304]] as const) {
      const answer = await worker.fetch(pathname);
      expect([answer.status, answer.fin, answer.text(), answer.header("content-length")]).toEqual([status, true, "", null]);
    }
    expect((await worker.fetch("/304")).header("etag")).toBe('"1"');
  });
});

describe("HEAD has the length and no body", () => {
  const cases: [pathname: string, length: string | null][] = [
    ["/string", "6"],
    ["/buffer", "3"],
    ["/json", "10"],
    ["/big-string", "400000"],
    ["/big-buffer", "1000000"],
    ["/blob", "3"],
    ["/file", "10"],
    ["/null", "0"],
    ["/empty-string", "0"],
    ["/redirect", "0"],
    ["/head-length", "77"],
    ["/stream", null],
    ["/promised-length", "3"],
    ["/generator", null],
    ["/204", null],
  ];
  for (const [pathname, length] of cases) {
    test(pathname, async () => {
      const answer = await worker.fetch(pathname, { method: "HEAD" });
      expect([answer.fin, answer.body.length, answer.header("content-length")]).toEqual([true, 0, length]);
    });
  }
});

describe("what cannot be sent is the app's error", () => {
  test("a response is sent once", async () => {
    expect((await worker.fetch("/shared")).text()).toBe("shared");
    expect(await worker.fetch("/shared").catch((error) => error.message)).toContain("Response body already used");
  });

  const cases: [pathname: string, message: string][] = [
    ["/used", "Response body already used"],
    ["/locked", "Stream already used"],
    ["/101", "status 101"],
    ["/error-response", "status 0"],
  ];
  for (const [pathname, message] of cases) {
    test(pathname, async () => {
      expect(await worker.fetch(pathname).catch((error) => error.message)).toContain(message);
    });
  }

  for (const [pathname, shown] of [["/nothing", "undefined"], ["/text", '"text"']] as const) {
    test(`${pathname}: no Response is 204 and a line on stderr, as in Bun`, async () => {
      const answer = await worker.fetch(pathname);
      expect([answer.status, answer.fin]).toEqual([204, true]);
      await worker.ping();
      expect(worker.stderr).toContain(`error: Expected a Response object, but received '${shown}'`);
    });
  }
});

describe("what the app throws becomes an ERROR frame", () => {
  const cases: [pathname: string, name: string, message: string][] = [
    ["/throw", "RangeError", "thrown"],
    ["/reject", "RangeError", "rejected"],
    ["/reject-now", "RangeError", "rejected now"],
    ["/throw-string", "Thrown", "just text"],
    ["/throw-undefined", "Thrown", "undefined"],
  ];
  for (const [pathname, name, message] of cases) {
    test(pathname, async () => {
      const error = (await worker.fetch(pathname).catch((error) => error)) as AppError;
      expect([error.appName, error.message]).toEqual([name, message]);
      expect(error.inspect).toContain(message);
    });
  }

  for (const pathname of ["/throw-response", "/reject-response"]) {
    test(`${pathname}: a thrown Response is an error, not an answer`, async () => {
      const error = (await worker.fetch(pathname).catch((error) => error)) as AppError;
      expect(error.message).toContain("Response (6 bytes)");
    });
  }

  test("with the stack and the source line, and no frame of the shim", async () => {
    const error = (await worker.fetch("/throw").catch((error) => error)) as AppError;
    expect(error.appStack).toMatch(/index\.ts:\d+:\d+/);
    expect(error.inspect).toContain('throw new RangeError("thrown")');
    expect(error.appStack + error.inspect).not.toContain("dist/shim.js");
  });

  test("that fits its limit however long the message is", async () => {
    const error = (await worker.fetch("/throw-huge").catch((error) => error)) as AppError;
    expect(error.message.length).toBe(65536);
    expect(error.inspect.length).toBeLessThanOrEqual(65536);
  });

  test("even where the error cannot be read", async () => {
    expect(await worker.fetch("/throw-hostile").catch((error) => error)).toBeInstanceOf(AppError);
  });
});
