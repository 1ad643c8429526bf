/** The first request for an app that has no worker, against starting a bun for it. */
import { copyName, freePort, HELLO, helloCommand, SERVED_HELLO, startBuntime, type Running } from "../contestants.ts";
import { Failure } from "../failure.ts";
import { Owned } from "../processes.ts";
import { Sheet, type Context, type Result, type Row } from "../row.ts";
import { Connection, get } from "../socket.ts";
import { quantile, ratios, rotated } from "../stats.ts";

const NAMES = { spares: "buntime", none: "buntime, no spares", bare: "bare bun, started" } as const;
/** The default in production. */
const SPARES = 4;
/** First cold requests of a supervisor that are not counted: pages and caches are cold there too. */
const UNCOUNTED = 3;
/** Longest wait for spares and, when they are there, the rest that lets them finish loading, in ms. */
const REFILL_LIMIT = 15_000;
const REFILL_LOOK = 10;
const REST = 150;

export const cold: Row = { id: "cold", title: "Cold request: the first one for an app without a worker", run };

async function run({ place, pace, say }: Context): Promise<Result> {
  const sheet = new Sheet(Object.values(NAMES));
  const body = Buffer.from(HELLO);
  for (let round = 0; round < pace.rounds; round++) {
    const copies = pace.cold + UNCOUNTED;
    const spares = await startBuntime(place, { served: SERVED_HELLO, copies, flags: ["--spares", String(SPARES)] });
    const none = await startBuntime(place, { served: SERVED_HELLO, copies, flags: ["--spares", "0"] });
    // The one that was asked whether it is ready, and one more for each cold request.
    let workers = 1;
    const times = { spares: [] as number[], none: [] as number[], bare: [] as number[] };
    for (let number = 1; number <= copies; number++) {
      const path = `/${copyName(number)}/`;
      const turns = {
        spares: () => first(spares.port, path, body),
        none: () => first(none.port, path, body),
        bare: () => firstOfBare(body),
      };
      for (const turn of rotated(Object.keys(turns) as (keyof typeof turns)[], number)) {
        await refilled(spares, workers);
        const time = await turns[turn]();
        if (turn === "spares") workers += 1;
        if (number > UNCOUNTED) times[turn].push(time);
      }
    }
    for (const key of Object.keys(times) as (keyof typeof times)[]) {
      const [p50, p90] = [quantile(times[key], 0.5), quantile(times[key], 0.9)];
      say(`${NAMES[key]}: p50 ${p50.toFixed(2)} ms, p90 ${p90.toFixed(2)} ms`);
      sheet.add(NAMES[key], { p50, p90 });
    }
    await Promise.all([spares.stop(), none.stop()]);
  }
  const samples = ratios(sheet.get(NAMES.spares, "p50"), sheet.get(NAMES.bare, "p50"));
  return {
    columns: [
      { key: "p50", title: "p50", unit: "ms", chart: { title: "Cold request", better: "less" } },
      { key: "p90", title: "p90", unit: "ms" },
    ],
    series: sheet.series(),
    budgets: [{ title: "Cold request, p50 vs starting a bare bun", unit: "×", samples, bound: "at most", must: 0.25, aim: 0.1 }],
  };
}

/** From connecting to the end of the answer, in ms. */
function first(port: number, path: string, body: Uint8Array): number {
  const request = get(path);
  const began = Bun.nanoseconds();
  const connection = Connection.openSoon(port);
  connection.exchange(request, body);
  const time = Bun.nanoseconds() - began;
  connection.close();
  return time / 1e6;
}

/** From starting the process to the end of its first answer, in ms. */
async function firstOfBare(body: Uint8Array): Promise<number> {
  const port = freePort();
  const request = get("/");
  const began = Bun.nanoseconds();
  const bun = new Owned(helloCommand(port));
  const connection = Connection.openSoon(port);
  connection.exchange(request, body);
  const time = Bun.nanoseconds() - began;
  connection.close();
  await bun.stop();
  return time / 1e6;
}

/** Until there are as many spares as there should be, and they are at rest. */
async function refilled(running: Running, workers: number): Promise<void> {
  const deadline = performance.now() + REFILL_LIMIT;
  while (running.workers().length < workers + SPARES) {
    if (performance.now() > deadline) throw new Failure(`${SPARES} spares are not there after ${REFILL_LIMIT} ms\n${running.front.tail()}`);
    await Bun.sleep(REFILL_LOOK);
  }
  await Bun.sleep(REST);
}
