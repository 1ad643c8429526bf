/** What is sent behind ASSIGN waits until the app is loaded. */
import { afterEach, expect, test } from "bun:test";
import { pack, T } from "./codec.ts";
import { requestFrame, TestWorker } from "./worker.ts";

let worker: TestWorker;
afterEach(() => worker.stop());

/** A worker that is given the app, and may be sent requests already. */
async function assigned(app: string, behind?: Uint8Array): Promise<TestWorker> {
  worker = await TestWorker.spawn();
  await worker.take(T.HELLO);
  worker.assign(app, {}, behind);
  return worker;
}

const LATE = "await Bun.sleep(30);";

for (const [how, wait] of [["at once", ""], ["later", LATE]] as const) {
  test(`a request is answered by an app that is loaded ${how}`, async () => {
    await assigned(`${wait} export default { fetch: (req) => new Response(new URL(req.url).pathname) }`);
    const streams = [worker.request("/a"), worker.request("/b")];
    const answers = await Promise.all(streams.map((stream) => worker.answer(stream)));
    expect(answers.map((answer) => answer.text())).toEqual(["/a", "/b"]);
    expect(worker.seen(T.READY)).toHaveLength(1);
  });

  test(`its body may follow to an app that is loaded ${how}`, async () => {
    await assigned(`${wait} export default { fetch: async (req) => new Response(await req.text()) }`);
    const stream = worker.request("/", { method: "POST", body: "one ", fin: false });
    worker.send(T.BODY, stream, Buffer.from("two "));
    worker.send(T.END, stream, Buffer.from("three"));
    expect((await worker.answer(stream)).text()).toBe("one two three");
  });
}

test("one that is cancelled never reaches the app", async () => {
  await assigned(`${LATE} let calls = 0; export default { fetch: () => new Response(String(++calls)) }`);
  const [wanted, cancelled] = [worker.request("/"), worker.request("/")];
  worker.cancel(cancelled, 1);
  expect((await worker.answer(wanted)).text()).toBe("1");
  // What crossed the CANCEL is late, and no violation.
  worker.credit(cancelled, 1000);
  expect((await worker.answer(worker.request("/"))).text()).toBe("2");
  expect(worker.seen(T.RESPONSE)).toEqual([]);
});


test("the module's own promise jobs come before the first request", async () => {
  await assigned(`
    const log = [];
    (async () => { for (let i = 0; i < 20; i++) await undefined; log.push("jobs") })();
    process.nextTick(() => log.push("tick"));
    export default { fetch: () => Response.json(log.sort()) }`);
  expect((await worker.answer(worker.request("/"))).text()).toBe('["jobs","tick"]');
});

test("READY comes before the answer, and does not wait for one that takes its time", async () => {
  await assigned("export default { async fetch() { await Bun.sleep(50); return new Response() } }");
  const stream = worker.request("/");
  await worker.take(T.READY);
  expect(worker.seen(T.RESPONSE)).toEqual([]);
  expect((await worker.answer(stream)).status).toBe(200);
});

test("a handler that blocks keeps READY to itself, but the page tells that it has the request", async () => {
  await assigned("export default { fetch() { Bun.sleepSync(300); return new Response() } }", requestFrame(1, "/"));
  while (worker.progress() === 0) await Bun.sleep(1);
  expect(worker.seen(T.READY)).toEqual([]);
  expect((await worker.answer(1)).status).toBe(200);
  expect(worker.seen(T.READY)).toHaveLength(1);
});

test("an app that cannot be loaded is handed nothing", async () => {
  await assigned("throw new Error('no'); export default { fetch() {} }");
  worker.request("/");
  await worker.take(T.FAILED);
  await worker.ping();
  expect([worker.progress(), worker.seen(T.RESPONSE), worker.seen(T.ERROR)]).toEqual([0, [], []]);
});

test("a frame that breaks the protocol does so when the app is loaded", async () => {
  await assigned("export default { fetch: () => new Response() }");
  worker.send(T.REQUEST, 1, pack([1]));
  expect(await worker.exited()).toBe(70);
  expect(worker.stderr).toMatch(/^buntime worker: [^\n]+\n$/);
});
