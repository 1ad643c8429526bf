import { expect, test } from "bun:test";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { Broken, Connection } from "./client.ts";
import { Ledger } from "./ledger.ts";
import { socketMayEnd } from "./load.ts";
import { parse } from "./options.ts";
import { isRecorded, type Report } from "./report.ts";
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

test("a spare that is killed explains only what was there at that moment", () => {
  const ledger = new Ledger();
  const before = Date.now() - 5;
  ledger.strikeSpare("kill");
  const began = Date.now() + 1;
  ledger.failed("once", before, "502 worker_died", false);
  expect(ledger.unexplainedCount).toBe(0);
  ledger.failed("once", began, "502 worker_died", false);
  ledger.failed("once", before, "503 back_off", false);
  ledger.blows[0]!.at -= 60_000;
  ledger.failed("once", before - 60_001, "502 worker_died", false);
  expect(ledger.unexplainedCount).toBe(3);
});

test("growth, leaks and zombies are judged", () => {
  const run = (pss: (at: number) => number) => Array.from({ length: 200 }, (_, at) => ({ ...SAMPLE, at: 360 + at, pss: pss(at) }));
  expect(judgeMemory(run(() => 50)).ok).toBe(true);
  expect(judgeMemory(run((at) => 50 + at)).ok).toBe(false);
  const rest = (after: Partial<Sample>) => judgeRest("one process", SAMPLE, { ...SAMPLE, ...after }).map(({ ok }) => ok);
  expect(rest({})).toEqual([true, true]);
  expect(rest({ descriptors: 200 })).toEqual([false, true]);
  expect(rest({ descriptors: 96, children: 12 })).toEqual([true, true]);
  expect(rest({ threads: 40 })).toEqual([true, false]);
  const zombies = (seen: string[][]) => judgeZombies(seen.map((zombies) => ({ ...SAMPLE, zombies }))).ok;
  // Three that come one after the other are reaped as they should be.
  expect([zombies([[], ["1"], ["2", "3"], ["4"]]), zombies([["1"], ["1"], []]), zombies([["1"], ["1", "2"], ["1"]])]).toEqual([true, true, false]);
});

test("memory is judged within one process that was looked at for long enough", () => {
  const grows = (length: number, pid: (at: number) => number) => Array.from({ length }, (_, at) => ({ ...SAMPLE, at, pid: pid(at), pss: 50 + at }));
  // Each of two begins small, which hides what both of them do.
  expect(judgeMemory(grows(200, (at) => (at < 100 ? 1 : 2)))).toMatchObject({ ok: false, found: "2 processes" });
  expect(judgeMemory(grows(100, () => 1))).toMatchObject({ ok: true, open: true });
  expect(judgeMemory([]).ok).toBe(false);
});

test("a WebSocket ends as what was done to it tells, whatever else is done", () => {
  const ends = (blow: boolean, off: boolean) =>
    ["was closed with 1001", "was closed with 1011", "was closed with 1012", "was not opened (1006)", "was closed with 1006", "is silent", "gives something else back"]
      .filter((how) => socketMayEnd(how, blow, off));
  expect(ends(false, false)).toEqual([]);
  expect(ends(false, true)).toEqual(["was not opened (1006)"]);
  expect(ends(true, false)).toEqual(["was closed with 1001", "was closed with 1011", "was closed with 1012"]);
  expect(ends(true, true)).toHaveLength(4);
});

test("a run that proves less is not recorded", () => {
  const good = { minutes: 10, clients: 24, without: [] as string[], judgements: [{ name: "", ok: true, found: "", allowed: "" }] } as unknown as Report;
  expect(isRecorded(good)).toBe(true);
  const less: Partial<Report>[] = [{ minutes: 9 }, { clients: 2 }, { without: ["handover"] }, { judgements: [{ ...good.judgements[0]!, ok: false }] }, { judgements: [{ ...good.judgements[0]!, open: true }] }];
  for (const change of less) expect(isRecorded({ ...good, ...change })).toBe(false);
});

test("of a runtime that dies the report and the log are kept", async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "soak-test-"));
  const binary = path.join(dir, "buntime");
  const program = `#!/bin/sh
case $1 in
  --version) echo buntime 1 ;;
  run) echo $$ >$0.pid; echo '{"message":"serving","listen":"http://127.0.0.1:9"}' its last words >&2; exec sleep 60 ;;
  deploy) kill -KILL $(cat $0.pid); exit 1 ;;
esac
`;
  fs.writeFileSync(binary, program, { mode: 0o755 });
  try {
    const child = Bun.spawn([process.execPath, path.join(import.meta.dir, "main.ts"), "--binary", binary, "--minutes", "0.2"], { cwd: dir, stdout: "ignore", stderr: "pipe" });
    const said = await new Response(child.stderr).text();
    expect(await child.exited, said).toBe(1);
    const report = JSON.parse(fs.readFileSync(path.join(dir, "target/soak/soak.json"), "utf8")) as Report;
    expect(report.judgements).toContainEqual({ name: "the runtime", ok: false, found: "has ended", allowed: "lives" });
    expect(fs.readFileSync(path.join(dir, "target/soak/log"), "utf8")).toContain("its last words");
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}, 120_000);

test("options are checked", () => {
  expect(parse(["--minutes", "0.5", "--without", "handover,reload"])).toMatchObject({ minutes: 0.5, clients: 24 });
  for (const wrong of [["--minutes", "0"], ["--without", "x"], ["--clients", "many"], ["x"]]) expect(() => parse(wrong)).toThrow();
});
