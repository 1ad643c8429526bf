/** What plugins cost a warm hello: none, the three native ones, and a script that is or is not on the request's way. */
import fs from "node:fs";
import path from "node:path";
import { SERVED_HELLO, startBuntime, type Place } from "../contestants.ts";
import { cpuTime } from "../proc.ts";
import { Sheet, type Context, type Result, type Row } from "../row.ts";
import { ratios, rotated } from "../stats.ts";
import { load } from "../wrk.ts";

const NONE = "no plugin";
const NATIVE = "metrics, logs, vhosts";
const ASIDE = "a script without onRequest";
const ON_THE_WAY = "a script with onRequest";
const VARIANTS = [NONE, NATIVE, ASIDE, ON_THE_WAY] as const;
const CONNECTIONS = 32;

export const plugins: Row = { id: "plugins", title: "Warm hello with plugins, wrk with one thread", run };

/** The plugins of each variant: name of the directory, file, text. */
const FILES: Record<(typeof VARIANTS)[number], [string, string][]> = {
  [NONE]: [],
  [NATIVE]: ["metrics", "logs", "vhosts"].map((name): [string, string] => {
    const manifest = fs.readFileSync(path.join(import.meta.dir, "../../../plugins", name, "manifest.yaml"), "utf8");
    const hosts = name === "vhosts" ? "\nhosts: {shop.example.com: {app: hello}}\n" : "";
    return [`@buntime/plugin-${name}/manifest.yaml`, manifest.replace("enabled: false", "enabled: true") + hosts];
  }),
  [ASIDE]: script("hooks: {onWorkerSpawn: true}", "onWorkerSpawn() {}"),
  [ON_THE_WAY]: script("hooks: {onRequest: true}", "onRequest() {}"),
};

function script(hooks: string, hook: string): [string, string][] {
  return [
    ["script/manifest.yaml", `name: script\nversion: 1.0.0\n${hooks}\n`],
    ["script/plugin.ts", `export default { ${hook} };\n`],
  ];
}

async function run({ place, pace, say }: Context): Promise<Result> {
  const sheet = new Sheet(VARIANTS);
  const dirs = Object.fromEntries(VARIANTS.map((variant, index) => [variant, write(place, `plugins-${index}`, FILES[variant])]));
  for (let round = 0; round < pace.rounds; round++) {
    for (const variant of rotated(VARIANTS, round)) {
      const running = await startBuntime(place, { served: SERVED_HELLO, flags: ["--plugin-dirs", dirs[variant]!] });
      await load(running.url("/hello/"), CONNECTIONS, pace.warmUp);
      const before = cpuTime(running.pids());
      const { requests, perSecond } = await load(running.url("/hello/"), CONNECTIONS, pace.seconds);
      const cpu = (cpuTime(running.pids()) - before) / requests;
      say(`${variant}: ${Math.round(perSecond)}/s, ${cpu.toFixed(1)} µs each`);
      sheet.add(variant, { rate: perSecond, cpu });
      await running.stop();
    }
  }
  const versus = (variant: string) => ratios(sheet.get(variant, "rate"), sheet.get(NONE, "rate"));
  return {
    columns: [
      { key: "rate", title: "32 connections", unit: "requests/s", chart: { title: "Warm hello with plugins", better: "more" } },
      { key: "cpu", title: "CPU a request", unit: "µs" },
    ],
    series: sheet.series(),
    budgets: [
      { title: "Hello with metrics, logs and vhosts vs with no plugin", unit: "×", samples: versus(NATIVE), bound: "at least", must: 0.8, aim: 0.95 },
      { title: "Hello with a script plugin that has no onRequest vs with no plugin", unit: "×", samples: versus(ASIDE), bound: "at least", must: 0.95, aim: 1 },
      { title: "Hello with a script plugin that has onRequest vs with no plugin", unit: "×", samples: versus(ON_THE_WAY), bound: "at least", must: 0.3, aim: 0.5 },
    ],
  };
}

/** Makes a directory of plugins. */
function write(place: Place, name: string, files: [string, string][]): string {
  const dir = path.join(place.dir, name);
  fs.mkdirSync(dir);
  for (const [file, text] of files) {
    fs.mkdirSync(path.join(dir, path.dirname(file)), { recursive: true });
    fs.writeFileSync(path.join(dir, file), text);
  }
  return dir;
}
