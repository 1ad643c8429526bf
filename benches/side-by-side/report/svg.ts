/** The medians as bars, with a line from the least to the greatest. Readable on a light and on a dark page. */
import type { Column } from "../row.ts";
import { quantity } from "./format.ts";
import type { Measured, Report, ReportRow } from "./report.ts";

const WIDTH = 880;
const PANELS_A_LINE = 2;
const GAP = 28;
const PANEL_WIDTH = (WIDTH - GAP * (PANELS_A_LINE + 1)) / PANELS_A_LINE;
const TITLE_HEIGHT = 26;
const BAR_HEIGHT = 14;
const BAR_PITCH = 22;
const NAME_WIDTH = 148;
/** Right of the longest bar, for its value. */
const VALUE_WIDTH = 112;
const SPAN = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH;

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 }
  .quiet { fill: #59636e }
  .bar { fill: #afb8c1 }
  .ours { fill: #d9730d }
  line { stroke: #1f2328; stroke-opacity: .55 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .quiet { fill: #9198a1 }
    .bar { fill: #57606a }
    line { stroke: #e6edf3 }
  }
`;

interface Panel {
  title: string;
  better: "more" | "less";
  unit: Column["unit"];
  bars: { name: string; value: Measured }[];
}

export function svg(report: Report): string {
  const panels = report.rows.flatMap(panelsOf);
  const parts: string[] = [];
  let y = GAP;
  for (let i = 0; i < panels.length; i += PANELS_A_LINE) {
    const line = panels.slice(i, i + PANELS_A_LINE);
    line.forEach((panel, column) => parts.push(draw(panel, GAP + column * (PANEL_WIDTH + GAP), y)));
    y += Math.max(...line.map(height)) + GAP;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img">
<title>buntime compared with nginx in front of Bun and with Bun alone</title>
<style>${STYLE}</style>
${parts.join("\n")}
</svg>
`;
}

function panelsOf({ columns, series }: ReportRow): Panel[] {
  return columns.flatMap(({ key, unit, chart }) => {
    if (!chart) return [];
    const bars = series.flatMap(({ name, values }) => (values[key] ? [{ name, value: values[key] }] : []));
    return [{ ...chart, unit, bars }];
  });
}

function height({ bars }: Panel): number {
  return TITLE_HEIGHT + bars.length * BAR_PITCH;
}

function draw({ title, better, unit, bars }: Panel, x: number, y: number): string {
  const longest = Math.max(...bars.map(({ value }) => value.max), Number.MIN_VALUE);
  const scale = (value: number) => (Math.max(value, 0) / longest) * SPAN;
  const lines = [
    `<text class="title" x="${x}" y="${y + 12}">${escape(title)}<tspan class="quiet" dx="6" font-weight="400">${better} is better</tspan></text>`,
  ];
  bars.forEach(({ name, value }, i) => {
    const top = y + TITLE_HEIGHT + i * BAR_PITCH;
    const left = x + NAME_WIDTH;
    const middle = top + BAR_HEIGHT / 2;
    const [low, at, high] = [scale(value.min), scale(value.median), scale(value.max)];
    lines.push(
      `<text class="quiet" x="${left - 8}" y="${top + 11}" text-anchor="end">${escape(name)}</text>`,
      `<rect class="${i === 0 ? "ours" : "bar"}" x="${round(left)}" y="${top}" width="${round(at)}" height="${BAR_HEIGHT}" rx="2"/>`,
      `<line x1="${round(left + low)}" y1="${middle}" x2="${round(left + high)}" y2="${middle}"/>`,
      `<text x="${round(left + Math.max(at, high) + 6)}" y="${top + 11}">${escape(quantity(value.median, unit))}</text>`,
    );
  });
  return lines.join("\n");
}

function round(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
