/** Routes: the matcher against the one inside Bun, and the rest of `routes` over the wire. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import net from "node:net";
import { Router } from "../src/routes.ts";
import { generator } from "./random.ts";
import { TestWorker } from "./worker.ts";

type Table = Record<string, string[] | null>;

/** What both answer: the route's path, the handler's method, and the parameters. */
type Outcome = string;
const NOT_FOUND = "none";
const outcome = (path: string, method: string, params: unknown): Outcome => JSON.stringify([path, method, params]);

/** The table as Bun and {@link Router} take it; `null` is one function for all methods. */
function build(table: Table, handler: (path: string, method: string) => unknown): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(table).map(([path, methods]) => [
      path,
      methods === null ? handler(path, "*") : Object.fromEntries(methods.map((method) => [method, handler(path, method)])),
    ]),
  );
}

function ask(table: Table, method: string, path: string): Outcome {
  const routes = build(table, (path, method) => (params: unknown) => outcome(path, method, params));
  const match = new Router(routes).find(method, `http://x${path}`);
  return match === undefined ? NOT_FOUND : (match.handler as unknown as (params: unknown) => Outcome)(match.params);
}

/** Asks `Bun.serve` over one raw connection, so that no client rewrites the paths. */
async function askBun(table: Table, requests: [method: string, path: string][]): Promise<Outcome[]> {
  const routes = build(table, (path, method) => (request: { params: unknown }) => new Response(null, { headers: { o: encodeURIComponent(outcome(path, method, request.params)) } }));
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", development: false, routes: routes as never, fetch: () => new Response(null, { headers: { o: NOT_FOUND } }) });
  const socket = net.connect(server.port!, "127.0.0.1");
  let text = "";
  const outcomes: Outcome[] = [];
  socket.write(requests.map(([method, path]) => `${method} ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(""));
  for await (const chunk of socket) {
    text += chunk;
    for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
      outcomes.push(decodeURIComponent(/^o: (.*)$/m.exec(text.slice(0, end).replaceAll("\r", ""))![1]!));
      text = text.slice(end + 4);
    }
    if (outcomes.length === requests.length) break;
  }
  socket.destroy();
  await server.stop(true);
  return outcomes;
}

async function compare(table: Table, requests: [string, string][]): Promise<void> {
  const ours = requests.map(([method, path]) => ask(table, method, path));
  const theirs = await askBun(table, requests);
  const differences = requests.map((request, i) => ({ table, request, ours: ours[i], bun: theirs[i] })).filter(({ ours, bun }) => ours !== bun);
  expect(differences).toEqual([]);
}

describe("the matcher agrees with Bun.serve", () => {
  test("on tables and paths made at random", async () => {
    const random = generator(42);
    const pick = <T>(list: readonly T[]): T => list[random(list.length)]!;
    const segments = ["a", "b", "1", "-", "%41", ":x", ":y", "*", ""];
    const methods = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"];
    const words = ["a", "b", "1", "-", "%41", "q", "", "%E4%BD%A0", "A%2Fb", "%zz", "%", "a+b", "a%00"];
    let compared = 0;
    for (let round = 0; round < 150; round++) {
      const table: Table = {};
      for (let i = 1 + random(8); i > 0; i--) {
        const parts = Array.from({ length: 1 + random(4) }, () => pick(segments));
        const star = parts.indexOf("*");
        if (star >= 0) parts.splice(star + 1);
        const names = parts.filter((part) => part.startsWith(":"));
        if (new Set(names).size < names.length) continue;
        table[`/${parts.join("/")}`] = random(2) === 0 ? null : methods.filter(() => random(3) === 0);
        if (table[`/${parts.join("/")}`]?.length === 0) delete table[`/${parts.join("/")}`];
      }
      if (Object.keys(table).length === 0) continue;
      const requests = Array.from({ length: 40 }, (): [string, string] => [
        pick(methods),
        `/${Array.from({ length: 1 + random(4) }, () => pick(words)).join("/")}${random(4) === 0 ? "?x=/a/b" : ""}`,
      ]);
      await compare(table, requests.map(([method, path]) => [method, path]));
      compared += requests.length;
    }
    expect(compared).toBeGreaterThan(4000);
  }, 60_000);

  const cases: Record<string, Table> = {
    "a literal, a parameter, a wildcard": { "/a/:id": null, "/a/*": null, "/a/x": null },
    "a method that only the wildcard serves": { "/a/:id": ["GET"], "/a/*": null },
    "the wildcard for GET, the literal for all": { "/a/x": null, "/a/*": ["GET"] },
    "two names for one parameter": { "/a/:x": null, "/a/:y": null },
    "two names and two ways on": { "/a/:y/b": null, "/a/:x/c": null },
    "back from a literal that leads nowhere": { "/a/x/p": null, "/a/:id/q": null, "/*": null },
    "a star that is a prefix": { "/a/*x": null },
    "a star inside a word": { "/a/x*": null },
    "a star before the end": { "/a/*/b": null },
    "a parameter without a name": { "/a/:": null },
    "empty segments": { "/a//x": null, "/:p/": null, "/:p//:q": null, "/": null },
  };
  for (const [name, table] of Object.entries(cases)) {
    test(`on ${name}`, async () => {
      const paths = ["/", "/a", "/a/", "/a/x", "/a/1", "/a/x/p", "/a/x/q", "/a/1/b", "/a/1/c", "/a//x", "/a/x*", "/a/xy", "/a/*x", "/b//", "//", "/a/x?y", "/%61/x"];
      await compare(table, paths.flatMap((path): [string, string][] => [["GET", path], ["POST", path], ["HEAD", path]]));
    });
  }
});

describe("routes over the wire", () => {
  const APP = `
export default {
  routes: {
    "/static": new Response("static", { headers: { x: "1" } }),
    "/static-json": Response.json({ a: 1 }),
    "/static-bytes": new Response(Buffer.from("b")),
    "/static-none": new Response(null, { status: 204 }),
    "/static-404": new Response("nf", { status: 404 }),
    "/static-etag": new Response("x", { headers: { etag: '"mine"' } }),
    "/static-redirect": Response.redirect("/x"),
    "/file": Bun.file(import.meta.path),
    "/file-missing": Bun.file("/nowhere/at/all"),
    "/file-response": new Response(Bun.file(import.meta.path), { headers: { x: "1" } }),
    "/methods": { GET: new Response("got"), POST: (r) => new Response("posted") },
    "/off": false,
    "/user/:id/:rest": (r, server) => Response.json([r.params, typeof server.requestIP, r.url, r instanceof Request, r.headers.get("x")]),
    "/async/:id": async (r) => { await Bun.sleep(1); return new Response(r.params.id) },
    "/body": { POST: async (r) => new Response(await r.text()) },
    "/clone/:id": (r) => { const copy = r.clone(); return new Response(copy.params.id + copy.headers.get("x")) },
    "/cookies": (r) => { r.cookies.set("z", "1"); r.cookies.delete("a"); return new Response("had " + new Bun.CookieMap(r.headers.get("cookie")).get("a")) },
    "/cookies-stream": (r) => { r.cookies.set("s", "1"); return new Response((async function* () { yield "x" })()) },
    "/cookies-static-read": (r) => new Response(r.cookies.get("a")),
    "/throws": () => { throw new Error("in route") },
    "/wild/*": (r) => Response.json(r.params),
    "/this": function () { return new Response(this.word) },
  },
  word: "bound",
  fetch(r) { return new Response("fetch " + new URL(r.url).pathname) },
  error(error) { return new Response("handled " + error.message, { status: 555 }) },
};`;
  let worker: TestWorker;
  beforeAll(async () => {
    worker = await TestWorker.start(APP);
  });
  afterAll(() => worker.stop());

  test("a static Response is served as often as asked, with type, headers and ETag as Bun's", async () => {
    const bun = Bun.serve({ port: 0, routes: { "/static": new Response("static", { headers: { x: "1" } }) }, fetch: () => new Response() });
    const theirs = await fetch(new URL("/static", bun.url));
    for (let i = 0; i < 3; i++) {
      const answer = await worker.fetch("/static");
      expect([answer.status, answer.text(), answer.header("x")]).toEqual([200, "static", "1"]);
      for (const name of ["content-type", "etag"]) expect(answer.header(name)).toBe(theirs.headers.get(name));
    }
    await bun.stop(true);
  });

  test("other static bodies and statuses", async () => {
    const cases: [pathname: string, status: number, text: string][] = [
      ["/static-json", 200, '{"a":1}'],
      ["/static-bytes", 200, "b"],
      ["/static-none", 204, ""],
      ["/static-404", 404, "nf"],
      ["/static-redirect", 302, ""],
    ];
    for (const [pathname, status, text] of cases) {
      const answer = await worker.fetch(pathname);
      expect([answer.status, answer.text()]).toEqual([status, text]);
    }
    expect((await worker.fetch("/static-etag")).header("etag")).toBe('"mine"');
  });

  test("If-None-Match is 304 for GET and HEAD", async () => {
    const etag = (await worker.fetch("/static")).header("etag")!;
    for (const value of [etag, `W/${etag}`, `"other", ${etag}`, "*"]) {
      for (const method of ["GET", "HEAD"]) expect((await worker.fetch("/static", { method, headers: [["if-none-match", value]] })).status).toBe(304);
    }
    expect((await worker.fetch("/static", { headers: [["if-none-match", '"other"']] })).status).toBe(200);
    expect((await worker.fetch("/static", { method: "POST", headers: [["if-none-match", etag]] })).status).toBe(200);
  });

  test("HEAD of a static Response has its length", async () => {
    const answer = await worker.fetch("/static", { method: "HEAD" });
    expect([answer.header("content-length"), answer.body.length]).toEqual(["6", 0]);
  });

  test("files have type, length and date; If-Modified-Since is 304", async () => {
    for (const pathname of ["/file", "/file-response"]) {
      const answer = await worker.fetch(pathname);
      expect([answer.text(), answer.header("content-type"), answer.header("content-length")]).toEqual([APP, "text/javascript;charset=utf-8", String(APP.length)]);
      const date = answer.header("last-modified")!;
      expect((await worker.fetch(pathname, { headers: [["if-modified-since", date]] })).status).toBe(304);
      expect((await worker.fetch(pathname, { headers: [["if-modified-since", new Date(0).toUTCString()]] })).status).toBe(200);
    }
    expect((await worker.fetch("/file-response")).header("x")).toBe("1");
  });

  test("a missing file and `false` go on to fetch", async () => {
    for (const pathname of ["/file-missing", "/off", "/other"]) expect((await worker.fetch(pathname)).text()).toBe(`fetch ${pathname}`);
  });

  test("method maps; other methods go on to fetch", async () => {
    expect((await worker.fetch("/methods")).text()).toBe("got");
    expect((await worker.fetch("/methods", { method: "POST" })).text()).toBe("posted");
    expect((await worker.fetch("/methods", { method: "HEAD" })).header("content-length")).toBe("3");
    expect((await worker.fetch("/methods", { method: "PUT" })).text()).toBe("fetch /methods");
  });

  test("a handler gets decoded params, the server and a whole request", async () => {
    const answer = await worker.fetch("/user/a%2Fb/%E4%BD%A0?x=1", { headers: [["x", "h"]] });
    expect(JSON.parse(answer.text())).toEqual([{ id: "a/b", rest: "你" }, "function", "http://127.0.0.1:8000/user/a%2Fb/%E4%BD%A0?x=1", true, "h"]);
    expect((await worker.fetch("/async/7")).text()).toBe("7");
    expect((await worker.fetch("/body", { method: "POST", body: "abc" })).text()).toBe("abc");
    expect((await worker.fetch("/clone/9", { headers: [["x", "h"]] })).text()).toBe("9h");
    expect((await worker.fetch("/wild/a/b")).text()).toBe("{}");
    expect((await worker.fetch("/this")).text()).toBe("bound");
  });

  test("changes to req.cookies become set-cookie headers as Bun's", async () => {
    const bun = Bun.serve({
      port: 0,
      routes: {
        "/": (r) => {
          r.cookies.set("z", "1");
          r.cookies.delete("a");
          return new Response();
        },
      },
    });
    const theirs = await fetch(bun.url, { headers: { cookie: "a=b; c=d" } });
    const answer = await worker.fetch("/cookies", { headers: [["cookie", "a=b; c=d"]] });
    expect(answer.text()).toBe("had b");
    expect(answer.headers.filter(([name]) => name === "set-cookie").map(([, value]) => value)).toEqual(theirs.headers.getSetCookie());
    await bun.stop(true);
    expect((await worker.fetch("/cookies-stream")).header("set-cookie")).toStartWith("s=1");
    const read = await worker.fetch("/cookies-static-read", { headers: [["cookie", "a=b"]] });
    expect([read.text(), read.header("set-cookie")]).toEqual(["b", null]);
  });

  test("an error in a route goes to the app's error handler", async () => {
    const answer = await worker.fetch("/throws");
    expect([answer.status, answer.text()]).toEqual([555, "handled in route"]);
  });

  test("without fetch, what no route matches is an empty 404", async () => {
    const own = await TestWorker.start("export default { routes: { '/a': { POST: () => new Response() } } }");
    for (const pathname of ["/a", "/b"]) {
      const answer = await own.fetch(pathname);
      expect([answer.status, answer.text()]).toEqual([404, ""]);
    }
    await own.stop();
  });
});
