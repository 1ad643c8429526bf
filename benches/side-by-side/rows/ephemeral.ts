/** A process for every request, against starting processes that do nothing. */
import { EMPTY_COMMAND, HELLO, startBuntime } from "../contestants.ts";
import { Failure } from "../failure.ts";
import { environment } from "../processes.ts";
import { cpuTime, waitedCpuTime } from "../proc.ts";
import { Sheet, type Context, type Result, type Row } from "../row.ts";
import { ratios, rotated } from "../stats.ts";
import { load } from "../wrk.ts";

const OURS = "buntime, ttl: 0";
const UNHIDDEN = "buntime, nothing hidden";
const BARE = "bare bun, empty script";
/** Requests, or processes, at once. */
const AT_ONCE = 4;

export const ephemeral: Row = { id: "ephemeral", title: `A process for every request, ${AT_ONCE} at once`, run };

async function run({ place, pace, say }: Context): Promise<Result> {
  const sheet = new Sheet([OURS, UNHIDDEN, BARE]);
  const served = { app: "once", probe: "/once/", answer: HELLO } as const;
  const requests = async (unhidden: boolean) => {
    const running = await startBuntime(place, { served, unhidden });
    await load(running.url("/once/"), AT_ONCE, pace.warmUp);
    const before = cpuTime(running.pids());
    const { requests, perSecond } = await load(running.url("/once/"), AT_ONCE, pace.seconds);
    const cpu = (cpuTime(running.pids()) - before) / requests / 1000;
    await running.stop();
    return { rate: perSecond, cpu };
  };
  const turns = {
    [OURS]: () => requests(false),
    [UNHIDDEN]: () => requests(true),
    [BARE]: async () => {
      await spawns(pace.warmUp);
      return spawns(pace.seconds);
    },
  };
  for (let round = 0; round < pace.rounds; round++) {
    for (const name of rotated([OURS, UNHIDDEN, BARE] as const, round)) {
      const samples = await turns[name]();
      say(`${name}: ${samples.rate.toFixed(0)}/s, ${samples.cpu.toFixed(2)} ms of CPU each`);
      sheet.add(name, samples);
    }
  }
  const samples = ratios(sheet.get(OURS, "rate"), sheet.get(BARE, "rate"));
  const hiding = ratios(sheet.get(OURS, "rate"), sheet.get(UNHIDDEN, "rate"));
  return {
    columns: [
      { key: "rate", title: "a second", unit: "requests/s", chart: { title: "A process for every request", better: "more" } },
      { key: "cpu", title: "CPU each", unit: "ms" },
    ],
    series: sheet.series(),
    budgets: [
      { title: "Ephemeral requests/s vs starts of bare bun with an empty script", unit: "×", samples, bound: "at least", must: 0.6, aim: 0.9 },
      { title: "Ephemeral requests/s vs those of workers from which nothing is hidden", unit: "×", samples: hiding, bound: "at least", must: 0.9, aim: 0.97 },
    ],
  };
}

/** Starts processes for so many seconds: how many ended well a second, and what one cost in ms of CPU. */
async function spawns(seconds: number): Promise<{ rate: number; cpu: number }> {
  const env = environment();
  const before = waitedCpuTime();
  const began = performance.now();
  let count = 0;
  const lane = async () => {
    while (performance.now() - began < seconds * 1000) {
      const child = Bun.spawn(EMPTY_COMMAND, { env, stdio: ["ignore", "ignore", "ignore"] });
      const status = await child.exited;
      if (status !== 0) throw new Failure(`${EMPTY_COMMAND.join(" ")}: exit code ${status}`);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  const elapsed = (performance.now() - began) / 1000;
  return { rate: count / elapsed, cpu: (waitedCpuTime() - before) / count / 1000 };
}
