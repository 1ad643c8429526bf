/** What an app sees of a request. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { T, unpack } from "./codec.ts";
import { TestWorker } from "./worker.ts";

const APP = `
let noted = Promise.withResolvers();
const note = (value) => noted.resolve(value instanceof Error ? value.name + ": " + value.message : String(value));
const handlers = {
  "/show": (r) => Response.json({ method: r.method, url: r.url, headers: [...r.headers], body: r.body === null }),
  "/text": async (r) => new Response(await r.text()),
  "/json": async (r) => Response.json(await r.json()),
  "/bytes": async (r) => new Response(await r.bytes()),
  "/blob": async (r) => { const blob = await r.blob(); return new Response(blob.type + " " + blob.size) },
  "/form": async (r) => { const form = await r.formData(); return new Response([...form].map(([k, v]) => k + "=" + (v.name ?? v)).join()) },
  "/chunks": async (r) => { const sizes = []; for await (const chunk of r.body) sizes.push(chunk.length); return Response.json(sizes) },
  "/transfer": async (r) => { let n = 0; for await (const chunk of r.body) { n += chunk.length; structuredClone(chunk.buffer, { transfer: [chunk.buffer] }) } return new Response(String(n)) },
  "/kind": async (r) => { for await (const chunk of r.body) return new Response(chunk.constructor.name) },
  "/pipe": (r) => new Response(r.body),
  "/length": async (r) => { let n = 0; for await (const chunk of r.body) n += chunk.length; return new Response(String(n)) },
  "/twice": async (r) => { await r.text(); try { await r.text() } catch (error) { return new Response(error.name + " " + r.bodyUsed) } },
  "/clone": async (r) => { const copy = r.clone(); return Response.json([await copy.text(), await r.text(), copy.headers.get("x"), copy.signal === r.signal, copy instanceof Request, copy.url === r.url]) },
  "/copy": async (r) => { const copy = new Request(r); return Response.json([copy.method, await copy.text(), copy.headers.get("x"), copy instanceof Request]) },
  "/copy-init": async (r) => { const copy = new Request("http://elsewhere/", r); return Response.json([copy.method, copy.headers.get("x"), copy.url]) },
  "/rewrite": async (r) => { const copy = new Request(r, { headers: { y: "2" }, method: "PUT" }); return Response.json([copy.method, [...copy.headers], await copy.text()]) },
  "/subclass": (r) => { class Mine extends Request { get word() { return "mine " + this.headers.get("x") } } return new Response(new Mine(r).word) },
  "/brand": (r) => Response.json([r instanceof Request, r.constructor === Request, Object.prototype.toString.call(r), Object.getOwnPropertySymbols(r).length, Object.keys(r).length, Request.name, Request.length]),
  "/assign": (r) => { r.params = { a: "1" }; r.query = "q"; return Response.json([r.params, r.query]) },
  "/inspect": (r) => new Response(Bun.inspect(r)),
  "/no-new": () => { for (const f of [Request, Response]) try { f("http://a/"); return new Response("no") } catch (error) { if (!(error instanceof TypeError)) throw error } return new Response("yes") },
  "/cancel-body": async (r) => { const reader = r.body.getReader(); await reader.read(); await reader.cancel("enough"); return new Response("cancelled") },
  "/wait-abort": (r) => new Promise((resolve) => r.signal.addEventListener("abort", () => { note(r.signal.reason); resolve(new Response("late")) })),
  "/wait-clone-abort": (r) => new Promise((resolve) => r.clone().signal.addEventListener("abort", () => { note("clone"); resolve() })),
  "/wait-copy-abort": (r) => new Promise((resolve) => new Request(r).signal.addEventListener("abort", () => { note("copy"); resolve() })),
  "/wait-fetch-request-abort": async (r) => { try { return await fetch(r) } catch (error) { note("fetch request " + error.name); throw error } },
  "/ask-late": async (r) => { await gate2.promise; note("late " + r.signal.aborted + " " + r.signal.reason.name); return new Response() },
  "/reject-after-abort": (r) => new Promise((_, reject) => r.signal.addEventListener("abort", () => { reject(new Error("after abort")); note("rejected") })),
  "/read-until-error": async (r) => { try { for await (const _ of r.body); note("complete") } catch (error) { note("body " + error.name); throw error } },
  "/read-on": (r) => { (async () => { try { await r.text(); note("complete") } catch (error) { note("body " + error.name) } })(); return new Response("early") },
  "/open": () => { gate2.resolve(); return new Response() },
  "/last": async () => { const text = await noted.promise; noted = Promise.withResolvers(); return new Response(text) },
  "/fast-abort": (r) => { const aborted = r.signal.aborted; return new Response(String(aborted) + " " + (r.signal === r.signal)) },
};
const gate2 = Promise.withResolvers();
export default { fetch(r) { return handlers[new URL(r.url).pathname](r) } };
`;

let worker: TestWorker;
beforeAll(async () => {
  worker = await TestWorker.start(APP);
});
afterAll(async () => {
  expect(await worker.stop()).toBe(0);
});

describe("the head", () => {
  test("gives method, absolute URL and headers, values as bytes", async () => {
    const answer = await worker.fetch("/show?x=%20y", {
      method: "DELETE",
      headers: [
        ["host", "shop.example"],
        ["x", "1"],
        ["x", "2"],
        ["cookie", "a=1"],
        ["cookie", "b=2"],
        ["latin", "caf\xe9"],
      ],
    });
    expect(JSON.parse(answer.text())).toEqual({
      method: "DELETE",
      url: "http://127.0.0.1:8000/show?x=%20y",
      headers: [
        ["cookie", "a=1; b=2"],
        ["host", "shop.example"],
        ["latin", "caf\xe9"],
        ["x", "1, 2"],
      ],
      body: true,
    });
  });

  for (const method of ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH"]) {
    test(`the method ${method} arrives`, async () => {
      const app = await worker.fetch("/show", { method });
      if (method === "HEAD") expect([app.status, app.body.length]).toEqual([200, 0]);
      else expect(JSON.parse(app.text()).method).toBe(method);
    });
  }

  test("long names, values and URLs arrive whole", async () => {
    const pathname = `/show?${"q".repeat(70_000)}`;
    const headers: [string, string][] = [["n".repeat(300), "v".repeat(300)], ["big", "w".repeat(70_000)]];
    const shown = JSON.parse((await worker.fetch(pathname, { headers })).text());
    expect(shown.url).toBe(`http://127.0.0.1:8000${pathname}`);
    expect(shown.headers).toEqual([headers[1], headers[0]]);
  });

  for (const url of ["nonsense", "http://xn--a/", "http://[::1/"]) {
    for (const options of [{}, { method: "POST", body: "some" }, { method: "POST", body: "some", fin: false }]) {
      test(`the URL ${url} is a bad request, which the app never sees: ${JSON.stringify(options)}`, async () => {
        const started = worker.progress();
        const answer = await worker.fetch("", { url, ...options });
        expect([answer.status, answer.text(), worker.progress()]).toEqual([400, "Bad Request", started]);
        expect((await worker.fetch("/show")).status).toBe(200);
      });
    }
  }
});

describe("a body within its REQUEST frame", () => {
  const post = (pathname: string, body: string | Uint8Array, type = "text/plain") => worker.fetch(pathname, { method: "POST", body, headers: [["content-type", type], ["x", "1"]] });

  test("text, json, bytes", async () => {
    expect((await post("/text", "héllo")).text()).toBe("héllo");
    expect((await post("/json", '{"a":[1]}')).text()).toBe('{"a":[1]}');
    expect((await post("/bytes", Buffer.from([0, 255]))).body).toEqual(Buffer.from([0, 255]));
  });

  test("blob has the content-type", async () => {
    expect((await post("/blob", "abc", "image/png")).text()).toBe("image/png 3");
  });

  test("formData, urlencoded and multipart", async () => {
    expect((await post("/form", "a=1&b=2", "application/x-www-form-urlencoded")).text()).toBe("a=1,b=2");
    const form = new FormData();
    form.set("file", new File(["x"], "x.txt"));
    const encoded = new Response(form);
    const type = encoded.headers.get("content-type")!;
    expect((await post("/form", await encoded.bytes(), type)).text()).toBe("file=x.txt");
  });

  test("as a stream", async () => {
    expect((await post("/chunks", "abc")).text()).toBe("[3]");
    expect((await post("/pipe", "abc")).text()).toBe("abc");
  });

  test("is read once", async () => {
    expect((await post("/twice", "abc")).text()).toBe("TypeError true");
  });

  test("a missing body is null, and GET and HEAD have none", async () => {
    for (const method of ["GET", "POST"]) expect(JSON.parse((await worker.fetch("/show", { method, body: method === "GET" ? "ignored" : "" })).text()).body).toBe(true);
  });
});

describe("a body in several frames", () => {
  /** Opens a POST, sends the parts, and returns the answer. */
  async function stream(pathname: string, parts: (string | Uint8Array)[], type = "text/plain") {
    const stream = worker.request(pathname, { method: "POST", fin: false, body: parts[0]!, headers: [["content-type", type], ["x", "1"]] });
    for (const part of parts.slice(1)) worker.send(T.BODY, stream, Buffer.from(part as string));
    worker.send(T.END, stream, Buffer.alloc(0));
    return worker.answer(stream);
  }

  test("text, json, bytes, blob, formData", async () => {
    expect((await stream("/text", ["hé", "ll", "o"])).text()).toBe("héllo");
    expect((await stream("/json", ["", '{"a":', "1}"])).text()).toBe('{"a":1}');
    expect((await stream("/bytes", [Buffer.from([1]), Buffer.from([2])])).body).toEqual(Buffer.from([1, 2]));
    expect((await stream("/blob", ["a", "bc"], "image/png")).text()).toBe("image/png 3");
    expect((await stream("/form", ["a=1", "&b=2"], "application/x-www-form-urlencoded")).text()).toBe("a=1,b=2");
  });

  test("chunk by chunk, and through to the response", async () => {
    expect((await stream("/chunks", ["a", "bb", "ccc"])).text()).toBe("[1,2,3]");
    expect((await stream("/pipe", ["a", "bb", "ccc"])).text()).toBe("abbccc");
  });

  test("as plain Uint8Arrays, each with memory of its own, so that one can be transferred away", async () => {
    expect((await stream("/kind", ["a", "b"])).text()).toBe("Uint8Array");
    expect((await stream("/transfer", ["a", "bb", "ccc", "dddd"])).text()).toBe("10");
  });

  test("bytes in END count too", async () => {
    const number = worker.request("/text", { method: "POST", fin: false });
    worker.send(T.END, number, Buffer.from("all"));
    expect((await worker.answer(number)).text()).toBe("all");
  });

  test("an empty body in an END of its own", async () => {
    expect((await stream("/text", [""])).text()).toBe("");
  });

  test("one that the app cancels is CANCEL 5, and the response goes on", async () => {
    const number = worker.request("/cancel-body", { method: "POST", fin: false, body: "abc" });
    expect(unpack((await worker.take(T.CANCEL, number)).payload).value).toEqual([5]);
    expect((await worker.answer(number)).text()).toBe("cancelled");
  });

  test("one of a GET is not wanted", async () => {
    const number = worker.request("/show", { fin: false, body: "abc" });
    expect(unpack((await worker.take(T.CANCEL, number)).payload).value).toEqual([5]);
    expect((await worker.answer(number)).status).toBe(200);
  });

  test("one that is still open when the response ends fails for who reads on", async () => {
    const number = worker.request("/read-on", { method: "POST", fin: false, body: "abc" });
    expect((await worker.answer(number)).text()).toBe("early");
    expect((await worker.fetch("/last")).text()).toBe("body AbortError");
  });
});

describe("copies of a request", () => {
  const post = (pathname: string) => worker.fetch(pathname, { method: "POST", body: "abc", headers: [["x", "1"]] });

  test("clone() has body, headers and the same signal", async () => {
    expect((await post("/clone")).text()).toBe('["abc","abc","1",true,true,true]');
  });

  test("new Request(request) has method, body and headers", async () => {
    expect((await post("/copy")).text()).toBe('["POST","abc","1",true]');
  });

  test("new Request(url, request) has method and headers", async () => {
    expect((await post("/copy-init")).text()).toBe('["POST","1","http://elsewhere/"]');
  });

  test("new Request(request, init) is overruled by init", async () => {
    const [method, headers, text] = JSON.parse((await post("/rewrite")).text());
    expect([method, Object.fromEntries(headers).y, text]).toEqual(["PUT", "2", "abc"]);
  });

  test("a subclass of Request works", async () => {
    expect((await post("/subclass")).text()).toBe("mine 1");
  });
});

describe("a request looks like Bun's own", () => {
  test("to instanceof, constructor, toString and property lists", async () => {
    expect(JSON.parse((await worker.fetch("/brand")).text())).toEqual([true, true, "[object Request]", 0, 0, "Request", 0]);
  });

  test("to routers that put properties on it", async () => {
    expect((await worker.fetch("/assign")).text()).toBe('[{"a":"1"},"q"]');
  });

  test("to console.log", async () => {
    const shown = (await worker.fetch("/inspect", { headers: [["x", "1"]] })).text();
    expect(shown).toBe(Bun.inspect(new Request("http://127.0.0.1:8000/inspect", { headers: { x: "1" } })));
  });

  test("and the classes want new", async () => {
    expect((await worker.fetch("/no-new")).text()).toBe("yes");
  });
});

describe("CANCEL", () => {
  const last = async () => (await worker.fetch("/last")).text();

  for (const [reason, shown] of [
    [1, "AbortError: The client has closed the connection"],
    [2, "TimeoutError: The request took longer than the app's timeout"],
    [4, "AbortError: The server is shutting down"],
  ] as const) {
    test(`${reason} aborts Request.signal with ${shown.split(":")[0]}, and a late answer is discarded`, async () => {
      const stream = worker.request("/wait-abort");
      worker.cancel(stream, reason);
      await worker.ping();
      expect(await last()).toBe(shown);
      expect(worker.received.filter((frame) => frame.stream === stream)).toEqual([]);
    });
  }

  test("aborts the signal of a clone", async () => {
    worker.cancel(worker.request("/wait-clone-abort"), 1);
    expect(await last()).toBe("clone");
  });

  test("aborts the signal of a copy", async () => {
    worker.cancel(worker.request("/wait-copy-abort"), 1);
    expect(await last()).toBe("copy");
  });

  test("aborts a fetch() of the request itself", async () => {
    const upstream = Bun.serve({ port: 0, fetch: () => asked.promise });
    const asked = Promise.withResolvers<Response>();
    const stream = worker.request("", { url: `http://127.0.0.1:${upstream.port}/wait-fetch-request-abort` });
    worker.cancel(stream, 1);
    expect(await last()).toBe("fetch request AbortError");
    asked.resolve(new Response());
    await upstream.stop(true);
  });

  test("is seen by an app that asks for the signal only later", async () => {
    worker.cancel(worker.request("/ask-late"), 2);
    await worker.fetch("/open");
    expect(await last()).toBe("late true TimeoutError");
  });

  test("fails the request body", async () => {
    const stream = worker.request("/read-until-error", { method: "POST", fin: false, body: "abc" });
    worker.cancel(stream, 1);
    expect(await last()).toBe("body AbortError");
  });

  test("a rejection that follows it is nobody's error", async () => {
    const stream = worker.request("/reject-after-abort");
    worker.cancel(stream, 1);
    expect(await last()).toBe("rejected");
    await worker.ping();
    expect(worker.received.filter((frame) => frame.stream === stream)).toEqual([]);
    expect(worker.process.exitCode).toBe(null);
  });
});

test("a signal that was never aborted is the same object each time", async () => {
  expect((await worker.fetch("/fast-abort")).text()).toBe("false true");
});

test("the progress page has the number of the last request before its handler ran", async () => {
  const own = await TestWorker.start("export default { fetch() { process.kill(process.pid, 'SIGKILL') } }");
  const stream = own.request("/");
  own.request("/");
  await own.process.exited;
  expect(own.progress()).toBe(stream);
  await own.exited();
});
