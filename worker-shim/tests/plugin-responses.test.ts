/** `onResponse`: what it is given, and what comes of what it returns. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { beginHook, type HookOptions, read, responseHead, runHook, startPlugin } from "./plugin.ts";
import type { AppError, TestWorker } from "./worker.ts";

const SOURCE = `
export default {
  async onResponse(response, app, request) {
    switch (request.headers.get("how")) {
      case "see":
        return Response.json({
          status: response.status, statusText: response.statusText, headers: [...response.headers], body: response.body !== null,
          app, method: request.method, url: request.url, asked: [...request.headers],
        });
      case "header": { const headers = new Headers(response.headers); headers.set("x-new", "1"); return new Response(response.body, { status: 203, headers }); }
      case "empty": return new Response("", { headers: { a: "1" } });
      case "none": return new Response(null, { status: 204, headers: { a: "1" } });
      case "text": return new Response(await response.text() + "!", response);
      case "upper": return new Response(response.body.pipeThrough(new TransformStream({ transform(chunk, c) { c.enqueue(chunk.map((byte) => byte ^ 0x20)); } })), response);
      case "read": await response.text(); return;
      case "clone": globalThis.seen = await response.clone().text(); return;
      case "request": return new Request("http://a/");
      case "throw": throw new Error("no");
    }
  }
}
`;

let worker: TestWorker;
beforeAll(async () => void (worker = await startPlugin(SOURCE)));
afterAll(async () => expect(await worker.stop()).toBe(0));

const HEADERS: [string, string][] = [["content-type", "text/x"], ["content-length", "4"], ["set-cookie", "a=b"], ["set-cookie", "c=d"], ["x", "caf\xe9"]];
const ask = (how: string, body = "", status = 200, options: HookOptions = {}) =>
  runHook(worker, "response", { method: "POST", body: Buffer.concat([responseHead(status, HEADERS, "Fine"), Buffer.from(body)]), ...options, headers: { how, _method: "GET", ...options.headers } });
const failure = (answer: Promise<unknown>) => answer.then(() => expect.unreachable(), (error: AppError) => error);

test("it is given the response, the app and the request", async () => {
  const answer = await ask("see", "", 299, { headers: { _method: "HEAD", _app: "shop@1.0.0", accept: "*/*" } });
  expect(JSON.parse(answer.text())).toEqual({
    status: 299,
    statusText: "Fine",
    headers: [["content-length", "4"], ["content-type", "text/x"], ["x", "café"], ["set-cookie", "a=b"], ["set-cookie", "c=d"]],
    body: false,
    app: { name: "shop", version: "1.0.0" },
    method: "HEAD",
    url: "https://example.org/a?b=c",
    asked: [["accept", "*/*"], ["how", "see"]],
  });
  expect(read(answer).flow).toEqual({ flow: "respond", body: "replace" });
});

describe("without a body", () => {
  test("nothing returned leaves the response", async () => {
    const answer = await ask("nothing");
    expect([answer.status, read(answer).flow]).toEqual([204, { flow: "continue" }]);
  });

  test("a response without one keeps the body that there was", async () => {
    const answer = await ask("header");
    expect([answer.status, answer.fin, answer.body.length]).toEqual([203, true, 0]);
    const { flow, headers } = read(answer);
    expect(flow).toEqual({ flow: "respond", body: "keep" });
    expect(headers).toEqual({ "content-type": "text/x", "set-cookie": "a=b, c=d", x: "caf\xe9", "x-new": "1" });
  });

  test("one with an empty one takes it away", async () => {
    expect(read(await ask("empty")).flow).toEqual({ flow: "respond", body: "replace" });
  });

  for (const status of [101, 204, 205, 304]) {
    test(`status ${status} has none, whatever is asked`, async () => {
      expect(read(await ask("nothing", "", status)).flow).toEqual({ flow: "continue" });
      expect(read(await ask("none", "", status))).toEqual({ flow: { flow: "respond", body: "keep" }, headers: { a: "1" } });
    });
  }
});

describe("with the body", () => {
  test("nothing returned gives it back", async () => {
    const answer = await ask("nothing", "text");
    expect([answer.status, answer.text(), read(answer)]).toEqual([200, "text", { flow: { flow: "continue", body: "replace" }, headers: {} }]);
  });

  test("it may be replaced, by one of another length", async () => {
    const answer = await ask("text", "text");
    expect([answer.status, answer.statusText, answer.text()]).toEqual([200, "Fine", "text!"]);
    expect(read(answer).headers).toEqual({ "content-type": "text/x", "set-cookie": "a=b, c=d", x: "caf\xe9" });
  });

  test("it may be taken away", async () => {
    const answer = await ask("none", "text");
    expect([answer.status, read(answer).flow]).toEqual([204, { flow: "respond", body: "replace" }]);
  });

  test("it may be read in a clone", async () => {
    expect((await ask("clone", "text")).text()).toBe("text");
  });

  test("that was read while nothing is returned is an error that says what to do", async () => {
    expect((await failure(ask("read", "text"))).message).toContain("response.clone()");
  });

  for (const how of ["nothing", "upper", "text"]) {
    test(`it passes through piece by piece (${how})`, async () => {
      const body = Buffer.alloc(2_000_000, "a");
      const stream = beginHook(worker, "response", { method: "POST", fin: false, headers: { how, _method: "GET" } });
      const whole = Buffer.concat([responseHead(200, HEADERS), body]);
      const [answer] = await Promise.all([worker.answer(stream), worker.sendBody(stream, whole)]);
      const expected = how === "upper" ? Buffer.alloc(body.length, "A") : how === "text" ? Buffer.concat([body, Buffer.from("!")]) : body;
      expect(answer.body.equals(expected)).toBe(true);
    });
  }

  test("it may turn out to be empty", async () => {
    const stream = beginHook(worker, "response", { method: "POST", fin: false, headers: { how: "nothing", _method: "GET" } });
    await worker.sendBody(stream, responseHead(200));
    const answer = await worker.answer(stream);
    expect([answer.status, answer.body.length, read(answer).flow]).toEqual([200, 0, { flow: "continue", body: "replace" }]);
  });
});

test("a head that comes in single bytes is waited for", async () => {
  const stream = beginHook(worker, "response", { method: "POST", fin: false, headers: { how: "see", _method: "GET" } });
  for (const byte of responseHead(200, HEADERS)) worker.send(0x12, stream, Buffer.of(byte));
  worker.send(0x13, stream, Buffer.alloc(0));
  expect(JSON.parse((await worker.answer(stream)).text()).status).toBe(200);
});

test("errors, wrong answers and heads that are none are ERRORs", async () => {
  expect((await failure(ask("throw"))).message).toBe("no");
  expect((await failure(ask("request"))).message).toContain("neither a Response nor nothing");
  for (const body of [Buffer.alloc(0), Buffer.from([0, 0, 0, 9, 1]), Buffer.from([0xff, 0xff, 0xff, 0xff]), Buffer.from([0, 0, 0, 1, 0x90]), Buffer.from([0, 0, 0, 1, 0xc1])]) {
    await failure(runHook(worker, "response", { method: "POST", body }));
  }
});
