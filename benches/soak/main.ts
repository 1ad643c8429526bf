/** `scripts/soak`: a runtime under load and blows, for a while. Everything it starts ends with it. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Failure } from "../side-by-side/failure.ts";
import { output } from "../side-by-side/processes.ts";
import { Chance } from "./chance.ts";
import { Chaos } from "./chaos.ts";
import { Ledger } from "./ledger.ts";
import { busy, fickle, fresh, halfClosed, slowHead, slowReader, socket, type Scene } from "./load.ts";
import { parse, USAGE, type Options } from "./options.ts";
import { isGood, isRecorded, markdown, recorded, settings, type Report } from "./report.ts";
import { Runtime } from "./runtime.ts";
import { Shop } from "./shop.ts";
import { judgeMemory, judgeRest, judgeZombies, sample, type Judgement, type Sample } from "./watch.ts";

/** Load before a look at rest, in s: what is made once is there then. */
const WARM_UP = 6;
/** The part of the run that one process has for itself, which its memory is judged by. */
const LAST_PART = 0.4;
/** From the end of the load to the look at rest, in s. Threads that wait for nothing end after 10. */
const REST = 14;
/** So many looks in a row, one a second, do not find the runtime when it has ended. */
const DEAD = 3;
/** What a run may take longer than its load, in minutes. */
const PATIENCE = 8;
const OUT = "target/soak";
const DOCUMENT = "docs/soak.md";

const dir = fs.mkdtempSync(path.join(os.tmpdir(), "buntime-soak-"));
let runtime: Runtime | undefined;
process.on("exit", () => {
  runtime?.destroy();
  keepLog();
  fs.rmSync(dir, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => process.exit(130));

let options: Options;
try {
  options = parse(process.argv.slice(2));
} catch (error) {
  fail((error as Error).message, 2);
}
if (options.help) {
  console.log(USAGE);
  process.exit();
}
// Whatever hangs, also after the limit of the run itself.
setTimeout(() => fail("it did not come to an end"), (options.minutes + 2 * PATIENCE) * 60_000).unref();
try {
  process.exit((await run(options)) ? 0 : 1);
} catch (error) {
  fail(error instanceof Failure ? error.message : (error as Error).stack!);
}

/** Whether all is well. */
async function run(options: Options): Promise<boolean> {
  const binary = path.resolve(options.binary);
  const version = (await output([binary, "--version"], 10_000)).trim().split(" ").at(-1)!;
  runtime = new Runtime(binary, dir);
  await runtime.start();
  say(`buntime ${version}, process ${runtime.pid}, port ${runtime.port}; seed ${options.seed}`);
  const ledger = new Ledger();
  const shop = new Shop(runtime);
  let end = 0;
  let missed = 0;
  const chance = new Chance(options.seed);
  const scene: Scene = {
    runtime,
    ledger,
    shop,
    chance,
    stopped: () => Date.now() >= end || missed >= DEAD,
    pluginOff: () => chaos.pluginOff(),
  };
  const chaos = new Chaos(scene, options);
  const judgements: Judgement[] = [];
  const samples: Sample[] = [];
  // Where it breaks off, what was found until then is written all the same.
  try {
    const late = Bun.sleep((options.minutes + PATIENCE) * 60_000).then(() => Promise.reject(new Failure("it did not come to an end")));
    await Promise.race([soak(), late]);
  } catch (error) {
    if (runtime.alive()) judgements.push({ name: "the run", ok: false, found: (error as Error).message, allowed: "to its end" });
  }
  judgements.unshift({ name: "outcomes without an explanation", ok: ledger.unexplainedCount === 0, found: `${ledger.unexplainedCount}`, allowed: "0" });
  judgements.push(judgeZombies(samples));
  if (runtime.alive()) {
    const wrong = await runtime.end();
    judgements.push({ name: "the end by SIGTERM", ok: wrong.length === 0, found: wrong.join("; ") || "nothing is left over", allowed: "nothing" });
  } else {
    say(runtime.tail());
    judgements.push({ name: "the runtime", ok: false, found: "has ended", allowed: "lives" });
  }
  const report: Report = {
    date: new Date().toISOString().slice(0, 10),
    version,
    machine: `${os.cpus().length} × ${os.cpus()[0]?.model.trim() ?? "unknown"}`,
    ...settings(options),
    outcomes: Object.fromEntries(ledger.counts),
    done: Object.fromEntries(chaos.done),
    unexplained: ledger.unexplained,
    judgements,
    samples,
  };
  write(report);
  return isGood(report);

  /** Many processes, one after the other, and then one. */
  async function soak(): Promise<void> {
    await shop.deploy();
    await shop.deploy();
    const began = Date.now();
    const all = options.minutes * 60;
    const first = await rest();
    await load(all * (1 - LAST_PART), began, false);
    const before = await rest();
    const change = samples.length;
    await load(all * LAST_PART, began, true);
    const after = await rest();
    judgements.push(judgeMemory(samples.slice(change)), ...judgeRest("one process", before, after), ...judgeRest("first and last process", first, after));
  }

  /** Load and blows for so many seconds. */
  async function load(seconds: number, began: number, one: boolean): Promise<void> {
    end = Date.now() + seconds * 1000;
    const looking = setInterval(() => {
      runtime!.look();
      missed = runtime!.alive() ? 0 : missed + 1;
      const found = sample(runtime!.pid, (Date.now() - began) / 1000);
      if (found === undefined) return;
      samples.push(found);
      if (samples.length % 30 === 0) progress(ledger, samples);
    }, 1000);
    await Promise.all([...clients(scene, options), chaos.run(one)]);
    clearInterval(looking);
  }

  /** What is open at rest, after some load. */
  async function rest(): Promise<Sample> {
    if (missed < DEAD) {
      end = Date.now() + WARM_UP * 1000;
      await Promise.all(clients(scene, options));
      await Bun.sleep(REST * 1000);
    }
    const found = sample(runtime!.pid, 0);
    if (found === undefined) throw new Failure("the runtime has ended");
    const { pid, descriptors, threads, children, pss } = found;
    say(`at rest: process ${pid}, ${descriptors} descriptors, ${threads} threads, ${children} children, ${pss.toFixed(1)} MiB`);
    return found;
  }
}

function clients(scene: Scene, { clients, without }: Options): Promise<void>[] {
  const several = (count: number, client: (scene: Scene) => Promise<void>): Promise<void>[] => Array.from({ length: count }, () => client(scene));
  return [
    ...several(Math.round(clients), busy),
    ...several(2, fresh),
    ...several(2, fickle),
    ...several(2, slowReader),
    ...several(2, slowHead),
    ...several(1, halfClosed),
    ...(without.has("sockets") || without.has("plugins") ? [] : several(4, socket)),
  ];
}

function progress(ledger: Ledger, samples: readonly Sample[]): void {
  const last = samples.at(-1)!;
  const requests = [...ledger.counts.values()].reduce((sum, count) => sum + count, 0);
  say(
    `${last.at.toFixed(0)} s: ${requests} outcomes, ${ledger.unexplainedCount} unexplained; ` +
      `${last.pss.toFixed(1)} MiB, ${last.descriptors} descriptors, ${last.threads} threads, ${last.children} children`,
  );
}

function write(report: Report): void {
  const text = markdown(report);
  fs.mkdirSync(OUT, { recursive: true });
  fs.writeFileSync(path.join(OUT, "soak.json"), `${JSON.stringify(report, null, 2)}\n`);
  fs.writeFileSync(path.join(OUT, "soak.md"), `${text}\n`);
  console.log(`${text}\n`);
  for (const { at, app, what, took, before } of report.unexplained.slice(0, 20)) {
    say(`unexplained: ${at} ${app}: ${what} (${took} ms)${before.map((line) => `\n    ${line}`).join("")}`);
  }
  const record = isRecorded(report);
  if (record) fs.writeFileSync(DOCUMENT, recorded(fs.readFileSync(DOCUMENT, "utf8"), text));
  say(`written: ${OUT}/soak.json, ${OUT}/log${record ? `, ${DOCUMENT}` : ""}`);
}

/** What the runtime has said, however this process ends. */
function keepLog(): void {
  const log = path.join(dir, "log");
  if (!fs.existsSync(log)) return;
  fs.mkdirSync(OUT, { recursive: true });
  fs.copyFileSync(log, path.join(OUT, "log"));
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function fail(message: string, code = 1): never {
  say(`error: ${message}`);
  process.exit(code);
}
