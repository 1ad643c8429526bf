/** The `server` that handlers get, and the app's `error` handler. */
import { describe, expect, test } from "bun:test";
import { type Packed, T } from "./codec.ts";
import { AppError, TestWorker } from "./worker.ts";

/** Runs `body` as the handler of an app and returns what it answers as JSON. */
async function run(body: string, assign: Record<string, Packed> = {}, extra = ""): Promise<unknown> {
  const worker = await TestWorker.start(`export default { async fetch(req, server) { ${body} }, ${extra} }`, assign);
  try {
    return JSON.parse((await worker.fetch("/path")).text());
  } finally {
    await worker.stop();
  }
}

describe("server", () => {
  test("knows where clients reach the app", async () => {
    const shown = await run("return Response.json([server.url.href, server.hostname, server.port, server.protocol, server.address, server.url instanceof URL])");
    expect(shown).toEqual(["http://127.0.0.1:8000/app/", "127.0.0.1", 8000, "http", { address: "127.0.0.1", family: "IPv4", port: 8000 }, true]);
  });

  test("at the root, behind https, and over IPv6", async () => {
    const show = "return Response.json([server.url.href, server.hostname, server.port, server.protocol, server.address.family])";
    expect(await run(show, { origin: "https://shop.example", mount: "" })).toEqual(["https://shop.example/", "shop.example", 443, "https", "IPv4"]);
    expect(await run(show, { origin: "http://[::1]:80", mount: "/" })).toEqual(["http://[::1]/", "[::1]", 80, "http", "IPv6"]);
  });

  test("has neither host nor port where the supervisor listens on a Unix socket", async () => {
    const shown = await run("return Response.json([server.url.href, server.hostname ?? null, server.port ?? null, server.address])", { origin: "" });
    expect(shown).toEqual(["http://localhost/app/", null, null, null]);
  });

  test("requestIP is the client, also for a clone, and null for a request of the app's own", async () => {
    const shown = await run("return Response.json([server.requestIP(req), server.requestIP(req.clone()), server.requestIP(new Request('http://x/'))])");
    const client = { address: "203.0.113.7", family: "IPv4", port: 40000 };
    expect(shown).toEqual([client, client, null]);
  });

  test("requestIP of an IPv6 client, and null where it is not known", async () => {
    const worker = await TestWorker.start("export default { fetch: (req, server) => Response.json(server.requestIP(req)) }");
    expect((await worker.fetch("/", { peer: ["2001:db8::1", 5] })).text()).toBe('{"address":"2001:db8::1","family":"IPv6","port":5}');
    expect((await worker.fetch("/", { peer: ["", 0] })).text()).toBe("null");
    await worker.stop();
  });

  test("development is what ASSIGN says", async () => {
    expect(await run("return Response.json(server.development)", { dev: true })).toBe(true);
    expect(await run("return Response.json(server.development)")).toBe(false);
  });

  test("has no WebSockets, and says so quietly", async () => {
    const shown = await run("return Response.json([server.upgrade(req), server.publish('a', 'b'), server.subscriberCount('a'), server.pendingWebSockets, server.id])");
    expect(shown).toEqual([false, 0, 0, 0, ""]);
  });

  test("timeout, ref, unref, stop and closeIdleConnections do no harm", async () => {
    const shown = await run(`
      server.timeout(req, 10); server.ref(); server.unref(); server.closeIdleConnections(); await server.stop(true);
      let message; try { server.timeout(req, "x") } catch (error) { message = error.message }
      return Response.json(message)`);
    expect(shown).toBe("timeout() requires a number");
  });

  test("fetch() calls the app's fetch with paths, URLs and requests", async () => {
    const shown = await run(`
      const { pathname } = new URL(req.url);
      if (pathname !== "/path") return new Response(pathname + (server ? " with server" : ""));
      const texts = await Promise.all(["/a", new URL("http://x/b"), new Request("http://x/c")].map(async (one) => (await server.fetch(one)).text()));
      return Response.json(texts)`);
    expect(shown).toEqual(["/a with server", "/b with server", "/c with server"]);
  });

  test("pendingRequests counts what is not answered to the end", async () => {
    const worker = await TestWorker.start(`
      let release;
      export default { fetch(req, server) {
        const { pathname } = new URL(req.url);
        if (pathname === "/wait") return new Promise(() => {});
        if (pathname === "/fail") return Promise.reject(new Error("x"));
        if (pathname === "/stream") return new Response(new ReadableStream({ pull: () => new Promise(() => {}) }));
        return Response.json(server.pendingRequests);
      } }`);
    const pending = async () => JSON.parse((await worker.fetch("/")).text());
    expect(await pending()).toBe(1);
    const waiting = worker.request("/wait");
    const streaming = worker.request("/stream");
    await worker.fetch("/fail").catch(() => {});
    expect(await pending()).toBe(3);
    worker.cancel(waiting, 1);
    worker.cancel(streaming, 1);
    expect(await pending()).toBe(1);
    await worker.stop();
  });

  test("reload() replaces fetch, error and routes from the next request on", async () => {
    const worker = await TestWorker.start(`
      export default {
        routes: { "/route": () => new Response("route 1") },
        fetch(req, server) {
          if (req.url.endsWith("/reload")) server.reload({ fetch(req) { if (req.url.endsWith("/throw")) throw new Error("x"); return new Response("fetch 2") }, error: () => new Response("error 2") });
          return new Response("fetch 1");
        },
      }`);
    expect((await worker.fetch("/route")).text()).toBe("route 1");
    expect((await worker.fetch("/reload")).text()).toBe("fetch 1");
    expect((await worker.fetch("/route")).text()).toBe("fetch 2");
    expect((await worker.fetch("/throw")).text()).toBe("error 2");
    await worker.stop();
  });

  test("shows itself to console.log without failing", async () => {
    expect(await run("return Response.json(Bun.inspect(server).length > 0)")).toBe(true);
  });
});

describe("the app's error handler", () => {
  const start = (handler: string) =>
    TestWorker.start(`export default {
      word: "bound",
      fetch(req) {
        if (req.url.endsWith("/async")) return (async () => { await Bun.sleep(1); throw new Error("late") })();
        if (req.url.endsWith("/file")) return new Response(Bun.file("/nowhere/at/all"));
        if (req.url.endsWith("/used")) { const r = new Response("x"); r.text(); return r }
        throw new Error("early");
      },
      ${handler} }`);

  test("answers for what is thrown, rejected, missing or cannot be sent", async () => {
    const worker = await start("error(error) { return new Response(this.word + ' ' + error.message, { status: 500 }) }");
    for (const [pathname, text] of [["/", "bound early"], ["/async", "bound late"], ["/file", "bound ENOENT"], ["/used", "bound Response body already used"]] as const) {
      const answer = await worker.fetch(pathname);
      expect(answer.status).toBe(500);
      expect(answer.text()).toStartWith(text);
    }
    await worker.stop();
  });

  test("may be asynchronous", async () => {
    const worker = await start("async error(error) { await Bun.sleep(1); return new Response(error.message) }");
    expect((await worker.fetch("/")).text()).toBe("early");
    await worker.stop();
  });

  const unanswered: Record<string, [handler: string, message: string]> = {
    "that answers nothing leaves the error": ["error() {}", "early"],
    "that answers nothing later leaves the error": ["async error() {}", "early"],
    "that throws is itself the error": ["error() { throw new Error('second') }", "second"],
    "that rejects is itself the error": ["async error() { throw new Error('second') }", "second"],
    "whose answer cannot be sent is itself the error": ["error() { return Response.error() }", "status 0"],
  };
  for (const [name, [handler, message]] of Object.entries(unanswered)) {
    test(name, async () => {
      const worker = await start(handler);
      const error = await worker.fetch("/").catch((error) => error);
      expect(error).toBeInstanceOf(AppError);
      expect(error.message).toContain(message);
      expect(worker.seen(T.ERROR)).toEqual([]);
      await worker.stop();
    });
  }
});
