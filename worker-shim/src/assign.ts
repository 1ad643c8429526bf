/** ASSIGN: which app this worker is to run, and making it run. */
import { App, type Served } from "./app.ts";
import { replaceEnvironment } from "./environment.ts";
import { Violation } from "./frames.ts";
import { decodeMap } from "./msgpack.ts";
import type { Calls } from "./plugin/calls.ts";
import { loadPlugin } from "./plugin/plugin.ts";
import { readSeat, type Seat } from "./plugin/seat.ts";

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
  /** Makes it a script plugin; null: an app. */
  plugin: Seat | null;
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
  const plugin = fields.get("plugin");
  if (plugin !== undefined && !(plugin instanceof Uint8Array)) throw new Violation("ASSIGN has a plugin that is no bytes");
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
    plugin: plugin === undefined ? null : readSeat(plugin),
  };
}

/**
 * Turns this process into one that was started for the app, and loads its entrypoint: at once, or later where that has a
 * top-level await.
 */
export function loadApp({ dir, entry, env, plugin }: Assignment, calls: Calls | null): Served | Promise<Served> {
  replaceEnvironment(env);
  process.chdir(dir);
  const module = requireModule(entry);
  if (plugin !== null) {
    if (calls === null) throw new Violation("a plugin has no link to call over");
    return loadPlugin(module ?? importModule(entry), plugin, calls);
  }
  return module === null ? importApp(entry) : new App(module);
}

/**
 * `require` evaluates a module on this thread, without the detour over Bun's thread pool that takes two milliseconds of a
 * cold start, and returns the namespace of an ES module. What it cannot do it leaves to `import`, which makes the namespace of a
 * CommonJS module, does not evaluate anything a second time and throws again what was thrown.
 */
export function requireModule(entry: string): object | null {
  try {
    const loaded: unknown = require(entry);
    return isNamespace(loaded) ? loaded : null;
  } catch {
    // Reported by the import.
    return null;
  }
}

async function importApp(entry: string): Promise<App> {
  return new App(await importModule(entry));
}

function importModule(entry: string): Promise<object> {
  return import(Bun.pathToFileURL(entry).href) as Promise<object>;
}

/** Whether this is what `require` returns of an ES module: a namespace, or Bun's stand-in for one, which no `Object` is. */
function isNamespace(value: unknown): value is object {
  return typeof value === "object" && value !== null && !(value instanceof Object) && (value as Record<symbol, unknown>)[Symbol.toStringTag] === "Module";
}
