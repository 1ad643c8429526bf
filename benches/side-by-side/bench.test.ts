/** The parts of the bench that could be wrong without anyone noticing: its arithmetic and its readers. */
import { describe, expect, test } from "bun:test";
import { parse } from "./options.ts";
import { children, cpuTime, proportionalMemory, pss, times, tree } from "./proc.ts";
import { markdown, replaced } from "./report/markdown.ts";
import { reportRow, type Report } from "./report/report.ts";
import { svg } from "./report/svg.ts";
import type { Budget, Result } from "./row.ts";
import { quantile, ratios, rotated, summary } from "./stats.ts";

describe("stats", () => {
  test("a quantile lies between its neighbours by weight, in whatever order they come", () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5);
    expect(quantile([10, 20], 0.9)).toBeCloseTo(19);
    expect(summary([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
    expect(() => quantile([], 0.5)).toThrow("no samples");
  });

  test("ratios are taken within a round", () => {
    expect(ratios([10, 40], [20, 20])).toEqual([0.5, 2]);
    expect(() => ratios([1], [1, 2])).toThrow("different numbers of rounds");
  });

  test("everyone begins equally often", () => {
    const first = [0, 1, 2, 3, 4, 5].map((round) => rotated(["a", "b", "c"], round)[0]);
    expect(first).toEqual(["a", "b", "c", "a", "b", "c"]);
    expect(rotated(["a", "b", "c"], 1)).toEqual(["b", "c", "a"]);
  });
});

describe("proc", () => {
  test("times are read behind a name with spaces and brackets", () => {
    const stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 1 0 5 6 7";
    expect(times(stat)).toEqual([11, 22, 33, 44]);
  });

  test("proportional memory is the line that is called Pss", () => {
    expect(pss("0-1 ---p 0 00:00 0 [rollup]\nRss:   900 kB\nPss:   123 kB\nPss_Dirty:   7 kB\n")).toBe(123 * 1024);
  });

  test("a child is in the tree with its memory and time, and is gone when it ended", async () => {
    const child = Bun.spawn([process.execPath, "-e", "console.log(1); await Bun.stdin.text()"], { stdin: "pipe", stdout: "pipe" });
    await child.stdout.getReader().read();
    expect(children(process.pid)).toContain(child.pid);
    expect(tree([process.pid])).toContain(child.pid);
    expect(proportionalMemory([child.pid])).toBeGreaterThan(0);
    child.kill();
    await child.exited;
    expect(children(process.pid)).not.toContain(child.pid);
    expect(cpuTime([child.pid])).toBe(0);
  });
});

describe("options", () => {
  const rows = ["hello", "cold"];

  test("only a whole run that is not quick is recorded", () => {
    expect(parse([], rows).record).toBe(true);
    expect(parse(["--rows", "cold,hello"], rows).record).toBe(true);
    expect(parse(["--rows", "cold"], rows).record).toBe(false);
    expect(parse(["--quick"], rows).record).toBe(false);
  });

  test("what is wrong is named with what is allowed", () => {
    expect(() => parse(["--rows", "warm"], rows)).toThrow('no row "warm"; there are hello, cold');
    for (const rounds of ["0", "x", "1e1", "101"]) expect(() => parse(["--rounds", rounds], rows)).toThrow("from 1 to 100");
    expect(() => parse(["--fast"], rows)).toThrow("--fast");
  });
});

describe("report", () => {
  const budget = (more: Partial<Budget>): Budget => ({ title: "b", unit: "×", samples: [0.9], bound: "at least", must: 1, ...more });
  const result = (budgets: Budget[]): Result => ({
    columns: [{ key: "rate", title: "rate", unit: "requests/s", chart: { title: "A & B", better: "more" } }],
    series: [{ name: "buntime", samples: { rate: [1000, 2000, 3000] } }, { name: "other", samples: { rate: [4000, 4000, 4000] } }],
    budgets,
  });
  const row = (budgets: Budget[]) => reportRow({ id: "r", title: "Row", run: () => Promise.reject() }, result(budgets));

  test("a budget is met by the median, on its own side of the bound", () => {
    const { budgets } = row([
      budget({}),
      budget({ bound: "at most" }),
      budget({ samples: [0.5, 1, 9], aim: 1.5 }),
      budget({ bound: "at most", aim: 0.9 }),
    ]);
    expect(budgets.map(({ met, aimMet }) => [met, aimMet])).toEqual([[false, null], [true, null], [true, false], [true, true]]);
  });

  const report = (): Report => ({
    date: "2026-01-02",
    machine: { processor: "P", cores: 2, memory: "4 GB", system: "S", kernel: "K", load: 0, versions: { bun: "1.4.5" } },
    pace: { rounds: 3, warmUp: 1, seconds: 1, cold: 1, blocks: 1, large: false },
    rows: [row([budget({})])],
  });

  test("the table shows medians with their range, and what is not met", () => {
    const text = markdown(report());
    expect(text).toContain("| buntime | 2,000 (1,000–3,000) |");
    expect(text).toContain("| b | 0.90 (0.90–0.90) × | ≥ 1.00 × | **no** |  |");
  });

  test("the results replace what stood between the markers, again and again", () => {
    const document = "before\n<!-- results: written by scripts/bench -->\nold\n<!-- end of results -->\nafter\n";
    const once = replaced(document, "new $& $1");
    expect(once).toBe("before\n<!-- results: written by scripts/bench -->\n\nnew $& $1\n\n<!-- end of results -->\nafter\n");
    expect(replaced(once, "newer")).not.toContain("new $&");
    expect(() => replaced("no markers", "x")).toThrow("the document has no");
  });

  test("bars are drawn to scale, ours in its own colour", () => {
    const drawing = svg(report());
    const widths = [...drawing.matchAll(/<rect class="(\w+)"[^>]* width="([\d.]+)"/g)].map(([, kind, width]) => [kind, Number(width)] as const);
    expect(widths.map(([kind]) => kind)).toEqual(["ours", "bar"]);
    expect(widths[0]![1] * 2).toBeCloseTo(widths[1]![1], 0);
    expect(drawing).toContain("A &amp; B");
  });
});
