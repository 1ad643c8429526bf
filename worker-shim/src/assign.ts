/** ASSIGN: which app this worker is to run, and making it run. */
import { App } from "./app.ts";
import { replaceEnvironment } from "./environment.ts";
import { Violation } from "./frames.ts";
import { decodeMap } from "./msgpack.ts";

export interface Assignment {
  dir: string;
  entry: string;
  name: string;
  version: string;
  workerId: string;
  mount: string;
  origin: string;
  dev: boolean;
  env: Map<string, string>;
}

export function readAssignment(payload: Buffer): Assignment {
  const fields = decodeMap(payload);
  const text = (key: string): string => {
    const value = fields.get(key);
    if (typeof value !== "string") throw new Violation(`ASSIGN has no string ${key}`);
    return value;
  };
  const dev = fields.get("dev");
  if (typeof dev !== "boolean") throw new Violation("ASSIGN has no boolean dev");
  const env = fields.get("env");
  if (!(env instanceof Map)) throw new Violation("ASSIGN has no map env");
  for (const value of env.values()) if (typeof value !== "string") throw new Violation("ASSIGN has an env value that is no string");
  return {
    dir: text("dir"),
    entry: text("entry"),
    name: text("name"),
    version: text("version"),
    workerId: text("workerId"),
    mount: text("mount"),
    origin: text("origin"),
    dev,
    env: env as Map<string, string>,
  };
}

/** Turns this process into one that was started for the app, and loads its entrypoint. */
export async function loadApp({ dir, entry, env }: Assignment): Promise<App> {
  replaceEnvironment(env);
  process.chdir(dir);
  return new App(await load(entry));
}

/**
 * Imports a module. `require` evaluates it on this thread, without the detour over Bun's thread pool that takes two
 * milliseconds of a cold start, and returns the namespace of an ES module. What it cannot do (a top-level await) it leaves
 * to `import`, which makes the namespace of a CommonJS module, does not evaluate anything a second time and throws again
 * what was thrown.
 */
async function load(entry: string): Promise<object> {
  try {
    const loaded: unknown = require(entry);
    if (isNamespace(loaded)) return loaded;
  } catch {
    // Reported by the import.
  }
  return import(Bun.pathToFileURL(entry).href);
}

/** Whether this is the namespace object of an ES module. */
function isNamespace(value: unknown): value is object {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === null && (value as Record<symbol, unknown>)[Symbol.toStringTag] === "Module";
}
