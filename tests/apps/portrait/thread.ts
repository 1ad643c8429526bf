import { spawnSync } from "node:child_process";
import { isMainThread, parentPort } from "node:worker_threads";
import { greeting } from "@lib/greeting";

const OWN = ["HOME", "TMPDIR", "WORKER_ID"];
const env = Object.entries(process.env).map(([name, value]) => [name, OWN.includes(name) ? "(its own)" : value]);
const seen = {
  env: Object.fromEntries(env.sort(([a], [b]) => (a! < b! ? -1 : 1))),
  cwd: process.cwd(),
  zone: new Date(0).toString(),
  main: isMainThread,
  child: spawnSync(process.execPath, ["-e", "console.log(process.execPath, Bun.version)"]).stdout.toString(),
  greeting,
};
if (parentPort) parentPort.postMessage(seen);
else postMessage(seen);
