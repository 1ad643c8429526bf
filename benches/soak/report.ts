/** What a run gave, for people and for programs. */
import { Failure } from "../side-by-side/failure.ts";
import type { Options } from "./options.ts";
import type { Unexplained } from "./ledger.ts";
import { between, median, type Judgement, type Sample } from "./watch.ts";

export interface Report {
  date: string;
  version: string;
  machine: string;
  minutes: number;
  without: string[];
  clients: number;
  seed: number;
  outcomes: Record<string, number>;
  done: Record<string, number>;
  unexplained: Unexplained[];
  judgements: Judgement[];
  samples: Sample[];
}

export function isGood(report: Report): boolean {
  return report.judgements.every(({ ok }) => ok);
}

/** Those of a run that others are compared with. */
const RECORDED = { minutes: 10, clients: 24 };

/** Whether the document is to tell of it: a run that is good, and proves no less than the one before. */
export function isRecorded(report: Report): boolean {
  return isGood(report) && report.judgements.every(({ open }) => !open) && report.without.length === 0 && report.minutes >= RECORDED.minutes && report.clients >= RECORDED.clients;
}

export function total(report: Report): number {
  return Object.values(report.outcomes).reduce((sum, count) => sum + count, 0);
}

export function markdown(report: Report): string {
  const outcomes = Object.entries(report.outcomes).sort(([a], [b]) => a.localeCompare(b));
  const quarter = (n: number): Sample[] => between(report.samples, (n - 1) / 4, n / 4);
  const row = (name: string, of: (sample: Sample) => number, digits = 0): string =>
    `| ${name} | ${[1, 2, 3, 4].map((n) => median(quarter(n).map(of)).toFixed(digits)).join(" | ")} |`;
  const without = report.without.length === 0 ? "" : `, without ${report.without.join(", ")}`;
  return [
    `${report.date}, buntime ${report.version}, ${report.machine}: ${report.minutes} minutes, ${report.clients} busy connections and ` +
      `clients of every other kind${without}, seed ${report.seed}. ${total(report).toLocaleString("en")} outcomes, ` +
      `${report.unexplained.length === 0 ? "none of them unexplained" : `${report.unexplained.length} and more UNEXPLAINED`}.`,
    "",
    "| What is judged | | Found | Allowed |",
    "|---|---|---|---|",
    ...report.judgements.map(({ name, ok, open, found, allowed }) => `| ${name} | ${open ? "not judged" : ok ? "good" : "**BAD**"} | ${found} | ${allowed} |`),
    "",
    "| Median in quarter | 1 | 2 | 3 | 4 |",
    "|---|---|---|---|---|",
    row("PSS of the supervisor, MiB", ({ pss }) => pss, 1),
    row("RSS of the supervisor, MiB", ({ rss }) => rss, 1),
    row("descriptors", ({ descriptors }) => descriptors),
    row("threads", ({ threads }) => threads),
    row("child processes", ({ children }) => children),
    "",
    "| What was done meanwhile | Times |",
    "|---|---|",
    ...Object.entries(report.done).map(([name, count]) => `| ${name} | ${count} |`),
    "",
    "| Outcome | Times |",
    "|---|---|",
    ...outcomes.map(([what, count]) => `| ${what.replaceAll("|", "\\|")} | ${count.toLocaleString("en")} |`),
  ].join("\n");
}

export function settings({ minutes, without, clients, seed }: Options): Pick<Report, "minutes" | "without" | "clients" | "seed"> {
  return { minutes, without: [...without], clients, seed };
}

const BEGIN = "<!-- results: written by scripts/soak -->";

/** The document with what stands behind its marker replaced. */
export function recorded(document: string, results: string): string {
  const at = document.indexOf(BEGIN);
  if (at < 0) throw new Failure(`the document has no "${BEGIN}"`);
  return `${document.slice(0, at)}${BEGIN}\n\n${results}\n`;
}
