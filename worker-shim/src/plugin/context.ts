/** `ctx`: what a plugin is given by `onInit`. Whatever it does is a call to one of the supervisor's services. */
import type { Context, Log, ServerInfo, Service } from "../../types/plugin.d.ts";
import type { Calls } from "./calls.ts";
import type { Seat } from "./seat.ts";

const LEVELS = ["debug", "info", "warn", "error"] as const;

/** `server` is asked each time, as it may be there only later. */
export function makeContext(seat: Seat, calls: Calls, server: () => ServerInfo | null): Context {
  const { name, version, base, config, stateDir } = seat;
  const services = new Map<string, Service>();
  const context = {
    name,
    version,
    base,
    config,
    stateDir,
    get server() {
      const info = server();
      return info === null ? null : { ...info };
    },
    log: makeLog(calls),
    get(service: string): Service {
      const known = services.get(service) ?? makeService(calls, service);
      services.set(service, known);
      return known;
    },
    pool: Object.freeze({
      workers: () => calls.call("core:pool", "workers", []),
      restart: (app: string, version?: string) => calls.call("core:pool", "restart", [app, version ?? null]),
    }),
    apps: Object.freeze({ list: () => calls.call("core:apps", "list", []) }),
    workerEnv: Object.freeze({ set: (name: string, value: string | null) => calls.call("core:env", "set", [name, value]) }),
  };
  return Object.freeze(context) as unknown as Context;
}

/** An object with every method that there could be: each is a call. */
function makeService(calls: Calls, service: string): Service {
  const methods = new Map<string, (...args: unknown[]) => Promise<unknown>>();
  return new Proxy(Object.freeze(Object.create(null) as object), {
    get(_target, method) {
      // Neither a promise, which `await` would make of it, nor a value of its own for JSON.
      if (typeof method === "symbol" || method === "then" || method === "toJSON") return undefined;
      const known = methods.get(method) ?? ((...args) => calls.call(service, method, args));
      methods.set(method, known);
      return known;
    },
  }) as Service;
}

/** A line of the log is never worth an error: what cannot be sent is printed. */
function makeLog(calls: Calls): Log {
  const log = {} as Record<(typeof LEVELS)[number], (message: unknown, fields?: unknown) => void>;
  for (const level of LEVELS) {
    log[level] = (message, fields) => {
      const text = typeof message === "string" ? message : Bun.inspect(message);
      calls.call("core:log", level, fields === undefined ? [text] : [text, fields]).catch(() => console.error(text, fields ?? ""));
    };
  }
  return Object.freeze(log) as Log;
}
