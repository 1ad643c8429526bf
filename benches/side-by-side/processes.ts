/** The processes this run started, and only those: they end with it. */
import fs from "node:fs";
import type { Subprocess } from "bun";
import { Failure } from "./failure.ts";
import { tree } from "./proc.ts";

/** How long a process may take to end after SIGTERM, in ms. */
const GRACE = 5_000;
const LOG_LINES = 20;

const running = new Set<Owned>();
const commands = new Set<Subprocess>();

export interface SpawnOptions {
  command: string[];
  env?: Record<string, string>;
  /** Where its output goes; nothing is kept without one. */
  log?: string;
}

/** A server that runs until it is stopped. */
export class Owned {
  readonly #process: Subprocess;
  readonly #log: string | undefined;

  constructor({ command, env, log }: SpawnOptions) {
    const output = log === undefined ? "ignore" : Bun.file(log);
    if (log !== undefined) fs.writeFileSync(log, "");
    this.#log = log;
    this.#process = Bun.spawn(command, { env: environment(env), stdin: "ignore", stdout: "ignore", stderr: output });
    running.add(this);
  }

  get pid(): number {
    return this.#process.pid;
  }

  get ended(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  /** The last lines of its log, for an error. */
  tail(): string {
    if (this.#log === undefined) return "";
    return fs.readFileSync(this.#log, "utf8").trimEnd().split("\n").slice(-LOG_LINES).join("\n");
  }

  /** SIGTERM, and SIGKILL if that does not help. */
  async stop(): Promise<void> {
    this.#process.kill("SIGTERM");
    const timer = setTimeout(() => this.kill(), GRACE);
    await this.#process.exited;
    clearTimeout(timer);
    running.delete(this);
  }

  /** With all below it, which nobody else would end: nginx's worker outlives a master that was killed. */
  kill(): void {
    for (const pid of this.ended ? [] : tree([this.pid])) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // It ended meanwhile.
      }
    }
  }
}

/** Runs a command to its end and gives what it printed on stdout. */
export async function output(command: string[], limit: number): Promise<string> {
  const child = Bun.spawn(command, {
    env: environment(),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: limit,
    killSignal: "SIGKILL",
  });
  commands.add(child);
  const [printed, complaints, status] = await Promise.all([text(child.stdout), text(child.stderr), child.exited]);
  commands.delete(child);
  if (status !== 0) {
    const how = child.signalCode === null ? `exit code ${status}` : `${child.signalCode}, after at most ${limit} ms`;
    throw new Failure(`${command.join(" ")}: ${how}\n${complaints || printed}`);
  }
  return printed;
}

/** What contestants get: nothing of ours that could configure one of them by chance. */
export function environment(more: Record<string, string> = {}): Record<string, string> {
  return { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "/", NODE_ENV: "production", ...more };
}

export async function stopAll(): Promise<void> {
  await Promise.all([...running].map((owned) => owned.stop()));
}

/** For the end of this process, which waits for nothing. */
export function killAll(): void {
  for (const owned of running) owned.kill();
  for (const command of commands) command.kill("SIGKILL");
}

function text(stream: ReadableStream<Uint8Array>): Promise<string> {
  return new Response(stream).text();
}
