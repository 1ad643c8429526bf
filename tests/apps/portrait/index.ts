/** Tells all that it can see of where and how it runs. */
import { execFileSync, fork, spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import { Worker as Thread } from "node:worker_threads";
import { greeting } from "@lib/greeting";
import { element } from "./element";

/** These differ from worker to worker. */
const OWN = ["HOME", "TMPDIR", "WORKER_ID"];
const PRINT_ENV = ["-c", "env; echo CWD=$PWD; date -d @0 +%Z"];
const atLoad = { env: shown(process.env), cwd: process.cwd(), zone: zone() };

function shown(env: Record<string, string | undefined>): Record<string, string | undefined> {
  const entries = Object.entries(env).map(([name, value]) => [name, OWN.includes(name) ? "(its own)" : value]);
  return Object.fromEntries(entries.sort(([a], [b]) => (a! < b! ? -1 : 1)));
}

function zone() {
  return {
    name: Intl.DateTimeFormat().resolvedOptions().timeZone,
    offset: new Date(0).getTimezoneOffset(),
    text: new Date(0).toString(),
  };
}

function lines(output: string | Uint8Array): string[] {
  const text = typeof output === "string" ? output : new TextDecoder().decode(output);
  const own = (line: string) => OWN.some((name) => line.startsWith(`${name}=`));
  return text.trim().split("\n").filter((line) => !own(line) && !/^(_|SHLVL|OLDPWD)=/.test(line)).sort();
}

async function children() {
  const options = { env: { ONLY: "this" }, cwd: "/" };
  return {
    spawn: lines(await new Response(Bun.spawn(["sh", ...PRINT_ENV]).stdout).text()),
    spawnObject: lines(await new Response(Bun.spawn({ cmd: ["sh", ...PRINT_ENV] }).stdout).text()),
    spawnSync: lines(Bun.spawnSync(["sh", ...PRINT_ENV]).stdout),
    spawnGiven: lines(Bun.spawnSync(["/bin/sh", ...PRINT_ENV], options).stdout),
    shell: lines(await Bun.$`sh -c ${PRINT_ENV[1]}`.text()),
    shellBuiltin: (await Bun.$`echo $GREETING; pwd`.text()).trim(),
    shellGiven: lines(await Bun.$`/bin/sh -c ${PRINT_ENV[1]}`.env({ ONLY: "this" }).text()),
    node: lines(spawnSync("sh", PRINT_ENV).stdout),
    nodeFile: lines(execFileSync("sh", PRINT_ENV)),
    nodeGiven: lines(spawnSync("/bin/sh", PRINT_ENV, options).stdout),
    itself: lines(Bun.spawnSync([process.execPath, "-e", "console.log(process.execPath, Bun.version, process.env.GREETING)"]).stdout),
    fork: await forked(),
  };
}

function forked() {
  return new Promise((resolve, reject) => {
    const child = fork(new URL("./child.ts", import.meta.url).pathname, ["word"]);
    child.on("message", resolve);
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`the child has ended: ${code}`)));
  });
}

async function threads() {
  const web = (options?: WorkerOptions) =>
    new Promise((resolve, reject) => {
      const worker = new Worker(new URL("./thread.ts", import.meta.url), options);
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(event.message));
    });
  const node = (options?: object) =>
    new Promise((resolve, reject) => {
      const thread = new Thread(new URL("./thread.ts", import.meta.url), options);
      thread.on("message", resolve);
      thread.on("error", reject);
    });
  return {
    web: await web(),
    webGiven: await web({ env: { ONLY: "this" } } as WorkerOptions),
    node: await node(),
    nodeGiven: await node({ env: { ONLY: "this" } }),
  };
}

async function portrait() {
  const require = createRequire(import.meta.url);
  return {
    atLoad,
    env: shown(process.env),
    bunEnv: shown(Bun.env),
    metaEnv: shown(import.meta.env),
    cwd: process.cwd(),
    pwd: process.env.PWD,
    zone: zone(),
    home: homedir() === process.env.HOME,
    tmp: tmpdir() === process.env.TMPDIR,
    argv: process.argv,
    bun: [process.execPath, process.argv0, process.argv[0]],
    execArgv: process.execArgv,
    bunMain: Bun.main,
    requireMain: require.main?.filename,
    title: process.title,
    umask: process.umask(),
    exitCode: process.exitCode ?? null,
    meta: {
      dir: import.meta.dir,
      dirname: import.meta.dirname,
      file: import.meta.file,
      path: import.meta.path,
      filename: import.meta.filename,
      url: import.meta.url,
      main: import.meta.main,
      resolved: import.meta.resolve("./lib/greeting.ts"),
      resolvedSync: Bun.resolveSync("./lib/greeting", process.cwd()),
    },
    greeting,
    element,
    required: require("./lib/data.json"),
    relative: await Bun.file("lib/data.json").json(),
    stack: new Error("here").stack?.includes("index.ts:"),
    globals: Object.getOwnPropertyNames(globalThis).sort(),
    children: await children(),
    threads: await threads(),
  };
}

export default {
  async fetch(): Promise<Response> {
    return Response.json(await portrait());
  },
};
