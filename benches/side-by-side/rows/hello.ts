/** A warm hello: how many requests a second, and what each costs. */
import { NAMES, SERVED_HELLO, start, type Contestant, type Running } from "../contestants.ts";
import { cpuTime, MemoryWatch } from "../proc.ts";
import { Sheet, type Context, type Result, type Row } from "../row.ts";
import { ratios, rotated } from "../stats.ts";
import { load } from "../wrk.ts";

const CONTESTANTS: Contestant[] = ["buntime", "nginx", "bun"];
const CONNECTIONS = [32, 128];
/** Between two looks at the memory, in ms. */
const LOOK = 250;

export const hello: Row = { id: "hello", title: "Warm hello, wrk with one thread", run };

async function run({ place, pace, say }: Context): Promise<Result> {
  const sheet = new Sheet(CONTESTANTS.map((contestant) => NAMES[contestant]));
  for (let round = 0; round < pace.rounds; round++) {
    for (const contestant of rotated(CONTESTANTS, round)) {
      const running = await start(contestant, place, SERVED_HELLO);
      await load(running.url("/hello/"), CONNECTIONS[0]!, pace.warmUp);
      const memory = new MemoryWatch(() => running.pids(), LOOK);
      for (const connections of CONNECTIONS) {
        const { perSecond, cpu } = await measure(running, connections, pace.seconds);
        say(`${NAMES[contestant]}, ${connections} connections: ${Math.round(perSecond)}/s, ${cpu.toFixed(1)} µs each`);
        sheet.add(NAMES[contestant], { [`rate${connections}`]: perSecond, [`cpu${connections}`]: cpu });
      }
      sheet.add(NAMES[contestant], { memory: memory.stop() });
      await running.stop();
    }
  }
  const versus = (key: string, other: Contestant) => ratios(sheet.get(NAMES.buntime, key), sheet.get(NAMES[other], key));
  return {
    columns: [
      { key: "rate32", title: "32 connections", unit: "requests/s", chart: { title: "Warm hello", better: "more" } },
      { key: "cpu32", title: "CPU a request", unit: "µs", chart: { title: "CPU of all processes, a request", better: "less" } },
      { key: "rate128", title: "128 connections", unit: "requests/s" },
      { key: "cpu128", title: "CPU a request", unit: "µs" },
      { key: "memory", title: "peak memory", unit: "MB" },
    ],
    series: sheet.series(),
    budgets: [
      { title: "Warm hello, 32 connections: requests/s vs nginx → Bun", unit: "×", samples: versus("rate32", "nginx"), bound: "at least", must: 1, aim: 1.3 },
      { title: "Warm hello, 32 connections: requests/s vs bare Bun", unit: "×", samples: versus("rate32", "bun"), bound: "at least", must: 0.5, aim: 0.75 },
      { title: "CPU a request, 32 connections, vs nginx + Bun", unit: "×", samples: versus("cpu32", "nginx"), bound: "at most", must: 0.75, aim: 0.55 },
      { title: "CPU a request, 128 connections, vs nginx + Bun", unit: "×", samples: versus("cpu128", "nginx"), bound: "at most", must: 0.75, aim: 0.55 },
    ],
  };
}

async function measure(running: Running, connections: number, seconds: number): Promise<{ perSecond: number; cpu: number }> {
  const before = cpuTime(running.pids());
  const { requests, perSecond } = await load(running.url("/hello/"), connections, seconds);
  return { perSecond, cpu: (cpuTime(running.pids()) - before) / requests };
}
