// Answers of every kind, by path.
import { join } from "node:path";

const file = join(import.meta.dir, "page.txt");
let open: () => void;
let gate = new Promise<void>((resolve) => (open = resolve));
const encoder = new TextEncoder();

/** Waits for the next request for `/next`. */
async function next() {
  await gate;
  gate = new Promise((resolve) => (open = resolve));
}

function numbers(count: number) {
  let n = 0;
  return new ReadableStream({
    pull(controller) {
      if (n === count) return controller.close();
      controller.enqueue(encoder.encode(`${++n}\n`));
    },
  });
}

async function* pieces(...all: string[]) {
  for (const piece of all) {
    yield piece;
    await Bun.sleep(0);
  }
}

const answers: Record<string, (request: Request) => unknown> = {
  "/text": () => new Response("hello"),
  "/empty": () => new Response(),
  "/json": () => Response.json({ a: 1 }),
  "/cookies": () => {
    const headers = new Headers({ "x-one": "1" });
    headers.append("set-cookie", "a=1; Path=/");
    headers.append("set-cookie", "b=2, with a comma");
    headers.append("set-cookie", "a=3");
    return new Response("cookies", { headers });
  },
  "/status-text": () => new Response("short", { status: 299, statusText: "Quite All Right" }),
  "/own-words": () => new Response("short", { status: 200, statusText: "Fine" }),
  "/teapot": () => new Response("short", { status: 418 }),
  "/no-content": () => new Response(null, { status: 204, headers: { "x-a": "b" } }),
  "/not-modified": () => new Response(null, { status: 304, headers: { etag: '"x"' } }),
  "/redirect": () => Response.redirect("/elsewhere", 302),
  "/away": () => new Response(null, { status: 307, headers: { location: "https://other.example/a?b#c" } }),
  "/file": () => new Response(Bun.file(file)),
  "/missing-file": () => new Response(Bun.file(file + ".missing")),
  "/file-slice": () => new Response(Bun.file(file).slice(6, 11)),
  "/blob": () => new Response(new Blob(["a blob"], { type: "text/x-blob" })),
  "/bytes": () => new Response(Uint8Array.from({ length: 256 }, (_, n) => n)),
  "/form": () => {
    const form = new FormData();
    form.append("field", "value");
    form.append("upload", new Blob(["content"]), "name.txt");
    return new Response(form);
  },
  "/params": () => new Response(new URLSearchParams({ a: "1 2", b: "&" })),
  "/stream": () => new Response(numbers(1000)),
  "/generator": () =>
    new Response(
      (async function* () {
        yield "one ";
        await Bun.sleep(0);
        yield encoder.encode("two ");
        yield "three";
      })() as never,
    ),
  "/empty-stream": () => new Response(numbers(0)),
  "/broken-stream": () => {
    let begun = false;
    const body = new ReadableStream({
      async pull(controller) {
        if (begun) {
          await next();
          controller.error(new Error("secret inside"));
        } else controller.enqueue(encoder.encode("one"));
        begun = true;
      },
    });
    return new Response(body);
  },
  "/broken-generator": () =>
    new Response(
      (async function* () {
        yield "one";
        await next();
        throw new Error("secret inside");
      })() as never,
    ),
  "/large": () => new Response("x".repeat(3_000_000)),
  "/events": () =>
    new Response(
      (async function* () {
        for (let id = 1; ; id++) {
          yield `id: ${id}\n\n`;
          await next();
        }
      })() as never,
      { headers: { "content-type": "text/event-stream" } },
    ),
  "/next": () => (open(), new Response("opened")),
  "/large-headers": () => new Response("large", { headers: { "x-large": "v".repeat(100_000) } }),
  "/many-headers": () => new Response("many", { headers: Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`x-${n}`, `${n}`])) }),
  "/too-large-headers": () => new Response("large", { headers: { "x-large": "v".repeat(300_000) } }),
  "/latin1": () => new Response("bytes", { headers: { "x-bytes": "caf\u00e9 \u00ff" } }),
  "/wrong-length": () => new Response("hello", { headers: { "content-length": "3" } }),
  "/short-stream": () => new Response(pieces("one") as never, { headers: { "content-length": "1000" } }),
  "/long-stream": () => new Response(pieces("one", "two", "three") as never, { headers: { "content-length": "3" } }),
  "/own-framing": () =>
    new Response("hello", {
      headers: { "transfer-encoding": "chunked", connection: "close, x-hop", "x-hop": "1", "keep-alive": "timeout=1", upgrade: "h2c", trailer: "x-t" },
    }),
  "/own-id": () => new Response("mine", { headers: { "x-request-id": "of the app" } }),
  "/string": () => "no response",
  "/nothing": () => undefined,
  "/throw": () => {
    throw new Error("secret inside");
  },
  "/reject": async () => {
    await Bun.sleep(0);
    throw new TypeError("secret inside");
  },
  "/throw-string": () => {
    throw "secret inside";
  },
  "/used": async () => {
    const response = new Response("once");
    await response.text();
    return response;
  },
};

export default {
  fetch(request: Request) {
    const answer = answers[new URL(request.url).pathname];
    return answer ? answer(request) : new Response("unknown", { status: 404 });
  },
};
