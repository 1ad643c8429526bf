// The soak of `buntime dev`; scripts/dev-soak starts it and says what it is for.

import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    binary: { type: "string", default: "target/release/buntime" },
    saves: { type: "string", default: "1000" },
    connections: { type: "string", default: "4" },
  },
});
const saves = Number(values.saves);

/** What is looked at for leaks. */
type Footprint = { processes: number; descriptors: number; pssMiB: number; threads: number };

const dir = mkdtempSync(join(tmpdir(), "dev-soak-"));
const app = join(dir, "app");
cpSync("examples/hono", app, { recursive: true });
const file = join(app, "src/books.ts");
const source = readFileSync(file, "utf8");
// The first place where a word of it is answered.
const write = (word: string) => writeFileSync(file, source.replace("The Art of Computer Programming", word));

const server = Bun.spawn([values.binary, "dev", app, "--port", "0", "--state-dir", join(dir, "state"), "--log-level", "info", "--log-format", "json"], {
  cwd: dir,
  stdin: "ignore",
  stdout: "ignore",
  stderr: "pipe",
});
const url = await listening(server.stderr);
console.error(`== ${saves} saves under load at ${url}`);

// The first ones are no part of the comparison: pools, caches and the allocator fill.
const warmUp = Math.min(50, saves);
let stopped = false;
let requests = 0;
const failures: string[] = [];
const load = Array.from({ length: Number(values.connections) }, hammer);

const took: number[] = [];
let before: Footprint | undefined;
for (let turn = 1; turn <= warmUp + saves; turn++) {
  if (turn === warmUp + 1) before = await settled();
  const word = `Edition ${turn}`;
  const begin = performance.now();
  write(word);
  while (!(await (await fetch(`${url}/books`)).text()).includes(word)) {}
  if (turn > warmUp) took.push(performance.now() - begin);
  if (turn % 100 === 0) console.error(`   ${turn}: ${JSON.stringify(footprint())}`);
}
const after = await settled();
stopped = true;
await Promise.all(load);
server.kill("SIGTERM");
const code = await server.exited;
rmSync(dir, { recursive: true });

took.sort((a, b) => a - b);
const quantile = (q: number) => `${took[Math.min(took.length - 1, Math.floor(q * took.length))].toFixed(0)} ms`;
console.log(`saves              ${saves}`);
console.log(`requests           ${requests}, failed ${failures.length}`);
console.log(`save → new answer  p50 ${quantile(0.5)}, p95 ${quantile(0.95)}, p99 ${quantile(0.99)}, most ${quantile(1)}`);
for (const what of ["processes", "descriptors", "threads", "pssMiB"] as const) {
  console.log(`${what.padEnd(18)} ${before![what]} before, ${after[what]} after`);
}
const leaks = (["processes", "descriptors"] as const).filter((what) => after[what] > before![what]);
// What the allocator keeps goes up and down by a few MiB.
if (after.pssMiB > before!.pssMiB + 16) leaks.push("pssMiB" as never);
const problems = [...failures.slice(0, 5), ...leaks.map((what) => `${what} leak`), ...(code === 0 ? [] : [`exit code ${code}`])];
if (problems.length > 0) {
  console.error(`FAILED: ${problems.join("; ")}`);
  process.exit(1);
}

/** Asks without end; anything but a whole 200 is a failure. */
async function hammer() {
  while (!stopped) {
    try {
      const answer = await fetch(`${url}/`);
      const text = await answer.text();
      if (answer.status !== 200 || !text.includes("<h1>Books</h1>")) failures.push(`${answer.status} ${text.slice(0, 200)}`);
    } catch (error) {
      failures.push(String(error));
    }
    requests++;
  }
}

/** Once the workers that were replaced have ended. */
async function settled(): Promise<Footprint> {
  let last = footprint();
  for (let calm = 0; calm < 5; ) {
    await Bun.sleep(200);
    const next = footprint();
    calm = next.processes === last.processes && next.descriptors <= last.descriptors ? calm + 1 : 0;
    last = next;
  }
  return last;
}

function footprint(): Footprint {
  const proc = `/proc/${server.pid}`;
  const rollup = readFileSync(`${proc}/smaps_rollup`, "utf8");
  const status = readFileSync(`${proc}/status`, "utf8");
  const children = readdirSync(`${proc}/task`).map((task) => readFileSync(`${proc}/task/${task}/children`, "utf8"));
  return {
    processes: children.join(" ").split(" ").filter(Boolean).length,
    // Connections of the load come and go.
    descriptors: readdirSync(`${proc}/fd`).length,
    pssMiB: Math.round(Number(rollup.match(/^Pss: +(\d+)/m)![1]) / 1024),
    threads: Number(status.match(/^Threads:\s+(\d+)/m)![1]),
  };
}

async function listening(stderr: ReadableStream<Uint8Array>): Promise<string> {
  const reader = stderr.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`it does not start: ${text}`);
    text += decoder.decode(value, { stream: true });
    const found = text.match(/"listen":"([^"]+)"/);
    if (found) {
      // Nobody reads on; the rest must not stop it.
      (async () => {
        while (!(await reader.read()).done) {}
      })();
      return found[1];
    }
  }
}
