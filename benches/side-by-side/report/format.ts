/** Numbers as people read them. */
import type { Unit } from "../row.ts";
import type { Summary } from "../stats.ts";

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** Three digits or so: what is behind them is noise. */
export function number(value: number, unit: Unit): string {
  if (unit === "×") return value.toFixed(2);
  if (Math.abs(value) >= 100) return grouped.format(value);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}

/** `0.68 (0.66–0.71)` */
export function range({ median, min, max }: Summary, unit: Unit): string {
  return `${number(median, unit)} (${number(min, unit)}–${number(max, unit)})`;
}

/** With its unit: `0.68 ×`, `7.9 MB`. */
export function quantity(value: number, unit: Unit): string {
  return `${number(value, unit)} ${unit}`;
}
