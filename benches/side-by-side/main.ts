/** `scripts/bench`: runs the rows and writes what they gave. Everything it starts ends with it. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Failure } from "./failure.ts";
import { describe } from "./machine.ts";
import { parse, usage, type Options } from "./options.ts";
import { killAll, stopAll } from "./processes.ts";
import { markdown, replaced } from "./report/markdown.ts";
import { reportRow, type Report } from "./report/report.ts";
import { svg } from "./report/svg.ts";
import type { Row } from "./row.ts";
import { cold } from "./rows/cold.ts";
import { ephemeral } from "./rows/ephemeral.ts";
import { hello } from "./rows/hello.ts";
import { idle } from "./rows/idle.ts";
import { latency } from "./rows/latency.ts";
import { plugins } from "./rows/plugins.ts";
import { transfer } from "./rows/transfer.ts";

const ROWS: Row[] = [hello, plugins, latency, cold, ephemeral, idle, transfer];
/** The whole run ends after so long, whatever hangs, in ms. */
const LIMIT = 2 * 60 * 60 * 1000;
/** With more processes than this wanting to run, the numbers are of them too. */
const QUIET = 0.5;

const dir = fs.mkdtempSync(path.join(os.tmpdir(), "buntime-bench-"));
process.on("exit", () => {
  killAll();
  fs.rmSync(dir, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => void stopAll().then(() => process.exit(130)));
}
setTimeout(() => fail(`not done after ${LIMIT / 60_000} minutes`), LIMIT).unref();

let options: Options;
try {
  options = parse(process.argv.slice(2), ROWS.map(({ id }) => id));
} catch (error) {
  fail((error as Error).message, 2);
}
if (options.help) {
  console.log(usage(ROWS.map(({ id }) => id)));
  process.exit();
}
process.exit(await run(options));

/** Returns the exit code. A row that breaks does not keep the others from running, but the run from being recorded. */
async function run({ buntime, rows, pace, record }: Options): Promise<number> {
  const place = { dir, buntime: path.resolve(buntime) };
  const report: Report = { date: new Date().toISOString().slice(0, 10), machine: await describe(place.buntime), pace, rows: [] };
  if (report.machine.load > QUIET) say(`warning: this machine is busy (load ${report.machine.load.toFixed(2)}): ratios will be noisy`);
  const broken: string[] = [];
  for (const row of ROWS.filter(({ id }) => rows.includes(id))) {
    say(`== ${row.title}`);
    try {
      report.rows.push(reportRow(row, await row.run({ place, pace, say: (text) => say(`   ${text}`) })));
    } catch (error) {
      broken.push(row.id);
      say(`error: ${row.id}: ${error instanceof Failure ? error.message : (error as Error).stack}`);
      await stopAll();
    }
  }
  if (report.rows.length > 0) write(report, record && broken.length === 0);
  if (broken.length > 0) say(`error: no result for ${broken.join(", ")}`);
  return broken.length > 0 ? 1 : 0;
}

function write(report: Report, record: boolean): void {
  const results = markdown(report);
  const out = record ? "docs" : "target/bench";
  fs.mkdirSync(out, { recursive: true });
  const document = path.join(out, "benchmarks.md");
  fs.writeFileSync(document, record ? replaced(fs.readFileSync(document, "utf8"), results) : `${results}\n`);
  fs.writeFileSync(path.join(out, "benchmarks.json"), `${JSON.stringify(report, null, 2)}\n`);
  fs.writeFileSync(path.join(out, "benchmarks.svg"), svg(report));
  console.log(`${results}\n`);
  say(`written: ${out}/benchmarks.{md,json,svg}`);
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

function fail(message: string, code = 1): never {
  say(`error: ${message}`);
  process.exit(code);
}
