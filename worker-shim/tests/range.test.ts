/** `Range` for file answers: the shim and `Bun.serve` on the same app. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Answer, TestWorker } from "./worker.ts";

const APP = `
const file = Bun.file(import.meta.dir + "/data.bin");
const handlers = {
  "/file": () => new Response(file),
  "/later": async () => { await 1; return new Response(file) },
  "/headers": () => new Response(file, { headers: { etag: '"x"', "content-length": "7", "accept-ranges": "none" } }),
  "/weak": () => new Response(file, { headers: { etag: 'W/"x"', "last-modified": "Mon, 23 Nov 2026 06:39:57 GMT" } }),
  "/created": () => new Response(file, { status: 201 }),
  "/own-range": () => new Response(file, { headers: { "content-range": "bytes 1-2/20" } }),
  "/from-zero": () => new Response(file.slice(0)),
  "/empty": () => new Response(Bun.file(import.meta.dir + "/empty.bin")),
  "/blob": () => new Response(new Blob(["0123456789"])),
  "/text": () => new Response("0123456789"),
};
export const app = { fetch: (request) => handlers[new URL(request.url).pathname]() };
export default app;
`;

let worker: TestWorker;
let server: Bun.Server<undefined>;
beforeAll(async () => {
  worker = await TestWorker.start({ "index.js": APP, "data.bin": "0123456789abcdefghij", "empty.bin": "" });
  const { app } = (await import(`${worker.home}/app/index.js`)) as { app: { fetch(request: Request): Response } };
  server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: app.fetch });
});
afterAll(async () => {
  await server.stop(true);
  await worker.stop();
});

type Shown = [status: number, range: string | null, accepted: string | null, etag: string | null, body: string];

async function both(method: string, pathname: string, headers: [string, string][]): Promise<{ ours: Shown; theirs: Shown; answer: Answer }> {
  const answer = await worker.fetch(pathname, { method, headers, body: method === "POST" ? "x" : "" });
  const bun = await fetch(new URL(pathname, server.url), { method, headers, ...(method === "POST" ? { body: "x" } : {}) });
  const shown = (status: number, header: (name: string) => string | null, body: string): Shown => [status, header("content-range"), header("accept-ranges")?.split(", ").at(-1) ?? null, header("etag"), body];
  return { ours: shown(answer.status, answer.header, answer.text()), theirs: shown(bun.status, (name) => bun.headers.get(name), await bun.text()), answer };
}

const RANGES = [
  "bytes=0-4", "bytes=5-", "bytes=-5", "bytes=-50", "bytes=-0", "bytes=10-100", "bytes=20-", "bytes=19-", "bytes=0-19", "bytes=0-", "bytes=4-2",
  "bytes=0-1,3-4", "bytes=0-1,", "bytes= 0-1", "bytes=0 - 1", "bytes =0-1", "Bytes=0-1", "items=0-1", "bytes=", "bytes=-", "bytes=a-b", "bytes=+1-2",
  "bytes=00-01", "bytes 0-1", "bytes=0--1", "bytes=1-2-3", "bytes=0-1;q", "bytes=0-99999999999999999999999", "bytes=-99999999999999999999999",
  "bytes=99999999999999999999999-",
];

describe("as Bun.serve answers", () => {
  for (const range of RANGES) {
    test(range, async () => {
      const { ours, theirs } = await both("GET", "/file", [["range", range]]);
      expect(ours).toEqual(theirs);
    });
  }

  for (const pathname of ["/later", "/headers", "/created", "/own-range", "/from-zero", "/empty", "/blob", "/text"]) {
    for (const range of ["bytes=1-3", "bytes=50-", "bytes=-3", "bytes=-0", "bytes=0-"]) {
      test(`${pathname} ${range}`, async () => {
        const { ours, theirs } = await both("GET", pathname, [["range", range]]);
        expect(ours).toEqual(theirs);
      });
    }
  }

  const others: [string, string, [string, string][]][] = [
    ["HEAD", "/file", [["range", "bytes=0-4"]]],
    ["HEAD", "/file", [["range", "bytes=50-"]]],
    ["POST", "/file", [["range", "bytes=0-4"]]],
    ["GET", "/file", [["range", "bytes=0-4"], ["if-range", '"nope"']]],
    ["GET", "/headers", [["range", "bytes=0-4"], ["if-range", '"x"']]],
    ["GET", "/headers", [["range", "bytes=0-4"], ["if-range", '"y"']]],
    ["GET", "/headers", [["range", "bytes=0-4"], ["if-range", 'W/"x"']]],
    ["GET", "/weak", [["range", "bytes=0-4"], ["if-range", '"x"']]],
    ["GET", "/weak", [["range", "bytes=0-4"], ["if-range", 'W/"x"']]],
    ["GET", "/weak", [["range", "bytes=0-4"], ["if-range", "Mon, 23 Nov 2026 06:39:57 GMT"]]],
    ["GET", "/weak", [["range", "bytes=0-4"], ["if-range", "Tue, 24 Nov 2026 06:39:57 GMT"]]],
    ["GET", "/headers", [["range", "bytes=0-4"], ["if-none-match", '"x"']]],
  ];
  for (const [method, pathname, headers] of others) {
    test(`${method} ${pathname} with ${headers.map((one) => one.join(": ")).join(", ")}`, async () => {
      const { ours, theirs } = await both(method, pathname, headers);
      expect(ours).toEqual(theirs);
    });
  }
});

test("a part has its own length", async () => {
  const { answer } = await both("GET", "/headers", [["range", "bytes=2-4"]]);
  expect([answer.header("content-length"), answer.text()]).toEqual(["3", "234"]);
});
