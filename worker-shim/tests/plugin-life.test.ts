/** How a plugin is loaded, set up and ended, and the calls that it makes. */
import { describe, expect, test } from "bun:test";
import { pack, type Packed, T, unpack } from "./codec.ts";
import { answerCall, beginHook, loadPlugin, read, runHook, startPlugin, takeCall } from "./plugin.ts";
import { TestWorker } from "./worker.ts";

const error = async (worker: TestWorker) => unpack((await worker.take(T.FAILED)).payload).value as string[];

test("onInit is awaited before READY, may call, and has its context", async () => {
  const worker = await loadPlugin(
    `export default {
      async onInit(ctx) { this.ctx = ctx; this.got = await ctx.get("keyval").read("key", { deep: [1] }); },
      onRequest() {
        const { name, version, base, config, stateDir, server } = this.ctx;
        return Response.json({ got: this.got, name, version, base, config, stateDir, server });
      },
    }`,
    { base: "/guard", config: { limit: 3, names: ["a", null], deep: { secret: "s" } } },
  );
  const early = beginHook(worker, "request");
  const call = await takeCall(worker);
  expect([call.service, call.method, call.args]).toEqual(["keyval", "read", ["key", { deep: [1] }]]);
  await worker.ping();
  expect([worker.seen(T.READY), worker.seen(T.RESPONSE)]).toEqual([[], []]);
  answerCall(worker, call.id, { value: 7 });
  expect(unpack((await worker.take(T.READY)).payload).value).toEqual([0, null]);
  expect(JSON.parse((await worker.answer(early)).text())).toEqual({
    got: { value: 7 },
    name: "@team/guard",
    version: "1.2.3",
    base: "/guard",
    config: { limit: 3, names: ["a", null], deep: { secret: "s" } },
    stateDir: "/state",
    server: null,
  });
  expect(await worker.stop()).toBe(0);
});

test("an onInit that throws is FAILED, with its own error", async () => {
  const worker = await loadPlugin("export default { async onInit(ctx) { await ctx.get('a').b(); } }");
  const { id } = await takeCall(worker);
  answerCall(worker, id, null, ["Unavailable", "the service is unavailable"]);
  const [name, message, stack] = await error(worker);
  expect([name, message]).toEqual(["Unavailable", "the service is unavailable"]);
  expect(stack).toContain("plugin.ts");
  expect(await worker.stop()).toBe(0);
});

describe("a module that is no plugin", () => {
  for (const [source, words] of [
    ["export const other = 1", "no default export"],
    ["export default 7", "is a number"],
    ["export default class {}", "is a function"],
    ["export default Promise.resolve({})", "is a promise"],
    ["export default []", "is an array"],
    ["export default { onRequest: 7 }", "onRequest is 7, no function"],
    ["export default { fetch: {} }", "fetch is {}, no function"],
    ["export default { routes: [] }", "routes are [], no object"],
    ["export default { routes: { a() {} } }", 'does not begin with /'],
    ["export default { services: { a: 7 } }", 'service "a" is 7'],
    ["export default { services: () => {} }", "services are"],
    ["throw new Error('mine')", "mine"],
  ] as const) {
    test(`is FAILED: ${source}`, async () => {
      const worker = await loadPlugin(source);
      expect((await error(worker))[1]).toContain(words);
      expect(await worker.stop()).toBe(0);
    });
  }
});

test("a module with a top-level await, or in CommonJS, is a plugin too", async () => {
  for (const files of [{ "plugin.ts": "await 0; export default { onRequest: () => new Response('yes') }" }, { "plugin.cjs": "module.exports = { onRequest: () => new Response('yes') }" }]) {
    const worker = await startPlugin(files as unknown as Record<string, string>);
    expect((await runHook(worker, "request")).text()).toBe("yes");
    expect(await worker.stop()).toBe(0);
  }
});

test("onServerStart runs by itself where the server is there, once, and its failure is printed", async () => {
  const worker = await startPlugin(
    `let times = 0, ctx;
    export default {
      onInit(context) { ctx = context; },
      onServerStart(server) { times++; console.log("at " + server.url + " " + ctx.server.url + ctx.server.apiBase); throw new Error("not mine"); },
      onRequest: () => new Response(String(times)),
    }`,
    { server: "http://127.0.0.1:8000", apiBase: "/api" },
  );
  expect((await runHook(worker, "server-start", { method: "POST", body: pack({ url: "http://127.0.0.1:8000", apiBase: "/api" }) })).status).toBe(204);
  expect((await runHook(worker, "request")).text()).toBe("1");
  expect(await worker.stop()).toBe(0);
  expect(worker.stdout).toContain("at http://127.0.0.1:8000 http://127.0.0.1:8000/api");
  expect(worker.stderr).toContain("not mine");
});

test("onShutdown is HOOK 2", async () => {
  const worker = await loadPlugin("export default { async onShutdown() { await 0; console.log('closing'); throw new Error('late'); } }");
  expect(unpack((await worker.take(T.READY)).payload).value).toEqual([2, null]);
  worker.send(T.HOOK, 0, pack([2]));
  const [kind, message] = unpack((await worker.take(T.HOOK_DONE)).payload).value as [number, string];
  expect([kind, message]).toEqual([2, expect.stringContaining("late")]);
  expect(await worker.stop()).toBe(0);
  expect(worker.stdout).toContain("closing");
});

test("the example of the published types is a plugin", async () => {
  const source = await Bun.file(`${import.meta.dir}/plugin-example.ts`).text();
  const worker = await startPlugin(source, { config: { header: "x-who" } });
  const asked = await runHook(worker, "request", { headers: { _phase: "permit", "x-who": "me" } });
  expect(read(asked).headers.who).toBe("me");
  expect((await runHook(worker, "route", { url: "http://h/items/7" })).text()).toBe("7");
  expect(await worker.stop()).toBe(0);
});

test("the routes that onInit makes are taken", async () => {
  const worker = await startPlugin("export default { onInit() { this.routes = { '/a': () => new Response('a') } } }");
  expect((await runHook(worker, "route", { url: "http://h/a" })).text()).toBe("a");
  expect(await worker.stop()).toBe(0);
});

describe("calls", () => {
  const SOURCE = `
    let ctx;
    const results = [];
    const actions = {
      log() { ctx.log.info("hello", { a: 1 }); ctx.log.error(new Error("odd")); ctx.log.warn("odd", () => {}); },
      pool: () => ctx.pool.workers(),
      restart: () => ctx.pool.restart("shop"),
      apps: () => ctx.apps.list(),
      env: () => ctx.workerEnv.set("TOKEN", "t"),
      bad: () => Promise.allSettled([ctx.get("s").m(() => {}), ctx.get("s").m(new Map()), ctx.get("s").m(2n ** 64n), ctx.get("s").m("x".repeat(2 ** 20))]),
      cycle() { const a = []; a.push(a); return ctx.get("s").m(a); },
      many: (n) => Promise.all(Array.from({ length: n }, (_, i) => ctx.get("s").m(i))),
      large: (n) => Promise.all(Array.from({ length: n }, (_, i) => ctx.get("s").m("x".repeat(1_000_000)))),
      awaited: async () => [typeof await ctx.get("s"), ctx.get("s") === ctx.get("s"), ctx.get("s").m === ctx.get("s").m, String(ctx.get("s").then)],
    };
    export default {
      onInit(context) { ctx = context; },
      async onRequest(request) {
        const [, action, n] = new URL(request.url).pathname.split("/");
        try {
          const value = await actions[action](Number(n));
          return new Response(Bun.inspect(value));
        } catch (error) { return new Response("threw " + error.name + ": " + error.message); }
      },
    }`;
  const start = () => startPlugin(SOURCE);
  const act = (worker: TestWorker, action: string) => beginHook(worker, "request", { url: `http://h/${action}` });

  test("of the context go to the services of the core", async () => {
    const worker = await start();
    for (const [action, service, method, args] of [
      ["pool", "core:pool", "workers", []],
      ["restart", "core:pool", "restart", ["shop", null]],
      ["apps", "core:apps", "list", []],
      ["env", "core:env", "set", ["TOKEN", "t"]],
    ] as const) {
      const stream = act(worker, action);
      const call = await takeCall(worker);
      expect([call.service, call.method, call.args]).toEqual([service, method, args as unknown as Packed[]]);
      answerCall(worker, call.id, [action]);
      expect((await worker.answer(stream)).text()).toContain(action);
    }
    expect(await worker.stop()).toBe(0);
  });

  test("of the log are made with what can be sent, and printed where nothing can", async () => {
    const worker = await start();
    await worker.answer(act(worker, "log"));
    const [info, odd] = [await takeCall(worker), await takeCall(worker)];
    expect([info.service, info.method, info.args]).toEqual(["core:log", "info", ["hello", { a: 1 }]]);
    expect([odd.method, odd.args[0]]).toEqual(["error", expect.stringContaining("odd")]);
    answerCall(worker, info.id, null, ["Error", "no log"]);
    await worker.ping();
    expect(await worker.stop()).toBe(0);
    expect(worker.stderr).toContain("hello");
    expect(worker.stderr).toContain("odd");
  });

  test("with what cannot be sent are refused here", async () => {
    const worker = await start();
    const text = (await worker.answer(act(worker, "bad"))).text();
    for (const words of ["A function cannot be sent", "no plain object", "more than 64 bits", "more than 1048576 bytes"]) expect(text).toContain(words);
    expect((await worker.answer(act(worker, "cycle"))).text()).toStartWith("threw RangeError");
    expect((await worker.answer(act(worker, "awaited"))).text()).toBe('[ "object", true, true, "undefined" ]');
    expect(worker.seen(T.CALL)).toEqual([]);
    expect(await worker.stop()).toBe(0);
  });

  test("wait here where a thousand are open, and keep their order", async () => {
    const worker = await start();
    const stream = act(worker, "many/1500");
    await worker.until(() => worker.seen(T.CALL).length === 1000);
    await worker.ping();
    expect(worker.seen(T.CALL).length).toBe(1000);
    for (let i = 0; i < 1500; i++) {
      const call = await takeCall(worker);
      expect(call.args).toEqual([i]);
      answerCall(worker, call.id, i);
    }
    expect((await worker.answer(stream)).status).toBe(200);
    expect(await worker.stop()).toBe(0);
  });

  test("wait here where sixteen mebibytes are open", async () => {
    const worker = await start();
    const stream = act(worker, "large/20");
    await worker.until(() => worker.seen(T.CALL).length === 16);
    await worker.ping();
    expect(worker.seen(T.CALL).length).toBe(16);
    for (let i = 0; i < 20; i++) answerCall(worker, (await takeCall(worker)).id, null);
    expect((await worker.answer(stream)).status).toBe(200);
    expect(await worker.stop()).toBe(0);
  });
});

describe("what breaks the protocol ends the worker", () => {
  test("a RESULT for no call, or of the wrong form", async () => {
    for (const payload of [pack([1, null, null]), pack([1]), pack({}), Buffer.from([0xc1]), Buffer.alloc(0), Buffer.concat([pack([1, null, null]), Buffer.of(0)])]) {
      const worker = await startPlugin("export default {}");
      worker.send(T.RESULT, 0, payload);
      expect(await worker.exited()).toBe(70);
    }
  });

  test("an error of a RESULT that is none", async () => {
    const worker = await loadPlugin("export default { onInit: (ctx) => ctx.get('a').b() }");
    const { id } = await takeCall(worker);
    worker.send(T.RESULT, 0, pack([id, ["name"], null]));
    expect(await worker.exited()).toBe(70);
  });

  test("a RESULT for an app or a spare", async () => {
    const app = await TestWorker.start("export default { fetch: () => new Response() }");
    app.send(T.RESULT, 0, pack([1, null, null]));
    expect(await app.exited()).toBe(70);
    const spare = await TestWorker.spawn();
    await spare.take(T.HELLO);
    spare.send(T.RESULT, 0, pack([1, null, null]));
    expect(await spare.exited()).toBe(70);
  });

  test("a seat that is none", async () => {
    const seats: Packed[] = [7 as Packed, "text", Buffer.alloc(0), pack([]), pack({}), pack({ name: "a", version: "1", base: 7, config: {}, stateDir: "", server: null }), pack({ name: "a", version: "1", base: null, config: [], stateDir: "", server: null })];
    for (const plugin of seats) {
      const worker = await TestWorker.spawn();
      await worker.take(T.HELLO);
      worker.assign("export default {}", { plugin });
      expect(await worker.exited()).toBe(70);
    }
  });
});

test("an app may say x-buntime-flow: for it, it is a header as any", async () => {
  const worker = await TestWorker.start("export default { fetch: (request) => new Response(request.headers.get('x-buntime-hook'), { headers: { 'x-buntime-flow': 'replace' } }) }");
  const answer = await runHook(worker, "request");
  expect([answer.text(), read(answer).flow]).toEqual(["request", { flow: "replace" }]);
  expect(await worker.stop()).toBe(0);
});
