/**
 * A spare becomes an app's worker: environment, time zone, working directory.
 * What Bun still takes from the environment of the process start is told the new one.
 */

/** Replaces the whole of `process.env` (which `Bun.env` and `import.meta.env` are too). */
export function replaceEnvironment(environment: ReadonlyMap<string, string>): void {
  const { env } = process;
  for (const key of Object.keys(env)) if (!environment.has(key)) delete env[key];
  for (const [key, value] of environment) env[key] = value;
}
