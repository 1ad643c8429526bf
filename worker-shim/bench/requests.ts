/**
 * CPU time of the worker per request (user and system, its whole process) against
 * that of the same app under `Bun.serve` on a Unix socket, 32 requests in flight
 * on both. Only the ratio means anything: `bun bench/requests.ts [seconds]`
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { T } from "../tests/codec.ts";
import { requestFrame, TestWorker } from "../tests/worker.ts";
import { cpu } from "./cpu-time.ts";

const IN_FLIGHT = 32;
const MILLISECONDS = Number(process.argv[2] ?? 1) * 1000;
const ROUNDS = 3;
const HEADERS: [string, string][] = [
  ["host", "127.0.0.1:8000"],
  ["user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"],
  ["accept", "text/html,application/xhtml+xml,*/*;q=0.8"],
  ["accept-encoding", "gzip, deflate, br"],
  ["accept-language", "en-GB,en;q=0.9"],
  ["x-request-id", "01890a5d-ac96-774b-bcce-b302099a8057"],
  ["x-forwarded-prefix", "/shop"],
];

const apps: Record<string, string> = {
  hello: "export default { fetch: () => new Response('Hello, world!') }",
  "hello, async": "export default { fetch: async () => new Response('Hello, world!') }",
  "hello, later": "export default { fetch: async () => { await null; await null; return new Response('Hello, world!') } }",
  "hello, on a timer": "export default { fetch: async () => { await Bun.sleep(1); return new Response('Hello, world!') } }",
  "json and headers": "export default { fetch: (r) => Response.json({ hello: 'world', agent: r.headers.get('user-agent') }, { headers: { 'cache-control': 'no-store' } }) }",
  "url and html": "export default { fetch: (r) => { const { pathname } = new URL(r.url); return new Response('<p>' + pathname, { headers: { 'content-type': 'text/html' } }) } }",
  "bytes of 10 kB": "const bytes = Buffer.alloc(10_000, 'x'); export default { fetch: () => new Response(bytes) }",
  "route with parameter": "export default { routes: { '/a/:id': (r) => new Response(r.params.id) }, fetch: () => new Response('no') }",
  "static route": "export default { routes: { '/a/7': new Response('Hello, world!') }, fetch: () => new Response('no') }",
  stream: "export default { fetch: () => new Response(new ReadableStream({ pull(c) { c.enqueue('Hello, world!'); c.close() } })) }",
};

/** Keeps 32 requests in flight and returns the CPU time per request in microseconds. */
async function measure(pid: number, run: (until: number) => Promise<number>): Promise<number> {
  await run(Date.now() + MILLISECONDS / 2);
  const before = cpu(pid);
  const count = await run(Date.now() + MILLISECONDS);
  return (cpu(pid) - before) / count;
}

async function shim(app: string): Promise<number> {
  const worker = await TestWorker.start(app);
  let next = 1;
  const head = requestFrame(0, "/a/7", { headers: HEADERS });
  const batch = (count: number) => {
    const bytes = Buffer.alloc(head.length * count);
    for (let i = 0; i < count; i++) {
      head.copy(bytes, i * head.length);
      bytes.writeUInt32BE(next++, i * head.length + 5);
    }
    worker.write(bytes);
  };
  const run = async (until: number) => {
    let count = 0;
    let open = IN_FLIGHT;
    const { promise, resolve } = Promise.withResolvers<void>();
    worker.onFrames = (found) => {
      let ended = 0;
      for (const frame of found) if ((frame.type === T.RESPONSE && (frame.payload[1]! & 1) === 1) || frame.type === T.END) ended++;
      count += ended;
      open -= ended;
      if (Date.now() < until) {
        open += ended;
        if (ended > 0) batch(ended);
      } else if (open === 0) resolve();
    };
    batch(IN_FLIGHT);
    await promise;
    return count;
  };
  const result = await measure(worker.process.pid, run);
  await worker.stop();
  return result;
}

async function bare(app: string): Promise<number> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "shim-bench-"));
  fs.writeFileSync(path.join(dir, "app.ts"), app);
  fs.writeFileSync(path.join(dir, "main.ts"), `import app from "./app.ts"; Bun.serve({ ...app, unix: "${dir}/socket", development: false }); console.log("ready")`);
  const child = Bun.spawn([process.execPath, "--no-install", path.join(dir, "main.ts")], { stdout: "pipe", stderr: "inherit" });
  await child.stdout.getReader().read();
  const request = `GET /a/7 HTTP/1.1\r\n${HEADERS.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
  const run = async (until: number) => {
    let count = 0;
    const sockets = Array.from({ length: IN_FLIGHT }, () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      let rest = "";
      const take = (text: string): number => {
        rest += text;
        const end = rest.indexOf("\r\n\r\n");
        if (end < 0) return 0;
        const length = /content-length: (\d+)/i.exec(rest)?.[1];
        if (length === undefined ? !rest.endsWith("0\r\n\r\n") : rest.length < end + 4 + Number(length)) return 0;
        rest = "";
        return 1;
      };
      void Bun.connect({
        unix: `${dir}/socket`,
        socket: {
          open: (socket) => void socket.write(request),
          data: (socket, chunk) => {
            if (take(chunk.toString("latin1")) === 0) return;
            count++;
            if (Date.now() < until) socket.write(request);
            else socket.end();
          },
          close: () => resolve(),
        },
      });
      return promise;
    });
    await Promise.all(sockets);
    return count;
  };
  const result = await measure(child.pid, run);
  child.kill();
  fs.rmSync(dir, { recursive: true });
  return result;
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
for (const [name, app] of Object.entries(apps)) {
  if (process.argv[3] !== undefined && !name.includes(process.argv[3])) continue;
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(await shim(app));
    theirs.push(await bare(app));
  }
  console.log(`${name.padEnd(22)} shim ${median(ours).toFixed(2)} µs   Bun.serve ${median(theirs).toFixed(2)} µs   ratio ${(median(ours) / median(theirs)).toFixed(2)}`);
}
