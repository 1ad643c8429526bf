/** The app's default export, checked and ready to be called. */
import { LoadError } from "./errors.ts";

type Handler = (this: unknown, request: Request, server: unknown) => unknown;

export class App {
  readonly #target: Record<string, unknown>;
  readonly #fetch: Handler;

  constructor(module: { default?: unknown }) {
    const target = module.default;
    if (target === undefined) {
      throw new LoadError("The entrypoint has no default export", "export default { fetch(request) { return new Response('hello') } }");
    }
    if (target instanceof Promise) {
      throw new LoadError("The default export is a promise", "await it: export default await …");
    }
    if (target === null || (typeof target !== "object" && typeof target !== "function")) {
      throw new LoadError(`The default export is ${target === null ? "null" : `a ${typeof target}`}, not an app`, "export default { fetch(request) { return new Response('hello') } }");
    }
    this.#target = target as Record<string, unknown>;
    if (typeof this.#target.fetch !== "function") {
      throw new LoadError("The default export has no fetch function", "export default { fetch(request) { return new Response('hello') } }");
    }
    this.#fetch = this.#target.fetch as Handler;
  }

  handle(request: Request): unknown {
    return this.#fetch.call(this.#target, request, undefined);
  }

  hook(kind: number): unknown {
    const hook = this.#target[kind === 1 ? "onIdle" : "onTerminate"];
    return typeof hook === "function" ? hook.call(this.#target) : undefined;
  }

  get hooks(): number {
    return (typeof this.#target.onIdle === "function" ? 1 : 0) | (typeof this.#target.onTerminate === "function" ? 2 : 0);
  }

  get maxRequestBodySize(): number | null {
    const size = this.#target.maxRequestBodySize;
    return typeof size === "number" && size >= 0 && Number.isFinite(size) ? Math.floor(size) : null;
  }
}
