/** The results as Markdown, and their place in a document. */
import { Failure } from "../failure.ts";
import { number, quantity, range } from "./format.ts";
import type { Report, ReportRow } from "./report.ts";

const BEGIN = "<!-- results: written by scripts/bench -->";
const END = "<!-- end of results -->";

export function markdown(report: Report): string {
  return [machine(report), budgets(report.rows), ...report.rows.map(table)].join("\n\n");
}

/** The document with what stands between its markers replaced. */
export function replaced(document: string, results: string): string {
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin < 0 || end < begin) throw new Failure(`the document has no "${BEGIN}" with "${END}" after it`);
  return `${document.slice(0, begin)}${BEGIN}\n\n${results}\n\n${document.slice(end)}`;
}

function machine({ date, machine, pace }: Report): string {
  const { processor, cores, memory, system, kernel, load, versions } = machine;
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return [
    `Measured ${date} in ${pace.rounds} ${pace.rounds === 1 ? "round" : "rounds"} on ${processor}, ${cores} cores, ${memory}; ${system}, ${kernel}; load before the first row ${load.toFixed(2)}.`,
    `${programs.join(", ")}.`,
  ].join("\n");
}

function budgets(rows: ReportRow[]): string {
  const lines = rows.flatMap((row) =>
    row.budgets.map((budget) => {
      const { title, unit, bound, must, aim, met, aimMet } = budget;
      const sign = bound === "at least" ? "≥" : "≤";
      const goal = aim === undefined ? "" : `${sign} ${number(aim, unit)}${aimMet ? ", met" : ""}`;
      return `| ${title} | ${range(budget, unit)} ${unit} | ${sign} ${quantity(must, unit)} | ${met ? "yes" : "**no**"} | ${goal} |`;
    }),
  );
  return ["### Budgets", "", "| | measured | must | met | aim |", "|---|---|---|---|---|", ...lines].join("\n");
}

function table({ title, columns, series }: ReportRow): string {
  const head = columns.map(({ title, unit }) => (title === "a second" ? unit : `${title}, ${unit}`));
  const lines = series.map(({ name, values }) => {
    const cells = columns.map(({ key, unit }) => (values[key] ? range(values[key], unit) : ""));
    return `| ${name} | ${cells.join(" | ")} |`;
  });
  return [`### ${title}`, "", `| | ${head.join(" | ")} |`, `|---|${"---|".repeat(columns.length)}`, ...lines].join("\n");
}
