/** `onRequest`: what it is given, and what comes of what it returns. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { T } from "./codec.ts";
import { beginHook, read, runHook, startPlugin } from "./plugin.ts";
import type { AppError, TestWorker } from "./worker.ts";

const SOURCE = `
let aborted = 0;
class Guard {
  word = "mine";
  async onRequest(request, app, info) {
    const how = request.headers.get("how");
    if (how === "see") {
      return Response.json({
        method: request.method, url: request.url, headers: [...request.headers], app, info, word: this.word, body: request.body !== null,
      });
    }
    if (how === "later") await Bun.sleep(0);
    if (how === "replace") return new Request("https://example.org/other#part", { method: "PUT", headers: { a: "1", "x-buntime-flow": "respond" } });
    if (how === "header") { const headers = new Headers(request.headers); headers.set("who", "me"); return new Request(request, { headers }); }
    if (how === "same") return request;
    if (how === "body") return new Request(request, { body: "new" + (await request.text()), method: "POST" });
    if (how === "bodyless") return new Request(request.url, { method: "DELETE" });
    if (how === "upper") return new Request(request, { body: request.body.pipeThrough(new TransformStream({ transform(chunk, c) { c.enqueue(chunk.map((byte) => byte ^ 0x20)); } })) });
    if (how === "respond") return new Response("no", { status: 401, headers: { "x-buntime-flow": "continue", "x-buntime-evil": "1", "set-cookie": "a=b" } });
    if (how === "stream") return new Response(new ReadableStream({ async pull(c) { c.enqueue("part"); await Bun.sleep(1); c.close(); } }));
    if (how === "redirect") return Response.redirect("/login", 302);
    if (how === "read") { await request.text(); return; }
    if (how === "clone") { globalThis.seen = await request.clone().text(); return; }
    if (how === "locked") { request.body.getReader(); return; }
    if (how === "read-replace") { const other = new Request("http://a/", { method: "POST", body: "x" }); await other.text(); return other; }
    if (how === "number") return 7;
    if (how === "throw") throw new RangeError("guarded");
    if (how === "seen") return new Response(globalThis.seen);
    if (how === "wait") { request.signal.addEventListener("abort", () => { aborted++; }); await new Promise(() => {}); }
    if (how === "aborted") return new Response(String(aborted));
  }
}
export default new Guard();
`;

let worker: TestWorker;
beforeAll(async () => void (worker = await startPlugin(SOURCE)));
afterAll(async () => expect(await worker.stop()).toBe(0));

const ask = (how: string, options: Parameters<typeof runHook>[2] = {}) => runHook(worker, "request", { ...options, headers: { how, ...options.headers } });
const post = (how: string, body: string) => ask(how, { method: "POST", body, headers: { "content-length": String(body.length), "content-type": "text/x" } });
const failure = (answer: Promise<unknown>) => answer.then(() => expect.unreachable(), (error: AppError) => error);

test("it is given the client's request, the app, the phase, and none of the supervisor's headers", async () => {
  const answer = await ask("see", { headers: { _phase: "permit", _app: "@team/shop@1.2.0-rc.1", "user-agent": "curl" } });
  expect(read(answer).flow).toEqual({ flow: "respond" });
  expect(JSON.parse(answer.text())).toEqual({
    method: "GET",
    url: "https://example.org/a?b=c",
    headers: [["how", "see"], ["user-agent", "curl"]],
    app: { name: "@team/shop", version: "1.2.0-rc.1" },
    info: { phase: "permit" },
    word: "mine",
    body: false,
  });
});

test("the app is undefined where it is not known", async () => {
  expect(JSON.parse((await ask("see", { headers: { _phase: "resolve" } })).text())).not.toHaveProperty("app");
});

for (const how of ["nothing", "later"]) {
  test(`nothing returned (${how}) goes on`, async () => {
    const answer = await ask(how);
    expect([answer.status, answer.fin, answer.body.length]).toEqual([204, true, 0]);
    expect(read(answer)).toEqual({ flow: { flow: "continue" }, headers: {} });
  });
}

describe("a Request", () => {
  test("replaces the one there was, and keeps its body", async () => {
    const answer = await ask("replace");
    expect(answer.status).toBe(200);
    expect(read(answer)).toEqual({ flow: { flow: "replace", method: "PUT", url: "https://example.org/other", body: "keep" }, headers: { a: "1" } });
  });

  test("may be made of the one there was", async () => {
    const { flow, headers } = read(await ask("header", { headers: { cookie: "a=b", _phase: "permit" } }));
    expect(flow).toEqual({ flow: "replace", method: "GET", url: "https://example.org/a?b=c", body: "keep" });
    expect(headers).toEqual({ how: "header", cookie: "a=b", who: "me" });
  });

  test("may be the very one", async () => {
    expect(read(await ask("same", { method: "HEAD" })).flow).toEqual({ flow: "replace", method: "HEAD", url: "https://example.org/a?b=c", body: "keep" });
    const answer = await post("same", "text");
    expect([read(answer).flow.body, answer.text()]).toEqual(["replace", "text"]);
  });

  test("may have a body of its own, and no length of the old one", async () => {
    const answer = await post("body", "text");
    expect(read(answer).flow).toEqual({ flow: "replace", method: "POST", url: "https://example.org/a?b=c", body: "replace" });
    expect(read(answer).headers).toEqual({ how: "body", "content-type": "text/x" });
    expect(answer.text()).toBe("newtext");
  });

  test("without a body in the place of one with one takes it away", async () => {
    const answer = await post("bodyless", "text");
    expect([read(answer).flow.body, answer.fin, answer.body.length]).toEqual(["replace", true, 0]);
  });

  test("in the place of a HEAD request may not have a body, which would be lost", async () => {
    expect((await failure(ask("body", { method: "HEAD" }))).message).toContain("HEAD");
  });

  test("whose body was read is an error", async () => {
    expect((await failure(ask("read-replace"))).message).toContain("body was read");
  });
});

describe("a Response", () => {
  test("is the answer, without what it sets in the supervisor's name", async () => {
    const answer = await ask("respond");
    expect([answer.status, answer.text()]).toEqual([401, "no"]);
    expect(read(answer)).toEqual({ flow: { flow: "respond" }, headers: { "content-type": "text/plain;charset=utf-8", "set-cookie": "a=b" } });
  });

  test("may be a stream or made by native code", async () => {
    const answer = await ask("stream");
    expect([read(answer).flow.flow, answer.text()]).toEqual(["respond", "part"]);
    expect(read(await ask("redirect"))).toEqual({ flow: { flow: "respond" }, headers: { location: "/login" } });
  });
});

describe("a body that was asked for", () => {
  test("comes back where nothing is returned", async () => {
    const answer = await post("nothing", "text");
    expect([answer.status, answer.text()]).toEqual([200, "text"]);
    expect(read(answer)).toEqual({ flow: { flow: "continue", body: "replace" }, headers: {} });
  });

  test("is not there with FIN and without bytes", async () => {
    expect(read(await ask("nothing", { method: "POST" })).flow).toEqual({ flow: "continue" });
  });

  test("may be read in a clone", async () => {
    expect((await post("clone", "text")).text()).toBe("text");
    expect((await ask("seen")).text()).toBe("text");
  });

  for (const how of ["read", "locked"]) {
    test(`that is ${how} while nothing is returned is an error that says what to do`, async () => {
      const error = await failure(post(how, "text"));
      expect(error.message).toContain("request.clone()");
      expect(error.message).toContain("new Request(request, { body })");
    });
  }

  for (const how of ["nothing", "upper"]) {
    test(`passes through piece by piece (${how}), each way at the reader's pace`, async () => {
      const body = Buffer.alloc(3_000_000, "a");
      const stream = beginHook(worker, "request", { method: "POST", headers: { how }, fin: false });
      const [answer] = await Promise.all([worker.answer(stream), worker.sendBody(stream, body)]);
      expect(answer.body.equals(how === "upper" ? Buffer.alloc(body.length, "A") : body)).toBe(true);
    });
  }

  test("is not taken from the supervisor before somebody reads it", async () => {
    const stream = beginHook(worker, "request", { method: "POST", headers: { how: "wait" }, fin: false });
    worker.send(T.BODY, stream, Buffer.alloc(200_000));
    await worker.ping();
    expect(worker.seen(T.CREDIT, stream)).toEqual([]);
    worker.cancel(stream, 1);
  });
});

test("who gives up is seen by the signal", async () => {
  const before = Number((await ask("aborted")).text());
  const stream = beginHook(worker, "request", { headers: { how: "wait" } });
  await worker.ping();
  worker.cancel(stream, 1);
  await worker.ping();
  expect(Number((await ask("aborted")).text())).toBe(before + 1);
});

test("an error is an ERROR", async () => {
  const error = await failure(ask("throw"));
  expect([error.appName, error.message]).toEqual(["RangeError", "guarded"]);
  expect(error.appStack).toContain("plugin.ts");
});

test("what is no answer is an ERROR that says so", async () => {
  expect((await failure(ask("number"))).message).toBe("onRequest has returned 7, which is neither a Request, a Response nor nothing");
});

test("a hook that the module lacks, and one that there is not, are ERRORs", async () => {
  for (const hook of ["response", "fetch", "worker-spawn", "worker-terminate"]) {
    const body = hook === "response" ? Buffer.from([0, 0, 0, 4, 0x93, 0xcc, 200, 0xa0, 0x90]) : Buffer.from([0x80]);
    expect((await failure(runHook(worker, hook, { method: "POST", body }))).message).toStartWith("The plugin has no ");
  }
  expect((await failure(runHook(worker, "other"))).message).toContain("no hook");
  expect((await failure(worker.fetch("/"))).message).toContain("no hook");
});
