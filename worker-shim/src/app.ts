/** The app's default export, checked and ready to be called. */
import { LoadError } from "./errors.ts";
import { emptyResponse } from "./response.ts";
import { type Handler, type Match, Router } from "./routes.ts";
import type { Dispatcher } from "./serve.ts";
import type { WorkerServer } from "./server.ts";
import { PASS } from "./static-routes.ts";

const EXAMPLE = "export default { fetch(request) { return new Response(\"hello\") } }";

type ErrorHandler = (this: unknown, error: unknown) => unknown;

export interface UpgradeOptions {
  headers?: HeadersInit;
  data?: unknown;
}

/** What serves the requests of a link: an app, or a plugin. */
export interface Served {
  /** Handed to every handler; set once, by whoever made this. */
  server: WorkerServer;
  /** Its own limit in bytes; null: none of its own. */
  readonly maxRequestBodySize: number | null;
  readonly hasRoutes: boolean;
  /** Whether requests may become WebSockets. */
  readonly takesSockets: boolean;
  /** WebSockets that are open. */
  readonly sockets: number;
  /** What READY says of hooks. */
  readonly hooks: number;
  route(method: string, url: string): Match | undefined;
  /** Answers a request that no route has matched. */
  fetch(request: Request): unknown;
  /** Answers one that a route has matched. */
  handle(handler: Handler, request: Request): unknown;
  /** Its own answer to an error, undefined where it has none. */
  error(error: unknown): unknown;
  reload(options: Record<string, unknown>): void;
  /** Makes a WebSocket of a request. False: it cannot be one. */
  upgrade(request: Request, options: UpgradeOptions, dispatcher: Dispatcher): boolean;
  publish(topic: string, data: string | ArrayBuffer | ArrayBufferView): number;
  subscriberCount(topic: string): number;
  runHook(kind: number): Promise<void>;
}

export class App implements Served {
  /** `this` of every handler, so that class instances work. */
  readonly #target: Record<string, unknown>;
  #fetch: Handler | null = null;
  #error: ErrorHandler | null = null;
  #router: Router | null = null;
  /** Handed to every handler; set once, by whoever made this app. */
  server!: WorkerServer;

  /** The app's own limit in bytes; null: none of its own. */
  readonly maxRequestBodySize: number | null;

  constructor(module: object) {
    this.#target = checkDefault(module);
    this.maxRequestBodySize = checkBodySize(this.#target.maxRequestBodySize);
    const { fetch, routes } = this.#target;
    if (fetch === undefined && routes === undefined) throw new LoadError("The default export has neither fetch nor routes", EXAMPLE);
    this.reload(this.#target);
  }

  /** Takes handlers as `server.reload` does in Bun: routes are replaced or removed, the others stay where none is given. */
  reload({ fetch, routes: given, error }: Record<string, unknown>): void {
    // An array is not meant for us: Hono keeps its own list of routes there, and Bun passes it over.
    const routes = Array.isArray(given) ? undefined : given;
    if (fetch !== undefined && typeof fetch !== "function") throw new LoadError("The app's fetch is not a function", EXAMPLE);
    if (error !== undefined && typeof error !== "function") throw new LoadError("The app's error is not a function", "error(error) { return new Response(error.message, { status: 500 }) }");
    if (routes !== undefined && (typeof routes !== "object" || routes === null)) {
      throw new LoadError("The app's routes are not an object", "routes: { \"/path\": request => new Response(\"hello\") }");
    }
    this.#router = routes === undefined || Object.keys(routes).length === 0 ? null : new Router(routes as Record<string, unknown>);
    if (fetch !== undefined) this.#fetch = fetch as Handler;
    if (error !== undefined) this.#error = error as ErrorHandler;
  }

  // Apps have no WebSockets in this version.
  readonly takesSockets = false;
  readonly sockets = 0;

  upgrade(): boolean {
    return false;
  }

  publish(): number {
    return 0;
  }

  subscriberCount(): number {
    return 0;
  }

  get hasRoutes(): boolean {
    return this.#router !== null;
  }

  /** The route for a request; `url` as it came over the link. */
  route(method: string, url: string): Match | undefined {
    return this.#router?.find(method, url);
  }

  /** Calls `fetch`. Without one, what no route has matched is not there. */
  fetch(request: Request): unknown {
    if (this.#fetch === null) return emptyResponse({ status: 404 });
    return this.#fetch.call(this.#target, request, this.server);
  }

  /** Calls the handler of a route. */
  handle(handler: Handler, request: Request): unknown {
    const answer = handler.call(this.#target, request, this.server);
    return answer instanceof Promise ? answer.then((value) => (value === PASS ? this.fetch(request) : value)) : answer;
  }

  /** The app's own answer to an error, undefined where it has none. */
  error(error: unknown): unknown {
    return this.#error?.call(this.#target, error);
  }

  /** What READY says of hooks. */
  get hooks(): number {
    return (typeof this.#target.onIdle === "function" ? 1 : 0) | (typeof this.#target.onTerminate === "function" ? 2 : 0);
  }

  /** Runs `onIdle` (1) or `onTerminate` (2). */
  async runHook(kind: number): Promise<void> {
    const hook = kind === 1 ? this.#target.onIdle : this.#target.onTerminate;
    if (typeof hook === "function") await hook.call(this.#target);
  }
}

function checkDefault(module: object): Record<string, unknown> {
  const target = (module as { default?: unknown }).default;
  if (target === undefined) {
    throw new LoadError(
      "The entrypoint has no default export",
      `${EXAMPLE}; an app that calls Bun.serve() or listen() itself cannot run in this version`,
    );
  }
  if (target instanceof Promise) throw new LoadError("The default export is a promise", "await it: export default await …");
  if (target === null || (typeof target !== "object" && typeof target !== "function")) {
    throw new LoadError(`The default export is ${target === null ? "null" : `a ${typeof target}`}`, EXAMPLE);
  }
  if (isServer(target)) {
    throw new LoadError("The default export is a server that Bun.serve() has started", `export what Bun.serve() was given: ${EXAMPLE}`);
  }
  return target as Record<string, unknown>;
}

/** A limit that is none must not pass for one: the author meant to be protected. */
function checkBodySize(size: unknown): number | null {
  if (size === undefined || size === Infinity) return null;
  if (typeof size !== "number" || !(size >= 0)) {
    throw new LoadError(`The app's maxRequestBodySize is ${Bun.inspect(size, { depth: 0 })}, which is no number of bytes`, "maxRequestBodySize: 10 * 1024 * 1024");
  }
  return Math.min(Math.floor(size), Number.MAX_SAFE_INTEGER);
}

/** Whether this is what `Bun.serve()` returns. */
function isServer(target: object): boolean {
  return "pendingWebSockets" in target && Object.prototype.toString.call(target).includes("Server");
}
