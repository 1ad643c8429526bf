/**
 * A spare was started with no app's environment. This gives it one, and tells
 * it to what Bun would start with the environment of the process start.
 */
import { impersonate, NativeWorker } from "./natives.ts";

/** Replaces the whole of `process.env`, which `Bun.env` and `import.meta.env` are too. */
export function replaceEnvironment(environment: ReadonlyMap<string, string>): void {
  const { env } = process;
  for (const key of Object.keys(env)) if (!environment.has(key)) delete env[key];
  // Setting one costs several times what comparing it does.
  for (const [key, value] of environment) if (env[key] !== value) env[key] = value;
}

/**
 * `Bun.spawn`, `Bun.spawnSync` and `new Worker` copy the environment that the process was
 * started with. Theirs is `process.env` from now on, unless the caller gives another.
 */
export function installEnvironment(): void {
  Bun.spawn = withEnvironment(Bun.spawn);
  Bun.spawnSync = withEnvironment(Bun.spawnSync);

  function Worker(url: string | URL, options?: WorkerOptions): globalThis.Worker {
    if (new.target === undefined) throw new TypeError("Class constructor Worker cannot be invoked without 'new'");
    return Reflect.construct(NativeWorker, [url, { ...options, env: options?.env ?? process.env }], new.target);
  }
  impersonate(Worker, NativeWorker);
  globalThis.Worker = Worker as unknown as typeof globalThis.Worker;
}

interface SpawnOptions {
  env?: Record<string, string | undefined>;
}

/** Both forms: `spawn(command, options?)` and `spawn({ cmd, …options })`. */
function withEnvironment<F extends typeof Bun.spawn | typeof Bun.spawnSync>(native: F): F {
  const call = native as (...args: unknown[]) => unknown;
  const wrapped = function (command: unknown, options?: SpawnOptions): unknown {
    if (Array.isArray(command)) return call(command, inherit(options));
    if (typeof command === "object" && command !== null) return call(inherit(command));
    return call(command, options);
  };
  impersonate(wrapped, native);
  return wrapped as unknown as F;
}

function inherit(options: SpawnOptions | undefined): SpawnOptions {
  return options?.env === undefined ? { ...options, env: process.env } : options;
}
