/** A spare that was given an app is, to the app, a process that was started for it. */
import { expect, test } from "bun:test";
import { T } from "./codec.ts";
import { TestWorker } from "./worker.ts";

const PROBE = `
import { spawn, spawnSync, $ } from "bun";
import childProcess from "node:child_process";
import { Worker as NodeWorker } from "node:worker_threads";
import os from "node:os";
import { marker } from "@lib/marker";

const print = ["sh", "-c", "echo $NEW-$OLD-$GONE"];
const text = async (child) => (await new Response(child.stdout).text()).trim();
const source = "postMessage(process.env.NEW + '-' + process.env.OLD + '-' + process.env.GONE + '-' + Bun.env.NEW)";
const webWorker = (options) => new Promise((resolve, reject) => {
  const worker = new Worker(URL.createObjectURL(new Blob([source])), options);
  worker.onmessage = ({ data }) => { resolve(data); worker.terminate() };
  worker.onerror = reject;
});
const nodeWorker = () => new Promise((resolve, reject) => {
  const worker = new NodeWorker("const { parentPort } = require('node:worker_threads'); parentPort.postMessage(process.env.NEW + '-' + process.env.OLD + '-' + process.env.GONE)", { eval: true });
  worker.on("message", (data) => { resolve(data); worker.terminate() });
  worker.on("error", reject);
});
const seen = {
  atImport: { cwd: process.cwd(), env: { ...process.env }, zone: new Date(0).getTimezoneOffset() },
};
export default {
  async fetch() {
    return Response.json({
      ...seen,
      bunEnv: Bun.env.NEW, metaEnv: import.meta.env.NEW, sameEnv: Bun.env === process.env,
      dir: import.meta.dir, path: import.meta.path, marker,
      tmpdir: os.tmpdir(), home: os.homedir(), zone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      local: new Date(Date.UTC(2026, 0, 1)).getHours(),
      relative: await Bun.file("data.txt").text(),
      spawn: await text(spawn(print)), spawnSync: spawnSync(print).stdout.toString().trim(),
      spawnObject: await text(Bun.spawn({ cmd: print })), spawnSyncObject: Bun.spawnSync({ cmd: print, stdout: "pipe" }).stdout.toString().trim(),
      spawnOwnEnv: await text(spawn(["/bin/sh", "-c", "echo $NEW-$OLD-$MINE"], { env: { MINE: "mine" } })),
      spawnOptions: await text(spawn(["pwd"], { cwd: "/" })),
      spawnStdin: await text(spawn(["cat"], { stdin: Buffer.from("fed") })),
      shell: (await $\`echo $NEW-$OLD-$GONE; sh -c 'echo $NEW-$OLD-$GONE'\`.text()).trim().split("\\n"),
      childProcess: childProcess.execSync("echo $NEW-$OLD-$GONE").toString().trim(),
      webWorker: await webWorker(), webWorkerOwnEnv: await webWorker({ env: { NEW: "own" } }), nodeWorker: await nodeWorker(),
      shapes: [Bun.spawn.name, Bun.spawnSync.name, Bun.spawn.length, Worker.name, Worker.length, new Worker(URL.createObjectURL(new Blob([""]))) instanceof Worker],
    });
  },
};
`;

const files = {
  "index.ts": PROBE,
  "data.txt": "relative",
  "lib/marker.ts": "export const marker = 'by tsconfig paths';",
  "tsconfig.json": '{ "compilerOptions": { "paths": { "@lib/*": ["./lib/*"] } } }',
  ".env": "FROM_DOTENV=1\nNEW=dotenv",
};

test("environment, directory, time zone and children are the app's", async () => {
  const worker = await TestWorker.spawn({ env: { PATH: process.env.PATH!, HOME: "/tmp", TMPDIR: "/tmp", OLD: "old", GONE: "gone", TZ: "America/New_York" } });
  await worker.take(T.HELLO);
  const env = { PATH: process.env.PATH!, HOME: "/tmp", TMPDIR: "/tmp", NEW: "new", OLD: "replaced", TZ: "Asia/Tokyo" };
  worker.assign(files, { env });
  await worker.take(T.READY);
  const dir = `${worker.home}/app`;
  const seen = JSON.parse((await worker.fetch("/")).text());
  expect(seen).toEqual({
    atImport: { cwd: dir, env, zone: -540 },
    bunEnv: "new",
    metaEnv: "new",
    sameEnv: true,
    dir,
    path: `${dir}/index.ts`,
    marker: "by tsconfig paths",
    tmpdir: "/tmp",
    home: "/tmp",
    zone: "Asia/Tokyo",
    local: 9,
    relative: "relative",
    spawn: "new-replaced-",
    spawnSync: "new-replaced-",
    spawnObject: "new-replaced-",
    spawnSyncObject: "new-replaced-",
    spawnOwnEnv: "--mine",
    spawnOptions: "/",
    spawnStdin: "fed",
    shell: ["new-replaced-", "new-replaced-"],
    childProcess: "new-replaced-",
    webWorker: "new-replaced-undefined-new",
    webWorkerOwnEnv: "own-undefined-undefined-own",
    nodeWorker: "new-replaced-undefined",
    shapes: ["spawn", "spawnSync", Bun.spawn.length, "Worker", Worker.length, true],
  });
  await worker.stop();
});

test("a change the app makes to process.env reaches its children", async () => {
  const worker = await TestWorker.start(`export default { fetch() { process.env.LATER = "yes"; return new Response(Bun.spawnSync(["sh", "-c", "echo $LATER"]).stdout) } }`);
  expect((await worker.fetch("/")).text()).toBe("yes\n");
  await worker.stop();
});

test("wrong arguments of spawn fail as in Bun", async () => {
  const worker = await TestWorker.start(`const attempt = (...args) => { try { Bun.spawn(...args); return "ok" } catch (error) { return error.message } };
    export default { fetch: () => Response.json([attempt(), attempt("ls"), attempt([]), attempt({}), attempt(["true"], 5)]) }`);
  const attempt = (...args: unknown[]) => {
    try {
      (Bun.spawn as (...args: unknown[]) => unknown)(...args);
      return "ok";
    } catch (error) {
      return (error as Error).message;
    }
  };
  expect(JSON.parse((await worker.fetch("/")).text())).toEqual([attempt(), attempt("ls"), attempt([]), attempt({}), attempt(["true"], 5)]);
  await worker.stop();
});
