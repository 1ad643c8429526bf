/** The default export of a plugin's module, checked. */
import { LoadError } from "../errors.ts";
import { isFunction, isRecord } from "./guards.ts";

export type Target = Record<string, unknown>;

const EXAMPLE = "export default { async onRequest(request) {} }";
const FUNCTIONS = ["onInit", "onRequest", "onResponse", "onWorkerSpawn", "onWorkerTerminate", "onServerStart", "onShutdown", "fetch"];

/** @throws LoadError */
export function checkPlugin(module: object): Target {
  const target = (module as { default?: unknown }).default;
  if (target === undefined) throw new LoadError("The plugin's module has no default export", EXAMPLE);
  if (target instanceof Promise) throw new LoadError("The default export is a promise", "await it: export default await …");
  if (isFunction(target)) throw new LoadError("The default export is a function", `export an object or an instance of a class: ${EXAMPLE}`);
  if (!isRecord(target)) throw new LoadError(`The default export is ${target === null ? "null" : Array.isArray(target) ? "an array" : `a ${typeof target}`}`, EXAMPLE);
  for (const name of FUNCTIONS) {
    const value = target[name];
    if (value !== undefined && !isFunction(value)) throw new LoadError(`The plugin's ${name} is ${shown(value)}, no function`, `${name}(…) { … }`);
  }
  for (const name of ["routes", "websocket", "services"]) {
    const value = target[name];
    if (value !== undefined && !isRecord(value)) throw new LoadError(`The plugin's ${name} are ${shown(value)}, no object`, HINTS[name]!);
  }
  for (const [name, service] of Object.entries((target.services ?? {}) as Target)) {
    if (!isRecord(service)) throw new LoadError(`The service "${name}" is ${shown(service)}, no object with methods`, HINTS.services!);
  }
  return target;
}

export const HINTS: Record<string, string> = {
  routes: "routes: { \"/path\": request => new Response(\"hello\") }",
  websocket: "websocket: { message(socket, message) {} }",
  services: "services: { counter: { next() { return 1 } } }",
};

function shown(value: unknown): string {
  return Bun.inspect(value, { depth: 0 }).slice(0, 100);
}
