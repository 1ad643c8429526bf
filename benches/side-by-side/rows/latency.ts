/** One connection, one request at a time: what stands between client and Bun adds this much. */
import { HELLO, NAMES, SERVED_HELLO, start, type Contestant, type Place } from "../contestants.ts";
import { Failure } from "../failure.ts";
import { Sheet, type Context, type Pace, type Result, type Row } from "../row.ts";
import { Connection, get } from "../socket.ts";
import { mean, quantile, ratios, rotated } from "../stats.ts";
import { load } from "../wrk.ts";

const CONTESTANTS: Contestant[] = ["buntime", "nginx", "bun"];
const WARM_CONNECTIONS = 8;
/** Requests in a block, of which the first only wake the contestant. */
const BLOCK = 300;
const WAKING = 50;
/**
 * Starts of all contestants in a round. Where the system happens to put a contestant's processes, beside the client or on
 * another processor, changes its latency by half and for as long as they live: a round is the mean of several such draws.
 */
const STARTS = 4;
/** Rounds that may be repeated because the noise was greater than what is measured. */
const SPOILED = 5;

export const latency: Row = { id: "latency", title: "Latency at one connection, blocking client", run };

async function run({ place, pace, say }: Context): Promise<Result> {
  const sheet = new Sheet(CONTESTANTS.map((contestant) => NAMES[contestant]));
  let spoiled = 0;
  for (let round = 0; round < pace.rounds; ) {
    const starts: Record<Contestant, number[]>[] = [];
    for (let start = 0; start < STARTS; start++) starts.push(await measureAll(place, pace));
    const at = (contestant: Contestant, part: number) => mean(starts.map((times) => quantile(times[contestant], part)));
    const p50 = (contestant: Contestant) => at(contestant, 0.5);
    for (const contestant of CONTESTANTS) say(`${NAMES[contestant]}: p50 ${p50(contestant).toFixed(1)} µs`);
    if (p50("nginx") <= p50("bun")) {
      spoiled += 1;
      if (spoiled > SPOILED) throw new Failure("Bun is slower alone than behind nginx: this machine is too busy for latencies");
      say("Bun was slower alone than behind nginx: the round is repeated");
      continue;
    }
    for (const contestant of CONTESTANTS) {
      sheet.add(NAMES[contestant], { p50: p50(contestant), p99: at(contestant, 0.99) });
      if (contestant !== "bun") sheet.add(NAMES[contestant], { added: p50(contestant) - p50("bun") });
    }
    round += 1;
  }
  const samples = ratios(sheet.get(NAMES.buntime, "added"), sheet.get(NAMES.nginx, "added"));
  return {
    columns: [
      { key: "p50", title: "p50", unit: "µs" },
      { key: "p99", title: "p99", unit: "µs" },
      { key: "added", title: "added to bare Bun's p50", unit: "µs", chart: { title: "Latency added to bare Bun, one connection", better: "less" } },
    ],
    series: sheet.series(),
    budgets: [{ title: "Added p50 at one connection, vs what nginx → Bun adds", unit: "×", samples, bound: "at most", must: 1.2, aim: 0.7 }],
  };
}

/** The times of one start in µs. */
async function measureAll(place: Place, { warmUp, blocks }: Pace): Promise<Record<Contestant, number[]>> {
  const body = Buffer.from(HELLO);
  const times: Record<Contestant, number[]> = { buntime: [], nginx: [], bun: [] };
  const all = await Promise.all(
    CONTESTANTS.map(async (contestant) => ({ contestant, running: await start(contestant, place, SERVED_HELLO) })),
  );
  for (const { running } of all) await load(running.url("/hello/"), WARM_CONNECTIONS, warmUp);
  const lanes = all.map((one) => ({ ...one, connection: Connection.openSoon(one.running.port) }));
  // All three are up, and each is asked for some ms at a time: what disturbs one block disturbs its neighbours.
  for (let block = 0; block < blocks; block++) {
    for (const { contestant, connection } of rotated(lanes, block)) times[contestant].push(...measure(connection, body));
  }
  for (const { connection, running } of lanes) {
    connection.close();
    await running.stop();
  }
  return times;
}

/** Times of one block in µs. */
function measure(connection: Connection, body: Uint8Array): number[] {
  const request = get("/hello/");
  const times: number[] = [];
  for (let i = 0; i < BLOCK; i++) {
    const began = Bun.nanoseconds();
    connection.exchange(request, body);
    if (i >= WAKING) times.push((Bun.nanoseconds() - began) / 1000);
  }
  return times;
}
