/** The command line. */
import { parseArgs } from "node:util";
import { Failure } from "../side-by-side/failure.ts";

/** What can be left out. */
export const PARTS = ["handover", "reload", "plugins", "kills", "deploys", "sockets"] as const;
export type Part = (typeof PARTS)[number];

export const USAGE = `Loads a runtime for a while, and kills, deploys, reloads and is slow meanwhile: every answer has to be one that
can be explained, and nothing may grow.

Usage: scripts/soak [--minutes N] [--binary FILE] [--without PART,…] [--clients N] [--seed N]

  --minutes N       how long; default: 10. A good run of at least 10 minutes, with all parts and at least 24 clients, is recorded
                    in docs/soak.md
  --binary FILE     the runtime; default: a release build
  --without PART,…  leaves out: ${PARTS.join(", ")}
  --clients N       connections that ask without a pause; default: 24
  --seed N          of what is left to chance; default: the time

Exit code 1: something could not be explained, grew or was left over. target/soak/soak.json has all of it.`;

export interface Options {
  binary: string;
  minutes: number;
  without: Set<Part>;
  clients: number;
  seed: number;
  help: boolean;
}

export function parse(args: string[]): Options {
  let values;
  try {
    ({ values } = parseArgs({
      args,
      options: {
        binary: { type: "string", default: "target/release/buntime" },
        minutes: { type: "string", default: "10" },
        without: { type: "string" },
        clients: { type: "string", default: "24" },
        seed: { type: "string" },
        help: { type: "boolean", short: "h", default: false },
      },
    }));
  } catch (error) {
    throw new Failure(`${(error as Error).message}\n\n${USAGE}`);
  }
  const without = new Set<Part>();
  for (const name of values.without?.split(",") ?? []) {
    const part = PARTS.find((part) => part === name);
    if (part === undefined) throw new Failure(`--without: there is no ${JSON.stringify(name)}; there are ${PARTS.join(", ")}`);
    without.add(part);
  }
  return {
    binary: values.binary,
    minutes: number("--minutes", values.minutes, 0.2, 24 * 60),
    without,
    clients: number("--clients", values.clients, 1, 1000),
    seed: values.seed === undefined ? Date.now() % 1_000_000 : number("--seed", values.seed, 0, 2 ** 31),
    help: values.help,
  };
}

function number(flag: string, text: string, least: number, most: number): number {
  const value = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || value < least || value > most) {
    throw new Failure(`${flag} ${text}: a number from ${least} to ${most} is needed`);
  }
  return value;
}
