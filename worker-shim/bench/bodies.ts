/**
 * CPU time of the worker per GB of body against that of the same app under
 * `Bun.serve` on a Unix socket. Only the ratio means anything: `bun bench/bodies.ts [MB]`
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { T } from "../tests/codec.ts";
import { TestWorker, WINDOW } from "../tests/worker.ts";
import { cpu } from "./cpu-time.ts";

const SIZE = Number(process.argv[2] ?? 512) * 1024 * 1024;
const CHUNK = Buffer.alloc(64 * 1024, "x");

const APP = `
const size = ${SIZE};
const chunk = new Uint8Array(64 * 1024);
const file = process.env.BIG_FILE;
const stream = () => { let left = size; return new ReadableStream({ pull(c) { c.enqueue(chunk); left -= chunk.length; if (left <= 0) c.close() } }) };
const handlers = {
  "/stream": () => new Response(stream()),
  "/generator": () => new Response((async function* () { for (let left = size; left > 0; left -= chunk.length) yield chunk })()),
  "/file": () => new Response(Bun.file(file)),
  "/buffer": () => new Response(new Uint8Array(size)),
  "/count": async (r) => { let n = 0; for await (const one of r.body) n += one.length; return new Response(String(n)) },
  "/bytes": async (r) => new Response(String((await r.arrayBuffer()).byteLength)),
};
export default { maxRequestBodySize: 4e9, fetch: (r) => handlers[new URL(r.url).pathname](r) };
`;
const dir = fs.mkdtempSync(path.join(os.tmpdir(), "shim-bench-"));
const file = path.join(dir, "big");
fs.writeFileSync(file, Buffer.alloc(SIZE));

async function shim(pathname: string, upload: boolean): Promise<number> {
  const worker = await TestWorker.start(APP, { env: { PATH: process.env.PATH!, HOME: dir, TMPDIR: dir, BIG_FILE: file } });
  const before = cpu(worker.process.pid);
  const { promise, resolve } = Promise.withResolvers<void>();
  const stream = worker.request(pathname, { method: upload ? "POST" : "GET", fin: !upload });
  let unpaid = 0;
  let left = SIZE;
  let window = WINDOW;
  const send = () => {
    while (upload && left > 0 && window >= CHUNK.length) {
      worker.send(left > CHUNK.length ? T.BODY : T.END, stream, CHUNK);
      left -= CHUNK.length;
      window -= CHUNK.length;
    }
  };
  worker.onFrames = (found) => {
    for (const { type, payload } of found) {
      if (type === T.CREDIT) window += payload.readUInt32BE();
      if (type === T.BODY) unpaid += payload.length;
      if (type === T.END || (type === T.RESPONSE && (payload[1]! & 1) === 1)) resolve();
      if (type === T.ERROR) throw new Error(payload.toString());
    }
    if (unpaid >= WINDOW / 2) {
      worker.credit(stream, unpaid);
      unpaid = 0;
    }
    send();
  };
  send();
  await promise;
  const used = cpu(worker.process.pid) - before;
  worker.onFrames = null;
  await worker.stop();
  return used;
}

async function bare(pathname: string, upload: boolean): Promise<number> {
  fs.writeFileSync(path.join(dir, "app.ts"), APP);
  fs.writeFileSync(path.join(dir, "main.ts"), `import app from "./app.ts"; Bun.serve({ ...app, unix: "${dir}/socket", idleTimeout: 0 }); console.log("ready")`);
  fs.rmSync(`${dir}/socket`, { force: true });
  const child = Bun.spawn([process.execPath, "--no-install", path.join(dir, "main.ts")], { stdout: "pipe", stderr: "inherit", env: { ...process.env, BIG_FILE: file } });
  await child.stdout.getReader().read();
  const before = cpu(child.pid);
  let left = SIZE;
  const body = new ReadableStream({
    pull(controller) {
      controller.enqueue(new Uint8Array(CHUNK));
      left -= CHUNK.length;
      if (left <= 0) controller.close();
    },
  });
  const response = await fetch(`http://x${pathname}`, upload ? { unix: `${dir}/socket`, method: "POST", body } : { unix: `${dir}/socket` });
  for await (const _ of response.body!);
  const used = cpu(child.pid) - before;
  child.kill();
  await child.exited;
  return used;
}

const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
for (const [pathname, upload] of [["/stream", false], ["/generator", false], ["/file", false], ["/buffer", false], ["/count", true], ["/bytes", true]] as const) {
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < 3; round++) {
    ours.push(await shim(pathname, upload));
    theirs.push(await bare(pathname, upload));
  }
  const perGb = (value: number) => ((value / 1000 / SIZE) * 1024 ** 3).toFixed(0).padStart(6);
  console.log(`${pathname.padEnd(12)} shim ${perGb(median(ours))} ms/GB   Bun.serve ${perGb(median(theirs))} ms/GB   ratio ${(median(ours) / median(theirs)).toFixed(2)}`);
}
fs.rmSync(dir, { recursive: true });
