/** What the kernel says of processes: proc(5). */
import fs from "node:fs";

/** Ticks a second in `/proc/PID/stat`: USER_HZ, which is 100 on every architecture that bun runs on. */
const TICKS = 100;
const KIB = 1024;
const MIB = 1024 * 1024;

/** The text of a file in `/proc`, or nothing if the process has ended. */
function read(file: string): string | undefined {
  try {
    return fs.readFileSync(file, "latin1");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw error;
  }
}

/** Children of a process, whichever of its threads forked them. */
export function children(pid: number): number[] {
  let threads: string[];
  try {
    threads = fs.readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
  return threads.flatMap((thread) => numbers(read(`/proc/${pid}/task/${thread}/children`) ?? ""));
}

/** These processes and all below them. */
export function tree(roots: readonly number[]): number[] {
  const all = [...roots];
  for (let i = 0; i < all.length; i++) all.push(...children(all[i]!));
  return all;
}

/**
 * Processor time of whole processes in µs: user and system, with that of the children they have waited for. So a
 * process that ended between two looks at its parent's tree is in the second.
 */
export function cpuTime(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) ticks += ticksOf(read(`/proc/${pid}/stat`));
  return (ticks / TICKS) * 1e6;
}

/** Processor time in µs of the children that this process has waited for. */
export function waitedCpuTime(): number {
  const [, , user, system] = times(read("/proc/self/stat")!);
  return ((user! + system!) / TICKS) * 1e6;
}

function ticksOf(stat: string | undefined): number {
  return stat === undefined ? 0 : times(stat).reduce((sum, ticks) => sum + ticks, 0);
}

/** Fields 14 to 17: utime, stime, cutime, cstime. The name in field 2 may hold anything, so counting begins behind it. */
export function times(stat: string): number[] {
  return numbers(stat.slice(stat.lastIndexOf(")") + 4)).slice(10, 14);
}

/** Proportional memory (PSS) of processes in MiB: what they share is divided by those who share it. */
export function proportionalMemory(pids: readonly number[]): number {
  let bytes = 0;
  for (const pid of pids) {
    const rollup = read(`/proc/${pid}/smaps_rollup`);
    if (rollup) bytes += pss(rollup);
  }
  return bytes / MIB;
}

/** In bytes. */
export function pss(rollup: string): number {
  return Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)?.[1] ?? 0) * KIB;
}

/** Looks at the memory of processes from now until stopped. */
export class MemoryWatch {
  readonly first: number;
  #peak: number;
  readonly #timer: Timer;
  readonly #look: () => void;

  /** `pids` is asked anew at each look, `interval` is in milliseconds. */
  constructor(pids: () => number[], interval: number) {
    this.first = this.#peak = proportionalMemory(pids());
    this.#look = () => {
      this.#peak = Math.max(this.#peak, proportionalMemory(pids()));
    };
    this.#timer = setInterval(this.#look, interval);
  }

  /** The most that was seen, in MiB. */
  stop(): number {
    clearInterval(this.#timer);
    this.#look();
    return this.#peak;
  }
}

function numbers(text: string): number[] {
  return text.split(/\s+/).filter(Boolean).map(Number);
}
