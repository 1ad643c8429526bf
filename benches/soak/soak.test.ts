import { expect, test } from "bun:test";
import net from "node:net";
import { Broken, Connection } from "./client.ts";
import { Ledger } from "./ledger.ts";
import { parse } from "./options.ts";
import { judgeMemory, judgeRest, judgeZombies, type Sample } from "./watch.ts";

const SAMPLE: Sample = { at: 0, pid: 1, pss: 50, rss: 60, descriptors: 80, threads: 8, children: 10, zombies: [] };

/** Answers each connection with these bytes, and closes it where they end. */
async function served<T>(bytes: string, ask: (port: number) => Promise<T>): Promise<T> {
  const server = net.createServer((socket) => socket.once("data", () => socket.end(bytes)));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    return await ask((server.address() as net.AddressInfo).port);
  } finally {
    server.close();
  }
}

test("bodies of both framings are read, and one that breaks off is an error with the status", async () => {
  const ask = async (port: number) => (await Connection.open(port)).ask({ path: "/" });
  const whole = await served("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", ask);
  expect([whole.status, whole.body.toString()]).toEqual([200, "hello"]);
  const chunked = await served("HTTP/1.1 404 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", ask);
  expect([chunked.status, chunked.body.toString()]).toEqual([404, "hello"]);
  for (const [bytes, status] of [["HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", 200], ["", undefined]] as const) {
    const error = await served(bytes, ask).catch((error: Error) => error);
    expect(error).toBeInstanceOf(Broken);
    expect((error as Broken).status).toBe(status);
  }
});

test("what a kill explains is of that app and of that time alone", () => {
  const ledger = new Ledger();
  ledger.failed("shop", Date.now(), "502 worker_died", false);
  ledger.strike("kill", "shop");
  const began = Date.now();
  ledger.failed("shop", began, "502 worker_died", false);
  ledger.failed("other", began, "502 worker_died", false);
  ledger.failed("shop", began, "503 back_off", false);
  ledger.failed("shop", Date.now() + 60_000, "502 worker_died", false);
  ledger.failed("crash", began, "503 back_off", true);
  expect(ledger.unexplainedCount).toBe(4);
});

test("growth, leaks and zombies are judged", () => {
  const run = (pss: (at: number) => number) => Array.from({ length: 100 }, (_, at) => ({ ...SAMPLE, at, pss: pss(at) }));
  expect(judgeMemory(run(() => 50)).ok).toBe(true);
  expect(judgeMemory(run((at) => 50 + at)).ok).toBe(false);
  const rest = (after: Partial<Sample>) => judgeRest(SAMPLE, { ...SAMPLE, ...after }).map(({ ok }) => ok);
  expect(rest({})).toEqual([true, true]);
  expect(rest({ descriptors: 200 })).toEqual([false, true]);
  expect(rest({ descriptors: 96, children: 12 })).toEqual([true, true]);
  expect(rest({ threads: 40 })).toEqual([true, false]);
  const zombies = (seen: string[][]) => judgeZombies(seen.map((zombies) => ({ ...SAMPLE, zombies }))).ok;
  // Three that come one after the other are reaped as they should be.
  expect([zombies([[], ["1"], ["2", "3"], ["4"]]), zombies([["1"], ["1"], []]), zombies([["1"], ["1", "2"], ["1"]])]).toEqual([true, true, false]);
});

test("options are checked", () => {
  expect(parse(["--minutes", "0.5", "--without", "handover,reload"])).toMatchObject({ minutes: 0.5, clients: 24 });
  for (const wrong of [["--minutes", "0"], ["--without", "x"], ["--clients", "many"], ["x"]]) expect(() => parse(wrong)).toThrow();
});
