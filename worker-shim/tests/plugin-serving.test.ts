/** A plugin's `fetch`, routes and services, and what it is told. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { pack, type Packed, T, unpack } from "./codec.ts";
import { answerCall, read, runHook, seatOf, startPlugin, takeCall } from "./plugin.ts";
import { type AppError, TestWorker } from "./worker.ts";

const SOURCE = `
class Base { inherited() {} }
const told = [];
const who = (request, server) => {
  const caller = server.caller(request);
  const apps = ["shop", "@team/shop", "@team", "@other/shop"];
  return caller && [caller.name, caller.may("apps:read"), caller.may("apps:install"), apps.map((app) => caller.sees(app)), apps.map((app) => caller.may("apps:read", app)), request.headers.has("x-buntime-caller"), server.caller(request.clone()) === caller, server.caller(new Request("http://h/"))];
};
export default {
  word: "mine",
  fetch(request, server) {
    const { pathname } = new URL(request.url);
    if (pathname === "/mine") return new Response(this.word + " " + request.headers.has("x-buntime-hook") + " " + server.requestIP(request)?.address, { headers: { "x-buntime-flow": "pass" } });
    if (pathname === "/self") return server.fetch("/mine");
    if (pathname === "/who") return Response.json(who(request, server));
    if (pathname === "/throw") throw new Error("no");
    return new Response("nothing here", { status: 404 });
  },
  routes: {
    "/items/:id": (request) => Response.json({ id: request.params.id, url: request.url, method: request.method }),
    "/who": (request, server) => Response.json(who(request, server)),
    "/fixed": new Response("fixed", { headers: { "x-buntime-flow": "respond", a: "1" } }),
    "/cookie": (request) => { request.cookies.set("a", "b"); return new Response("x"); },
    "/echo": { POST: async (request) => new Response(await request.text()) },
  },
  services: {
    math: Object.assign(new Base(), {
      factor: 3,
      times(n) { return n * this.factor; },
      echo: (...args) => args,
      later: async () => { await 0; return new Date(0); },
      nothing() {},
      fails() { throw new RangeError("too much"); },
      strange: () => new Map(),
    }),
  },
  onWorkerSpawn(worker, app) { told.push(["spawn", worker, app]); },
  async onWorkerTerminate(worker, app, reason) { await 0; told.push(["terminate", worker, app, reason]); if (reason === "throw") throw new Error("no"); },
  onServerStart(server) { told.push(["server", server]); },
  onRequest() { return Response.json(told); },
};
`;

let worker: TestWorker;
beforeAll(async () => void (worker = await startPlugin(SOURCE, { base: "/guard" })));
afterAll(async () => expect(await worker.stop()).toBe(0));

const failure = (answer: Promise<unknown>) => answer.then(() => expect.unreachable(), (error: AppError) => error);
const get = (hook: string, path: string) => runHook(worker, hook, { url: `http://h${path}` });

describe("fetch", () => {
  test("answers what is its own", async () => {
    const answer = await get("fetch", "/mine");
    expect([answer.text(), read(answer).flow]).toEqual(["mine false 203.0.113.7", {}]);
  });

  test("passes on what it answers with 404", async () => {
    const answer = await get("fetch", "/other");
    expect([answer.status, read(answer).flow]).toEqual([404, { flow: "pass" }]);
  });

  test("may be asked by the plugin itself", async () => {
    expect((await get("fetch", "/self")).text()).toStartWith("mine false");
  });

  test("an error is an ERROR", async () => {
    expect((await failure(get("fetch", "/throw"))).message).toBe("no");
  });
});

describe("routes", () => {
  test("are matched as an app's are", async () => {
    expect(JSON.parse((await get("route", "/items/7")).text())).toEqual({ id: "7", url: "http://h/items/7", method: "GET" });
    expect((await runHook(worker, "route", { url: "http://h/echo", method: "POST", body: "echo" })).text()).toBe("echo");
  });

  test("may be an answer that is always the same", async () => {
    for (let i = 0; i < 2; i++) {
      const answer = await get("route", "/fixed");
      expect([answer.text(), read(answer).flow, answer.header("a")]).toEqual(["fixed", {}, "1"]);
    }
  });

  test("have cookies", async () => {
    expect((await get("route", "/cookie")).header("set-cookie")).toStartWith("a=b");
  });

  test("that do not match are passed on, as are those of a plugin without any", async () => {
    const none = await startPlugin("export default {}");
    for (const answer of [await get("route", "/other"), await get("route", "/echo"), await runHook(none, "route")]) {
      expect([answer.status, answer.body.length, read(answer).flow]).toEqual([404, 0, { flow: "pass" }]);
    }
    expect(await none.stop()).toBe(0);
  });
});

describe("who asks", () => {
  const ask = async (hook: string, caller: object) => JSON.parse((await runHook(worker, hook, { url: "http://h/who", headers: { _caller: JSON.stringify(caller) } })).text());

  test("is told by the supervisor, with what they may", async () => {
    for (const hook of ["fetch", "route"]) {
      const all = { name: "admin socket", permissions: ["apps:read", "apps:install"], namespaces: "all" };
      const yes = [true, true, true, true];
      expect(await ask(hook, all)).toEqual(["admin socket", true, true, yes, yes, false, true, null]);
      const some = [false, true, false, false];
      expect(await ask(hook, { name: "k1", permissions: ["apps:read"], namespaces: ["@team"] })).toEqual(["k1", true, false, some, some, false, true, null]);
      const plain = [true, false, true, false];
      expect(await ask(hook, { name: "k1", permissions: [], namespaces: ["@"] })).toEqual(["k1", false, false, plain, [false, false, false, false], false, true, null]);
    }
  });

  test("is null where nobody is known", async () => {
    for (const hook of ["fetch", "route"]) expect((await get(hook, "/who")).text()).toBe("null");
  });
});

describe("services", () => {
  test("are named to the supervisor before onInit", async () => {
    const worker = await TestWorker.spawn();
    await worker.take(T.HELLO);
    const source = "export default { services: { a: {}, b: {} }, async onInit(ctx) { await ctx.get('x').y(); } }";
    worker.assign({ "plugin.ts": source }, { plugin: seatOf() });
    const first = await takeCall(worker);
    expect(first).toMatchObject({ service: "core:services", method: "provide", args: ["a", "b"] });
    answerCall(worker, first.id, null);
    const second = await takeCall(worker);
    expect(second).toMatchObject({ service: "x", method: "y" });
    answerCall(worker, second.id, null);
    await worker.take(T.READY);
    expect(await worker.stop()).toBe(0);
  });

  const call = async (service: string, method: string, args: Packed) =>
    unpack((await runHook(worker, "service", { method: "POST", body: pack(args), headers: { _service: service, _method: method } })).body).value;

  test("are called with copies of what is given, and answer with one", async () => {
    expect(await call("math", "times", [14])).toBe(42);
    const args: Packed = [null, true, 1, 70_000, 1.5, "é", { a: [1, { b: "c" }] }];
    expect(await call("math", "echo", args)).toEqual(args);
    expect(await call("math", "later", [])).toBe("1970-01-01T00:00:00.000Z");
    expect(await call("math", "nothing", [])).toBe(null);
  });

  test("have the methods that the author has given them and no others", async () => {
    for (const [service, method] of [["math", "other"], ["math", "factor"], ["math", "inherited"], ["math", "constructor"], ["math", "toString"], ["toString", "call"], ["other", "times"], ["", ""]]) {
      const error = await failure(call(service!, method!, []));
      expect([error.appName, error.message]).toEqual(["TypeError", expect.stringContaining("no ")]);
    }
  });

  test("that throw, or give what cannot be sent, are ERRORs", async () => {
    const error = await failure(call("math", "fails", []));
    expect([error.appName, error.message]).toEqual(["RangeError", "too much"]);
    expect((await failure(call("math", "strange", []))).message).toContain("no plain object");
    expect((await failure(call("math", "times", {}))).message).toContain("no array");
  });
});

describe("what is told", () => {
  const tell = (hook: string, body: Packed) => runHook(worker, hook, { method: "POST", body: pack(body) });

  test("reaches the module's methods", async () => {
    const [app, one] = [{ name: "shop", version: "1.0.0" }, { id: "w3", pid: 7 }];
    const answers = [
      await tell("worker-spawn", { worker: one, app }),
      await tell("worker-terminate", { worker: one, app, reason: "crash" }),
      await tell("server-start", { url: "http://h:1", apiBase: "/api" }),
      await tell("server-start", { url: "http://h:1", apiBase: "/api" }),
    ];
    expect(answers.map(({ status, fin }) => [status, fin])).toEqual(Array(4).fill([204, true]));
    const told = JSON.parse((await runHook(worker, "request")).text());
    expect(told).toEqual([["spawn", one, app], ["terminate", one, app, "crash"], ["server", { url: "http://h:1", apiBase: "/api" }]]);
  });

  test("and fails is an ERROR", async () => {
    expect((await failure(tell("worker-terminate", { worker: {}, app: {}, reason: "throw" }))).message).toBe("no");
    expect((await failure(tell("worker-spawn", 7))).message).toContain("no map");
  });
});
