/** Large bodies in both directions: how fast, and how much the process in front grows. */
import fs from "node:fs";
import path from "node:path";
import { NAMES, start, type Contestant, type Running, type Served } from "../contestants.ts";
import { Failure } from "../failure.ts";
import { output } from "../processes.ts";
import { MemoryWatch } from "../proc.ts";
import { Sheet, type Budget, type Column, type Context, type Result, type Row } from "../row.ts";
import { ratios, rotated } from "../stats.ts";

const CONTESTANTS: Contestant[] = ["buntime", "nginx", "bun"];
const MIB = 1024 * 1024;
const WARM_UP = 16 * MIB;
const SIZES = { "256 MB": 256 * MIB, "1 GB": 1024 * MIB } as const;
type Size = keyof typeof SIZES;
/** The supervisor may grow by so much, in MB, whatever the size. */
const GROWTH = 32;
/** For one transfer, in ms. */
const LIMIT = 120_000;
/** Between two looks at the memory, in ms. */
const LOOK = 20;

export const transfer: Row = { id: "transfer", title: "Large bodies through a worker", run };

async function run({ place, pace, say }: Context): Promise<Result> {
  const sizes: Size[] = pace.large ? ["256 MB", "1 GB"] : ["256 MB"];
  const sheet = new Sheet(CONTESTANTS.map((contestant) => NAMES[contestant]));
  const served: Served = { app: "transfer", probe: "/transfer/?bytes=3", answer: "\0\0\0" };
  // Holes: reading them costs the client no disk.
  const file = (bytes: number) => {
    const name = path.join(place.dir, `zeros-${bytes}`);
    fs.closeSync(fs.openSync(name, "w"));
    fs.truncateSync(name, bytes);
    return name;
  };
  const files = new Map([WARM_UP, ...sizes.map((size) => SIZES[size])].map((bytes) => [bytes, file(bytes)]));
  for (let round = 0; round < pace.rounds; round++) {
    for (const contestant of rotated(CONTESTANTS, round)) {
      const running = await start(contestant, place, served);
      const memory = new MemoryWatch(() => running.frontPids(contestant), LOOK);
      await download(running, WARM_UP);
      await upload(running, WARM_UP, files.get(WARM_UP)!);
      for (const size of sizes) {
        const bytes = SIZES[size];
        const [down, up] = [await download(running, bytes), await upload(running, bytes, files.get(bytes)!)];
        say(`${NAMES[contestant]}, ${size}: ${down.toFixed(0)} MB/s down, ${up.toFixed(0)} MB/s up`);
        sheet.add(NAMES[contestant], { [`down ${size}`]: down, [`up ${size}`]: up });
      }
      const growth = memory.stop() - memory.first;
      if (contestant !== "bun") sheet.add(NAMES[contestant], { growth });
      await running.stop();
    }
  }
  return {
    columns: [...sizes.flatMap(columns), { key: "growth", title: "peak growth of the process in front", unit: "MB" }],
    series: sheet.series(),
    budgets: [
      ...sizes.flatMap((size) => budgets(size, sheet)),
      { title: `Growth of the supervisor while ${sizes.at(-1)} passes each way`, unit: "MB", samples: sheet.get(NAMES.buntime, "growth"), bound: "at most", must: GROWTH },
    ],
  };
}

function columns(size: Size): Column[] {
  return [
    { key: `down ${size}`, title: `${size} down`, unit: "MB/s", chart: { title: `Download of ${size}`, better: "more" } },
    { key: `up ${size}`, title: `${size} up`, unit: "MB/s", chart: { title: `Upload of ${size}`, better: "more" } },
  ];
}

function budgets(size: Size, sheet: Sheet): Budget[] {
  const versus = (key: string) => ratios(sheet.get(NAMES.buntime, key), sheet.get(NAMES.nginx, key));
  return [
    { title: `Download of ${size} vs nginx → Bun`, unit: "×", samples: versus(`down ${size}`), bound: "at least", must: 0.8, aim: 1.2 },
    { title: `Upload of ${size} vs nginx → Bun`, unit: "×", samples: versus(`up ${size}`), bound: "at least", must: 0.8, aim: 1.2 },
  ];
}

/** In MB/s (of 1024² bytes, as everywhere here). */
async function download(running: Running, bytes: number): Promise<number> {
  const url = running.url(`/transfer/?bytes=${bytes}`);
  const { status, size, seconds } = await curl(["-o", "/dev/null", url]);
  if (status !== 200 || size !== bytes) throw new Failure(`${url}: status ${status}, ${size} bytes came`);
  return bytes / MIB / seconds;
}

async function upload(running: Running, bytes: number, file: string): Promise<number> {
  // curl would append the name of the file to a path that ends in "/".
  const url = running.url("/transfer/upload");
  const { status, answer, seconds } = await curl(["-X", "POST", "-T", file, "-H", "expect:", url]);
  if (status !== 200 || Number(answer) !== bytes) throw new Failure(`${url}: status ${status}: ${answer}`);
  return bytes / MIB / seconds;
}

interface Answer {
  status: number;
  /** In bytes. */
  size: number;
  /** Of the whole transfer, connecting included. */
  seconds: number;
  /** Empty if it went elsewhere. */
  answer: string;
}

async function curl(options: string[]): Promise<Answer> {
  const format = "\n%{http_code} %{size_download} %{time_total}";
  const text = await output(["curl", "-q", "-s", "-S", "--noproxy", "*", "-w", format, ...options], LIMIT);
  const end = text.lastIndexOf("\n");
  const [status, size, seconds] = text.slice(end + 1).split(" ").map(Number);
  return { status: status!, size: size!, seconds: seconds!, answer: text.slice(0, end) };
}
