/**
 * Time from the start of the process to HELLO, against the start of a `bun`
 * that runs an empty script and one that only connects; and the memory of a
 * spare. `bun bench/start.ts [rounds]`
 */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { T } from "../tests/codec.ts";
import { TestWorker } from "../tests/worker.ts";
import { cpu } from "./cpu-time.ts";

const ROUNDS = Number(process.argv[2] ?? 40);
const median = (values: number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
const dir = fs.mkdtempSync(path.join(os.tmpdir(), "shim-bench-"));
const scripts: Record<string, string | undefined> = {
  "HELLO only": `Bun.connect({ fd: 3, socket: { open(socket) { socket.write(Buffer.from([0, 0, 0, 1, 1, 0, 0, 0, 0, 0x90])) }, data() {}, close() { process.exit(0) } } });`,
  shim: undefined,
};
const wall: Record<string, number[]> = {};
const time: Record<string, number[]> = {};
const memory: Record<string, number[]> = {};
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, text] of Object.entries(scripts)) {
    if (text !== undefined) fs.writeFileSync(path.join(dir, "script.js"), text);
    const before = performance.now();
    const worker = await TestWorker.spawn(text === undefined ? {} : { script: path.join(dir, "script.js") });
    await worker.take(T.HELLO);
    (wall[name] ??= []).push(performance.now() - before);
    (time[name] ??= []).push(cpu(worker.process.pid) / 1000);
    const rollup = fs.readFileSync(`/proc/${worker.process.pid}/smaps_rollup`, "utf8");
    (memory[name] ??= []).push(Number(/^Pss: +(\d+)/m.exec(rollup)![1]) / 1024);
    worker.process.kill();
    await worker.exited();
  }
}
for (const name of Object.keys(scripts)) {
  console.log(`${name.padEnd(12)} ${median(wall[name]!).toFixed(1)} ms to HELLO, ${median(time[name]!).toFixed(1)} ms of CPU, ${median(memory[name]!).toFixed(1)} MB proportional`);
}
fs.rmSync(dir, { recursive: true });
