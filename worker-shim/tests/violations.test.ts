/** Whatever breaks the protocol ends the shim with status 70 and one line on stderr. */
import { expect, test } from "bun:test";
import { frame, pack, type Packed, T } from "./codec.ts";
import { requestFrame, TestWorker, WINDOW } from "./worker.ts";

const APP = "export default { async fetch(request) { await Bun.sleep(1e6); return new Response() } }";
const head = (fields: Packed[]) => frame(T.REQUEST, 1, pack(fields));
const open = requestFrame(1, "/", { method: "POST", fin: false });
const chunk = Buffer.alloc(WINDOW / 2);

const violations: Record<string, Uint8Array[]> = {
  "an unknown frame type": [frame(0x40, 0, Buffer.alloc(0))],
  "a second ASSIGN": [frame(T.ASSIGN, 0, pack({}))],
  "a request number used twice": [open, open],
  "a request number below the last": [requestFrame(5, "/"), requestFrame(4, "/")],
  "a body for a stream never used": [frame(T.BODY, 9, Buffer.from("x"))],
  "credit for a stream never used": [frame(T.CREDIT, 9, Buffer.alloc(4))],
  "a body after FIN": [requestFrame(1, "/", { method: "POST" }), frame(T.BODY, 1, Buffer.from("x"))],
  "a body after END": [open, frame(T.END, 1, Buffer.from("x")), frame(T.BODY, 1, Buffer.from("x"))],
  "more body than was granted": [open, frame(T.BODY, 1, chunk), frame(T.BODY, 1, chunk), frame(T.BODY, 1, Buffer.from("x"))],
  "more body in REQUEST than the window": [requestFrame(1, "/", { method: "POST", body: Buffer.alloc(WINDOW + 1), fin: false })],
  "a head that is no array": [frame(T.REQUEST, 1, pack({ a: 1 }))],
  "a head of five": [head([1, "GET", "http://a/", [], ""])],
  "an empty head": [frame(T.REQUEST, 1, Buffer.alloc(0))],
  "a truncated head": [frame(T.REQUEST, 1, pack([1, "GET", "http://a/", [], "", 0]).subarray(0, -1))],
  "unknown flags": [head([2, "GET", "http://a/", [], "", 0])],
  "a method that is no string": [head([1, 3, "http://a/", [], "", 0])],
  "a header value that is a string": [head([1, "GET", "http://a/", ["a", "b"], "", 0])],
  "a header name that is binary": [head([1, "GET", "http://a/", [Buffer.from("a"), Buffer.from("b")], "", 0])],
  "a nested header": [head([1, "GET", "http://a/", [["a"], Buffer.from("b")], "", 0])],
  "an odd number of names and values": [head([1, "GET", "http://a/", ["a"], "", 0])],
  "513 headers": [head([1, "GET", "http://a/", Array.from({ length: 513 }, () => ["a", Buffer.from("b")]).flat(), "", 0])],
  "a head over 256 KiB": [head([1, "GET", "http://a/", ["a", Buffer.alloc(256 * 1024)], "", 0])],
  "a CANCEL that is no array": [open, frame(T.CANCEL, 1, pack(1))],
  "a CANCEL with bytes after it": [open, frame(T.CANCEL, 1, Buffer.from([0x91, 1, 0]))],
  "a HOOK of an unknown kind": [frame(T.HOOK, 0, pack([3]))],
};

for (const [name, frames] of Object.entries(violations)) {
  test(name, async () => {
    const worker = await TestWorker.start(APP);
    worker.write(Buffer.concat(frames));
    expect(await worker.exited()).toBe(70);
    expect(worker.stderr).toMatch(/^buntime worker: [^\n]+\n$/);
  });
}

const early: Record<string, Uint8Array> = {
  "a request before ASSIGN": requestFrame(1, "/"),
  "an ASSIGN that is no map": frame(T.ASSIGN, 0, pack([])),
  "an ASSIGN without its fields": frame(T.ASSIGN, 0, pack({ dir: "/" })),
  "an ASSIGN whose env has a number": frame(T.ASSIGN, 0, pack({ dir: "/", entry: "/x", name: "", version: "", workerId: "", mount: "", origin: "", dev: false, env: { A: 1 } })),
};
for (const [name, bytes] of Object.entries(early)) {
  test(name, async () => {
    const worker = await TestWorker.spawn();
    await worker.take(T.HELLO);
    worker.write(bytes);
    expect(await worker.exited()).toBe(70);
    expect(worker.stderr).toMatch(/^buntime worker: [^\n]+\n$/);
  });
}

test("512 headers and a head of nearly 256 KiB are within the limits", async () => {
  const worker = await TestWorker.start("export default { fetch: (request) => Response.json([...request.headers].length + ' ' + request.headers.get('h511').length) }");
  const headers = Array.from({ length: 512 }, (_, i): [string, string] => [`h${i}`, "v".repeat(480)]);
  expect((await worker.fetch("/", { headers })).text()).toBe('"512 480"');
  expect(await worker.stop()).toBe(0);
});

test("frames for a stream that has ended are discarded", async () => {
  const worker = await TestWorker.start("export default { fetch: () => new Response('early') }");
  const stream = worker.request("/", { method: "POST", fin: false, body: "a" });
  expect((await worker.answer(stream)).text()).toBe("early");
  for (let i = 0; i < 4; i++) worker.send(T.BODY, stream, chunk);
  worker.send(T.END, stream, Buffer.alloc(0));
  worker.credit(stream, 1);
  worker.cancel(stream, 1);
  await worker.ping();
  expect((await worker.fetch("/")).status).toBe(200);
  expect(await worker.stop()).toBe(0);
});
