/** The runtime under load: started, asked over its admin socket, and ended. */
import fs from "node:fs";
import path from "node:path";
import { Failure } from "../side-by-side/failure.ts";
import { children } from "../side-by-side/proc.ts";
import { environment, output } from "../side-by-side/processes.ts";
import { identity } from "./watch.ts";

/** How long the runtime may take to begin or to end, in ms. */
const START_LIMIT = 60_000;
const END_LIMIT = 40_000;
const COMMAND_LIMIT = 60_000;
const HERE = import.meta.dir;

export interface Worker {
  id: string;
  app?: string;
  plugin?: string;
  state: string;
  draining: boolean;
  pid?: number;
}

export class Runtime {
  readonly dir: string;
  readonly #binary: string;
  readonly #socket: string;
  readonly #log: string;
  #child: Bun.Subprocess | undefined;
  /** Every process that was seen below it. */
  readonly seen = new Set<string>();
  port = 0;
  pid = 0;
  /** Those that were taken over from and have yet to end. */
  readonly old: number[] = [];

  constructor(binary: string, dir: string) {
    this.#binary = binary;
    this.dir = dir;
    this.#socket = path.join(dir, "admin.sock");
    this.#log = path.join(dir, "log");
  }

  async start(): Promise<void> {
    // Workers may run as another user.
    fs.chmodSync(this.dir, 0o755);
    fs.cpSync(path.join(HERE, "apps"), path.join(this.dir, "apps"), { recursive: true });
    const plugins = path.join(this.dir, "plugins");
    fs.cpSync(path.join(HERE, "plugin"), path.join(plugins, "soak"), { recursive: true });
    const log = fs.openSync(this.#log, "a");
    const place = (name: string): string => path.join(this.dir, name);
    const flags = { "worker-dirs": place("apps"), "plugin-dirs": plugins, "state-dir": place("state"), "cache-dir": place("cache") };
    this.#child = Bun.spawn([this.#binary, "run", ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value])], {
      env: environment({
        PORT: "0",
        HOST: "127.0.0.1",
        RUNTIME_ADMIN_SOCKET: this.#socket,
        RUNTIME_LOG_FORMAT: "json",
        RUNTIME_POOL_SIZE: "64",
        RUNTIME_SPARE_WORKERS: "2",
        RUNTIME_HEAD_TIMEOUT: "3s",
        RUNTIME_SHUTDOWN_TIMEOUT: "20s",
      }),
      stdin: "ignore",
      stdout: "ignore",
      stderr: log,
    });
    fs.closeSync(log);
    this.pid = this.#child.pid;
    const listening = /"message":"serving","listen":"http:\/\/127\.0\.0\.1:(\d+)"/;
    await until(
      () => {
        if (this.#child!.exitCode !== null) throw new Failure(`the runtime did not start:\n${this.tail()}`);
        const found = listening.exec(fs.readFileSync(this.#log, "utf8"));
        this.port = Number(found?.[1] ?? 0);
        return this.port > 0;
      },
      START_LIMIT,
      () => `the runtime does not listen:\n${this.tail()}`,
    );
    this.look();
  }

  tail(): string {
    return fs.readFileSync(this.#log, "utf8").trimEnd().split("\n").slice(-20).join("\n");
  }

  /** Remembers what runs below it now. */
  look(): void {
    for (const pid of [this.pid, ...this.old].flatMap((pid) => [pid, ...children(pid)])) {
      const known = identity(pid);
      if (known !== undefined) this.seen.add(known);
    }
  }

  alive(): boolean {
    return !hasEnded(this.pid);
  }

  /** Asks the management API; paths behind `/api`. */
  async api<T>(method: string, what: string, body?: unknown): Promise<T> {
    const response = await fetch(`http://buntime/api${what}`, {
      method,
      unix: this.#socket,
      keepalive: false,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    } as RequestInit);
    const text = await response.text();
    if (!response.ok) throw new Failure(`${method} ${what}: ${response.status} ${text}`);
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  async workers(): Promise<Worker[]> {
    return (await this.api<{ workers: Worker[] }>("GET", "/workers")).workers;
  }

  /** Ends a worker's process, if it is one of ours. */
  kill(pid: number): boolean {
    if (!children(this.pid).includes(pid)) return false;
    try {
      process.kill(pid, "SIGKILL");
      return true;
    } catch {
      return false; // it was faster
    }
  }

  /** A command of the client. */
  command(...args: string[]): Promise<string> {
    return output([this.#binary, ...args, "--admin-socket", this.#socket], COMMAND_LIMIT);
  }

  signal(signal: "SIGHUP" | "SIGUSR2" | "SIGTERM"): void {
    process.kill(this.pid, signal);
  }

  /** SIGUSR2, until another process is the runtime. */
  async handOver(): Promise<void> {
    const before = this.pid;
    this.look();
    this.signal("SIGUSR2");
    let now = before;
    const asking = async (): Promise<boolean> => {
      now = await this.api<{ pid: number }>("GET", "/runtime").then(({ pid }) => pid, () => before);
      return now !== before;
    };
    await until(asking, START_LIMIT, () => `nobody took over:\n${this.tail()}`);
    this.old.push(before);
    this.pid = now;
    this.look();
  }

  /** SIGTERM, and what is wrong with its end. */
  async end(): Promise<string[]> {
    this.look();
    const wrong: string[] = [];
    const last = identity(this.pid);
    this.signal("SIGTERM");
    const gone = (): boolean => identity(this.pid) !== last || hasEnded(this.pid);
    await until(gone, END_LIMIT, () => "").catch(() => wrong.push(`it had not ended ${END_LIMIT} ms after SIGTERM`));
    if (this.#child?.pid === this.pid) {
      const code = await this.#child.exited;
      if (code !== 0) wrong.push(`it ended with ${code}`);
    }
    // What they had for descendants ends with them.
    const left = (): string[] => [...this.seen].filter((known) => identity(Number(known.split(" ")[0])) === known && !hasEnded(Number(known.split(" ")[0])));
    await until(() => left().length === 0, 5_000, () => "").catch(() => wrong.push(`processes are left: ${left().join(", ")}`));
    const runs = path.join(this.dir, "state/run");
    const dirs = fs.existsSync(runs) ? fs.readdirSync(runs) : [];
    if (dirs.length > 0) wrong.push(`${runs} still has ${dirs.join(", ")}`);
    if (fs.existsSync(this.#socket)) wrong.push("the admin socket is still there");
    return wrong;
  }

  /** For the end of this process. */
  destroy(): void {
    for (const known of this.seen) {
      const pid = Number(known.split(" ")[0]);
      if (identity(pid) === known) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // It ended meanwhile.
        }
      }
    }
  }
}

/** Also where whoever has to has yet to ask how. */
function hasEnded(pid: number): boolean {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).startsWith("Z");
  } catch {
    return true;
  }
}

async function until(is: () => boolean | Promise<boolean>, limit: number, why: () => string): Promise<void> {
  const end = Date.now() + limit;
  while (!(await is())) {
    if (Date.now() > end) throw new Failure(why());
    await Bun.sleep(50);
  }
}
