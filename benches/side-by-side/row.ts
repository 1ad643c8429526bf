/** What a row of the bench is, and what it gives. */
import type { Place } from "./contestants.ts";

export type Unit = "requests/s" | "MB/s" | "MB" | "ms" | "µs" | "×";

/** One quantity that is measured of every contestant. */
export interface Column {
  key: string;
  title: string;
  unit: Unit;
  /** Draw its bars. */
  chart?: { title: string; better: "more" | "less" };
}

/** What one contestant did: a sample for each round under the keys of the columns. */
export interface Series {
  name: string;
  samples: Record<string, number[]>;
}

/** A promise: the median of the samples is at least, or at most, `must`. */
export interface Budget {
  title: string;
  unit: Unit;
  samples: number[];
  bound: "at least" | "at most";
  must: number;
  aim?: number;
}

export interface Result {
  columns: Column[];
  /** Ours first. */
  series: Series[];
  budgets: Budget[];
}

export interface Pace {
  rounds: number;
  /** Seconds of load before the clock counts, and while it does. */
  warmUp: number;
  seconds: number;
  /** Cold requests a round. */
  cold: number;
  /** Latencies a start, in blocks that take turns. */
  blocks: number;
  /** Also with 1 GB. */
  large: boolean;
}

export interface Context {
  place: Place;
  pace: Pace;
  say(text: string): void;
}

export interface Row {
  id: string;
  title: string;
  run(context: Context): Promise<Result>;
}

/** Collects samples by contestant and column. */
export class Sheet {
  readonly #series = new Map<string, Record<string, number[]>>();

  /** The order of the names is that of the series. */
  constructor(names: readonly string[]) {
    for (const name of names) this.#series.set(name, {});
  }

  add(name: string, samples: Record<string, number>): void {
    const columns = this.#series.get(name)!;
    for (const [key, sample] of Object.entries(samples)) (columns[key] ??= []).push(sample);
  }

  get(name: string, key: string): number[] {
    return this.#series.get(name)![key]!;
  }

  series(): Series[] {
    return [...this.#series].map(([name, samples]) => ({ name, samples }));
  }
}
