/** Pings, hooks, and every way in which a worker ends. */
import { describe, expect, test } from "bun:test";
import { frame, pack, T, unpack } from "./codec.ts";
import { requestFrame, TestWorker } from "./worker.ts";

describe("hooks", () => {
  const hook = async (worker: TestWorker, kind: number) => {
    worker.send(T.HOOK, 0, pack([kind]));
    return unpack((await worker.take(T.HOOK_DONE)).payload).value;
  };

  test("run, are awaited and bound, and HOOK_DONE follows", async () => {
    const worker = await TestWorker.start(`
      const calls = [];
      export default {
        word: "bound",
        fetch: () => Response.json(calls),
        async onIdle() { await Bun.sleep(1); calls.push("idle " + this.word) },
        onTerminate() { calls.push("terminate " + this.word) },
      }`);
    expect(await hook(worker, 1)).toEqual([1, null]);
    expect(await hook(worker, 2)).toEqual([2, null]);
    expect((await worker.fetch("/")).text()).toBe('["idle bound","terminate bound"]');
    await worker.stop();
  });

  test("that the app does not have are done at once", async () => {
    const worker = await TestWorker.start("export default { fetch: () => new Response() }");
    expect(await hook(worker, 1)).toEqual([1, null]);
    expect(await hook(worker, 2)).toEqual([2, null]);
    await worker.stop();
  });

  test("that throw or reject report the error, and the worker goes on", async () => {
    const worker = await TestWorker.start(`export default { fetch: () => new Response("on"), onIdle() { throw new Error("no idle") }, async onTerminate() { throw new Error("m".repeat(100_000)) } }`);
    expect(String(await hook(worker, 1))).toContain("no idle");
    worker.send(T.HOOK, 0, pack([2]));
    expect((await worker.take(T.HOOK_DONE)).payload.length).toBeLessThanOrEqual(64 * 1024);
    expect((await worker.fetch("/")).text()).toBe("on");
    await worker.stop();
  });

  test("before an app are done at once", async () => {
    const worker = await TestWorker.spawn();
    expect(await hook(worker, 2)).toEqual([2, null]);
    await worker.stop();
  });
});

describe("PING", () => {
  test("is answered with the same bytes, also by a spare", async () => {
    const worker = await TestWorker.spawn();
    const token = Buffer.from([0, 1, 2, 127, 128, 254, 255, 10]);
    worker.send(T.PING, 0, token);
    expect((await worker.take(T.PONG)).payload).toEqual(token);
    await worker.stop();
  });

  test("is answered while handlers wait", async () => {
    const worker = await TestWorker.start("export default { fetch: () => new Promise(() => {}) }");
    for (let i = 0; i < 100; i++) worker.request("/");
    await worker.ping();
    await worker.stop();
  });
});

describe("the end", () => {
  test("a closed link ends a spare, an idle worker and a busy one with 0", async () => {
    const spare = await TestWorker.spawn();
    await spare.take(T.HELLO);
    expect(await spare.stop()).toBe(0);
    const busy = await TestWorker.start("setInterval(() => {}, 1); export default { fetch: () => new Promise(() => {}) }");
    busy.request("/");
    await busy.ping();
    expect(await busy.stop()).toBe(0);
  });

  test("process.exit() in a handler keeps its status, and answers given before it arrive", async () => {
    const worker = await TestWorker.start(`export default { fetch(req) { if (req.url.endsWith("/exit")) process.exit(9); return new Response("answer") } }`);
    worker.write(Buffer.concat([requestFrame(1, "/"), requestFrame(2, "/"), requestFrame(3, "/exit"), requestFrame(4, "/")]));
    expect((await worker.answer(1)).text()).toBe("answer");
    expect((await worker.answer(2)).text()).toBe("answer");
    await worker.process.exited;
    expect(worker.progress()).toBe(3);
    expect(await worker.exited()).toBe(9);
  });

  test("process.exit() loses nothing of a large answer that the kernel had no room for", async () => {
    const worker = await TestWorker.start(`export default { fetch(req) { if (req.url.endsWith("/exit")) setTimeout(() => process.exit(9), 5); return new Response(Buffer.alloc(250_000)) } }`);
    worker.pause();
    const streams = [worker.request("/"), worker.request("/"), worker.request("/"), worker.request("/exit")];
    await worker.written();
    worker.resume();
    for (const stream of streams) expect((await worker.answer(stream)).body.length).toBe(250_000);
    expect(await worker.exited()).toBe(9);
  });

  test("an uncaught exception ends the worker as it ends bun, with the error on stderr", async () => {
    const worker = await TestWorker.start("export default { fetch() { setTimeout(() => { throw new Error('in a timer') }, 1); return new Response('ok') } }");
    expect((await worker.fetch("/")).text()).toBe("ok");
    expect(await worker.exited()).toBe(1);
    expect(worker.stderr).toContain("in a timer");
  });

  test("a worker answers again after a handler threw", async () => {
    const worker = await TestWorker.start("export default { fetch(req) { if (req.url.endsWith('/t')) throw 1; return new Response('ok') } }");
    await worker.fetch("/t").catch(() => {});
    expect((await worker.fetch("/")).text()).toBe("ok");
    await worker.stop();
  });

  test("console goes to stdout and stderr untouched", async () => {
    const worker = await TestWorker.start("export default { fetch() { console.log('out', { a: 1 }); console.error('err'); return new Response() } }");
    await worker.fetch("/");
    await worker.stop();
    expect([worker.stdout, worker.stderr]).toEqual(["out {\n  a: 1,\n}\n", "err\n"]);
  });
});

test("neither the link nor the page is handed to a child", async () => {
  const worker = await TestWorker.start(`
    import { execSync } from "node:child_process";
    const list = ["ls", "/proc/self/fd"];
    const text = (bytes) => bytes.toString().trim().split("\\n");
    export default { fetch: async () => Response.json([text(Bun.spawnSync(list).stdout), text(await new Response(Bun.spawn(list).stdout).text()), text(execSync(list.join(" ")))]) }`);
  for (const descriptors of JSON.parse((await worker.fetch("/")).text()) as string[][]) {
    // Descriptor 3 is the directory that ls itself reads.
    expect(descriptors).toEqual(["0", "1", "2", "3"]);
  }
  await worker.stop();
});

test("many requests in one write are answered in order", async () => {
  const worker = await TestWorker.start("export default { fetch: (req) => new Response(new URL(req.url).pathname) }");
  const count = 2000;
  worker.write(Buffer.concat(Array.from({ length: count }, (_, i) => requestFrame(i + 1, `/${i + 1}`))));
  for (let i = 1; i <= count; i++) {
    const response = await worker.take(T.RESPONSE);
    expect(response.stream).toBe(i);
  }
  await worker.stop();
});

test("a request that comes a byte at a time is served", async () => {
  const worker = await TestWorker.start("export default { fetch: async (req) => new Response(await req.text()) }");
  const bytes = Buffer.concat([requestFrame(1, "/", { method: "POST", fin: false, body: "a" }), frame(T.BODY, 1, Buffer.from("b")), frame(T.END, 1, Buffer.from("c"))]);
  for (const byte of bytes) {
    worker.write(Uint8Array.of(byte));
    await worker.written();
  }
  expect((await worker.answer(1)).text()).toBe("abc");
  await worker.stop();
});
