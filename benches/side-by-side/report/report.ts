/** A run as it is recorded: the rows with their medians, and every sample. */
import type { Machine } from "../machine.ts";
import type { Budget, Column, Pace, Result, Row } from "../row.ts";
import { summary, type Summary } from "../stats.ts";

export interface Report {
  date: string;
  machine: Machine;
  pace: Pace;
  rows: ReportRow[];
}

export interface ReportRow {
  id: string;
  title: string;
  columns: Column[];
  series: { name: string; values: Record<string, Measured> }[];
  budgets: (Omit<Budget, "samples"> & Measured & { met: boolean; aimMet: boolean | null })[];
}

export interface Measured extends Summary {
  samples: number[];
}

export function reportRow({ id, title }: Row, { columns, series, budgets }: Result): ReportRow {
  return {
    id,
    title,
    columns,
    series: series.map(({ name, samples }) => ({
      name,
      values: Object.fromEntries(Object.entries(samples).map(([key, values]) => [key, measured(values)])),
    })),
    budgets: budgets.map(({ samples, ...budget }) => {
      const value = measured(samples);
      const { median } = value;
      return { ...budget, ...value, met: holds(budget, budget.must, median), aimMet: budget.aim === undefined ? null : holds(budget, budget.aim, median) };
    }),
  };
}

function measured(samples: number[]): Measured {
  return { ...summary(samples), samples };
}

function holds({ bound }: Pick<Budget, "bound">, limit: number, value: number): boolean {
  return bound === "at least" ? value >= limit : value <= limit;
}
