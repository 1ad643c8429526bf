/** What a hundred workers cost that have nothing to do. */
import { copyName, freePort, HELLO, helloCommand, SERVED_HELLO, startBuntime } from "../contestants.ts";
import { Failure } from "../failure.ts";
import { Owned } from "../processes.ts";
import { proportionalMemory } from "../proc.ts";
import { Sheet, type Context, type Result, type Row } from "../row.ts";
import { Connection, get } from "../socket.ts";

const WORKERS = 100;
const OURS = "buntime";
const BARE = "bare Bun processes";
/** Between the last request and the look at the memory, in ms. */
const REST = 3_000;

export const idle: Row = { id: "idle", title: `${WORKERS} idle workers, each asked once`, run };

async function run({ place, pace, say }: Context): Promise<Result> {
  const sheet = new Sheet([OURS, BARE]);
  for (let round = 0; round < pace.rounds; round++) {
    const ours = await supervised(place);
    sheet.add(OURS, ours);
    const bare = await alone();
    sheet.add(BARE, bare);
    say(`${ours.each.toFixed(2)} MB a worker and ${ours.front.toFixed(1)} MB for the supervisor; bare ${bare.each.toFixed(2)} MB`);
  }
  return {
    columns: [
      { key: "all", title: "a worker, supervisor included", unit: "MB", chart: { title: `${WORKERS} idle workers, memory of each`, better: "less" } },
      { key: "each", title: "a worker alone", unit: "MB" },
      { key: "front", title: "supervisor", unit: "MB" },
    ],
    series: sheet.series(),
    budgets: [{ title: `Memory of each of ${WORKERS} idle workers, supervisor included`, unit: "MB", samples: sheet.get(OURS, "all"), bound: "at most", must: 8 }],
  };
}

async function supervised(place: Context["place"]): Promise<{ all: number; each: number; front: number }> {
  // Without spares every process below the supervisor is a worker that holds an app.
  const running = await startBuntime(place, { served: SERVED_HELLO, copies: WORKERS - 1, flags: ["--spares", "0", "--pool-size", String(WORKERS)] });
  for (let number = 1; number < WORKERS; number++) ask(running.port, `/${copyName(number)}/`);
  await Bun.sleep(REST);
  const workers = running.workers();
  if (workers.length !== WORKERS) throw new Failure(`${workers.length} workers run, not ${WORKERS}\n${running.front.tail()}`);
  const [each, front] = [proportionalMemory(workers) / WORKERS, proportionalMemory([running.front.pid])];
  await running.stop();
  return { all: each + front / WORKERS, each, front };
}

async function alone(): Promise<{ all: number; each: number }> {
  const processes: Owned[] = [];
  for (let number = 0; number < WORKERS; number++) {
    const port = freePort();
    processes.push(new Owned(helloCommand(port)));
    ask(port, "/");
  }
  await Bun.sleep(REST);
  const each = proportionalMemory(processes.map((owned) => owned.pid)) / WORKERS;
  await Promise.all(processes.map((owned) => owned.stop()));
  return { all: each, each };
}

function ask(port: number, path: string): void {
  const connection = Connection.openSoon(port);
  connection.exchange(get(path), Buffer.from(HELLO));
  connection.close();
}
