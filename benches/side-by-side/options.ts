/** The command line. */
import { parseArgs } from "node:util";
import { Failure } from "./failure.ts";
import type { Pace } from "./row.ts";

export const USAGE = `Compares buntime with nginx in front of Bun and with Bun alone, on this machine.

Usage: scripts/bench [--rows NAME,…] [--rounds N] [--large] [--quick]

  --rows NAME,…  only these: ROWS
  --rounds N     turns of every contestant; default: 5
  --large        large bodies of 1 GB too
  --quick        two short rounds, to see that all works; its numbers are worth little

A run of all rows that is not quick is recorded in docs/benchmarks.md, docs/benchmarks.json and docs/benchmarks.svg;
any other goes to target/bench/.`;

const FULL: Pace = { rounds: 5, warmUp: 2, seconds: 4, cold: 30, blocks: 15, large: false };
const QUICK: Pace = { rounds: 2, warmUp: 1, seconds: 1, cold: 6, blocks: 2, large: false };
const MOST_ROUNDS = 100;

export interface Options {
  /** The release binary. */
  buntime: string;
  rows: string[];
  pace: Pace;
  /** Whether this run is one to be recorded. */
  record: boolean;
  help: boolean;
}

export function parse(args: string[], rows: readonly string[]): Options {
  let values;
  try {
    ({ values } = parseArgs({
      args,
      options: {
        buntime: { type: "string" },
        rows: { type: "string" },
        rounds: { type: "string" },
        large: { type: "boolean", default: false },
        quick: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    }));
  } catch (error) {
    throw new Failure(`${(error as Error).message}\n\n${usage(rows)}`);
  }
  const { quick, large, help } = values;
  const pace = { ...(quick ? QUICK : FULL), large };
  if (values.rounds !== undefined) {
    pace.rounds = Number(values.rounds);
    if (!/^\d+$/.test(values.rounds) || pace.rounds < 1 || pace.rounds > MOST_ROUNDS) {
      throw new Failure(`--rounds ${values.rounds}: a number from 1 to ${MOST_ROUNDS} is needed`);
    }
  }
  const wanted = values.rows?.split(",") ?? [...rows];
  for (const name of wanted) {
    if (!rows.includes(name)) throw new Failure(`--rows: there is no row ${JSON.stringify(name)}; there are ${rows.join(", ")}`);
  }
  const record = !quick && rows.every((name) => wanted.includes(name));
  return { buntime: values.buntime ?? "target/release/buntime", rows: wanted, pace, record, help };
}

export function usage(rows: readonly string[]): string {
  return USAGE.replace("ROWS", rows.join(", "));
}
