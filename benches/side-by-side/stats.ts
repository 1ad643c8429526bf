/** Medians and ratios. Everything reported is a median over the rounds with its least and greatest value. */

export interface Summary {
  median: number;
  min: number;
  max: number;
}

/** The value below which the fraction `q` of the samples lies, between neighbours by weight. */
export function quantile(samples: readonly number[], q: number): number {
  if (samples.length === 0) throw new Error("no samples");
  const sorted = Float64Array.from(samples).sort();
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)]!;
  const high = sorted[Math.ceil(at)]!;
  return low + (high - low) * (at - Math.floor(at));
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

export function mean(samples: readonly number[]): number {
  return samples.reduce((sum, sample) => sum + sample, 0) / samples.length;
}

export function summary(samples: readonly number[]): Summary {
  return { median: median(samples), min: quantile(samples, 0), max: quantile(samples, 1) };
}

/**
 * One ratio for each round. What disturbs a whole round (another program, a slower clock) is on both sides of it and
 * goes away; in a ratio of two medians it would stay.
 */
export function ratios(ours: readonly number[], theirs: readonly number[]): number[] {
  if (ours.length !== theirs.length) throw new Error("the contestants ran different numbers of rounds");
  return ours.map((value, round) => value / theirs[round]!);
}

/** `items` in the order of this round: each is first, second and so on equally often. */
export function rotated<T>(items: readonly T[], round: number): T[] {
  const at = round % items.length;
  return [...items.slice(at), ...items.slice(0, at)];
}
