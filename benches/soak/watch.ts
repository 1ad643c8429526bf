/** What the system says of the supervisor, once a second, and what is made of it. */
import fs from "node:fs";
import { children, pss } from "../side-by-side/proc.ts";

export interface Sample {
  /** Seconds since the load began. */
  at: number;
  pid: number;
  /** MiB. */
  pss: number;
  rss: number;
  descriptors: number;
  threads: number;
  children: number;
  /** Children that have ended and are not yet reaped, told apart from later ones of their number. */
  zombies: string[];
}

const MIB = 1024 * 1024;

export function sample(pid: number, at: number): Sample | undefined {
  try {
    const status = fs.readFileSync(`/proc/${pid}/status`, "latin1");
    const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0);
    const all = children(pid);
    return {
      at,
      pid,
      pss: pss(fs.readFileSync(`/proc/${pid}/smaps_rollup`, "latin1")) / MIB,
      rss: field("VmRSS") / 1024,
      descriptors: fs.readdirSync(`/proc/${pid}/fd`).length,
      threads: field("Threads"),
      children: all.length,
      zombies: all.filter(isZombie).flatMap((pid) => identity(pid) ?? []),
    };
  } catch {
    return undefined; // it is ending
  }
}

export function isZombie(pid: number): boolean {
  return state(pid) === "Z";
}

/** A process, told from a later one of its number by when it began. */
export function identity(pid: number): string | undefined {
  const fields = stat(pid);
  return fields === undefined ? undefined : `${pid} ${fields[19]}`;
}

function state(pid: number): string | undefined {
  return stat(pid)?.[0];
}

function stat(pid: number): string[] | undefined {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

/** The samples between these parts of the time that they are of, 0 to 1. */
export function between(samples: readonly Sample[], from: number, to: number): Sample[] {
  const [begin, end] = [samples[0]?.at ?? 0, samples.at(-1)?.at ?? 0];
  const part = (share: number): number => begin + share * (end - begin);
  return samples.filter(({ at }) => at >= part(from) && at <= part(to));
}

export interface Judgement {
  name: string;
  ok: boolean;
  /** It was not judged. */
  open?: true;
  found: string;
  allowed: string;
}

/** Growth that chance explains. */
export const MEMORY_SHARE = 0.15;
export const MEMORY_LEAST = 8;
/** How long one process is looked at before its memory is judged, in s. */
export const MEMORY_TIME = 180;

/** Of the samples of one process under load: one that was exchanged begins small. */
export function judgeMemory(samples: readonly Sample[]): Judgement {
  const name = "memory of one process (PSS)";
  const [first, last] = [samples[0], samples.at(-1)];
  const time = (last?.at ?? 0) - (first?.at ?? 0);
  const processes = new Set(samples.map(({ pid }) => pid)).size;
  if (processes !== 1) return { name, ok: false, found: `${processes} processes`, allowed: "one" };
  if (time < MEMORY_TIME) return { name, ok: true, open: true, found: `${time.toFixed(0)} s are too short`, allowed: `takes ${MEMORY_TIME} s` };
  const early = median(between(samples, 0.25, 0.5).map(({ pss }) => pss));
  const late = median(between(samples, 0.75, 1).map(({ pss }) => pss));
  const most = early + Math.max(MEMORY_LEAST, early * MEMORY_SHARE);
  return {
    name,
    ok: late <= most,
    found: `${early.toFixed(1)} MiB in the second quarter of ${time.toFixed(0)} s, ${late.toFixed(1)} MiB in the last`,
    allowed: `${most.toFixed(1)} MiB`,
  };
}

/** Zombies that stay: the same one in three samples in a row. On a busy machine a look now and then finds one that is about to be reaped. */
export function judgeZombies(samples: readonly Sample[]): Judgement {
  const stays = samples.some((_, index) => {
    const next = samples.slice(index, index + 3);
    return next.length === 3 && next[0]!.zombies.some((pid) => next.every(({ zombies }) => zombies.includes(pid)));
  });
  return { name: "zombies", ok: !stays, found: stays ? "some stay" : "none stays", allowed: "none for 3 s" };
}

/** What is open at rest more than at rest before, with the same workers. `what` are they: one process, or the first and a later one. */
export function judgeRest(what: string, before: Sample, after: Sample): Judgement[] {
  const each = 8;
  const workers = Math.max(0, after.children - before.children);
  const descriptors = before.descriptors + workers * each + 8;
  const threads = before.threads + 8;
  return [
    {
      name: `descriptors at rest, ${what}`,
      ok: after.descriptors <= descriptors,
      found: `${before.descriptors} before (${before.children} children), ${after.descriptors} after (${after.children})`,
      allowed: `${descriptors}`,
    },
    { name: `threads at rest, ${what}`, ok: after.threads <= threads, found: `${before.threads} before, ${after.threads} after`, allowed: `${threads}` },
  ];
}
