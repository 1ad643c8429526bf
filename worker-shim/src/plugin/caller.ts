/** Who has sent a request, where the supervisor knows them: by a key of its own, or because they came over the admin socket. */
import type { Caller as CallerType } from "../../types/plugin.d.ts";
import type { Exchange } from "../exchange.ts";
import { exchangeOf } from "../request.ts";

const callers = new WeakMap<Exchange, Caller>();

class Caller implements CallerType {
  readonly name: string;
  readonly #permissions: ReadonlySet<string>;
  /** None = all. */
  readonly #namespaces: ReadonlySet<string> | null;

  constructor({ name, permissions, namespaces }: { name: string; permissions: string[]; namespaces: "all" | string[] }) {
    this.name = name;
    this.#permissions = new Set(permissions);
    this.#namespaces = namespaces === "all" ? null : new Set(namespaces);
    Object.freeze(this);
  }

  may(permission: string, app?: string): boolean {
    return this.#permissions.has(permission) && (app === undefined || this.sees(app));
  }

  sees(app: string): boolean {
    if (this.#namespaces === null) return true;
    const slash = app.indexOf("/");
    return this.#namespaces.has(app.startsWith("@") && slash > 0 ? app.slice(0, slash) : "@");
  }
}

/** `told` is what the supervisor says of whoever has sent it. */
export function noteCaller(exchange: Exchange, told: string | undefined): void {
  if (told !== undefined) callers.set(exchange, new Caller(JSON.parse(told)));
}

/** The method `caller` of the server that a plugin's handlers get. */
export function callerOf(request: Request): Caller | null {
  const exchange = exchangeOf(request);
  return (exchange && callers.get(exchange)) ?? null;
}
