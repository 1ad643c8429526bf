/** A script plugin, served as an app is: each request on the link is one of its hooks. */
import type { Context, ServerInfo } from "../../types/plugin.d.ts";
import type { Served, UpgradeOptions } from "../app.ts";
import { LoadError } from "../errors.ts";
import type { Exchange } from "../exchange.ts";
import { NativeRequest, NativeResponse } from "../natives.ts";
import { exchangeOf, RouteRequest } from "../request.ts";
import { EMPTY, emptyResponse, sourceOf } from "../response.ts";
import { type Handler, type Match, Router } from "../routes.ts";
import type { Dispatcher } from "../serve.ts";
import type { WorkerServer } from "../server.ts";
import { PASS, PreparedResponse } from "../static-routes.ts";
import { callerOf, noteCaller } from "./caller.ts";
import type { Calls } from "./calls.ts";
import { makeContext } from "./context.ts";
import { isFunction, isRecord } from "./guards.ts";
import { CONTINUE, continueWith, mark, PASS_ON, replaceBy, takeInternal, upgradeBy, withoutInternal } from "./internal.ts";
import { checkPlugin, HINTS, type Target } from "./module.ts";
import { readResponse } from "./response-hook.ts";
import type { Seat } from "./seat.ts";
import { type Data, kindOf, PluginSocket, Sockets } from "./sockets.ts";
import { decode, encode } from "./values.ts";

type Internal = ReadonlyMap<string, string>;
interface AppId {
  name: string;
  version: string;
}

/** Loads a plugin and has it set itself up. */
export async function loadPlugin(module: object | Promise<object>, seat: Seat, calls: Calls): Promise<PluginApp> {
  const plugin = new PluginApp(await module, seat, calls);
  await plugin.init();
  return plugin;
}

export class PluginApp implements Served {
  #server!: WorkerServer;
  readonly maxRequestBodySize = null;
  /** Its routes are one hook among others. */
  readonly hasRoutes = false;
  readonly takesSockets = true;
  readonly #sockets = new Sockets();
  readonly #target: Target;
  readonly #context: Context;
  #router: Router | null = null;
  #info: ServerInfo | null;
  /** `onServerStart` has been called. */
  #started = false;

  readonly #calls: Calls;

  constructor(module: object, seat: Seat, calls: Calls) {
    this.#target = checkPlugin(module);
    this.#calls = calls;
    this.#info = seat.server;
    this.#context = makeContext(seat, calls, () => this.#info);
  }

  get server(): WorkerServer {
    return this.#server;
  }

  set server(server: WorkerServer) {
    this.#server = Object.defineProperty(server, "caller", { value: callerOf });
  }

  async init(): Promise<void> {
    const { onInit, services } = this.#target;
    // Others may call them from now on.
    const names = Object.keys(services ?? {});
    if (names.length > 0) await this.#calls.call("core:services", "provide", names);
    if (isFunction(onInit)) await onInit.call(this.#target, this.#context);
    // It may have made its routes only now.
    this.#route(this.#target.routes);
    if (isRecord(this.#target.websocket)) this.#sockets.configure(this.#target.websocket);
    if (this.#info !== null) this.#serverStart(this.#info).catch((error: unknown) => console.error(error));
  }

  /** As `server.reload` does: `fetch`, routes and handlers of sockets are replaced from now on. */
  reload({ fetch, routes, websocket }: Record<string, unknown>): void {
    if (isRecord(websocket)) this.#sockets.configure(websocket);
    if (fetch !== undefined) this.#target.fetch = fetch;
    if (routes !== undefined) this.#route(routes);
  }

  route(): Match | undefined {
    return undefined;
  }

  handle(): unknown {
    return undefined;
  }

  /** A hook, or the plugin's own `fetch` where it asks itself. */
  fetch(request: Request): unknown {
    const exchange = exchangeOf(request);
    if (exchange === undefined) return this.#function("fetch").call(this.#target, request, this.server);
    const internal = takeInternal(request.headers);
    noteCaller(exchange, internal.get("caller"));
    const hook = internal.get("hook");
    exchange.canUpgrade = (hook === "route" || hook === "fetch") && internal.get("upgrade") === "websocket";
    switch (hook) {
      case "request":
        return this.#onRequest(request, internal);
      case "response":
        return this.#onResponse(request, exchange, internal);
      case "fetch":
        return after(this.#function("fetch").call(this.#target, request, this.server), served);
      case "route":
        return this.#onRoute(request, exchange);
      case "service":
        return this.#onCall(request, internal);
      case "worker-spawn":
        return this.#notify(request, ({ worker, app }) => this.#function("onWorkerSpawn").call(this.#target, worker, app));
      case "worker-terminate":
        return this.#notify(request, ({ worker, app, reason }) => this.#function("onWorkerTerminate").call(this.#target, worker, app, reason));
      case "server-start":
        return this.#notify(request, ({ url, apiBase }) => this.#serverStart({ url: String(url), apiBase: String(apiBase) }));
      default:
        throw new Error(`There is no hook "${hook}"`);
    }
  }

  get sockets(): number {
    return this.#sockets.count;
  }

  upgrade(request: Request, { headers, data }: UpgradeOptions, dispatcher: Dispatcher): boolean {
    if (!(request instanceof NativeRequest)) throw new TypeError("upgrade() requires a Request object");
    if (!this.#sockets.isThere) throw new TypeError("The plugin has no websocket handlers: websocket: { message(socket, message) {} }");
    const exchange = exchangeOf(request);
    if (exchange === undefined || !exchange.canUpgrade || exchange.ended) return false;
    const { maxPayload, idleSeconds } = this.#sockets;
    const socket = new PluginSocket(this.#sockets, exchange, data);
    const table = upgradeBy(headers, request.headers, maxPayload, idleSeconds);
    PluginSocket.begin(socket, dispatcher.upgrade(exchange, table, socket));
    return true;
  }

  publish(topic: string, data: Data): number {
    return this.#sockets.publish(topic, kindOf(data), data, null);
  }

  subscriberCount(topic: string): number {
    return this.#sockets.topics.get(topic)?.size ?? 0;
  }

  /** A plugin has no answer of its own to an error: what follows from it is the supervisor's business. */
  error(): unknown {
    return undefined;
  }

  /** What READY says of hooks: HOOK 2 is `onShutdown`. */
  get hooks(): number {
    return isFunction(this.#target.onShutdown) ? 2 : 0;
  }

  async runHook(kind: number): Promise<void> {
    if (kind === 2 && isFunction(this.#target.onShutdown)) await this.#target.onShutdown();
  }

  #route(routes: unknown): void {
    if (routes === undefined) return;
    if (!isRecord(routes)) throw new LoadError("The plugin's routes are no object", HINTS.routes!);
    this.#router = new Router(routes);
  }

  #function(name: string): (...args: unknown[]) => unknown {
    const value = this.#target[name];
    if (!isFunction(value)) throw new TypeError(`The plugin has no ${name}`);
    return value;
  }

  #onRequest(request: Request, internal: Internal): unknown {
    const hasBody = request.method !== "GET" && request.method !== "HEAD" && request.body !== null;
    const answer = this.#function("onRequest").call(this.#target, request, readApp(internal), { phase: internal.get("phase") });
    return after(answer, (answer) => requestFlow(request, hasBody, answer));
  }

  async #onResponse(request: Request, exchange: Exchange, internal: Internal): Promise<unknown> {
    const onResponse = this.#function("onResponse");
    const response = await readResponse(request, exchange.bodyIn === null);
    const hasBody = response.body !== null;
    const asked = new NativeRequest(request.url, { method: internal.get("method") ?? "GET", headers: request.headers });
    return responseFlow(response, hasBody, await onResponse.call(this.#target, response, readApp(internal), asked));
  }

  #onRoute(request: Request, exchange: Exchange): unknown {
    const match = this.#router?.find(request.method, request.url);
    if (match === undefined) return PASS_ON;
    exchange.params = match.params;
    // What `RouteRequest` has beside is all in the exchange.
    Object.setPrototypeOf(request, RouteRequest.prototype);
    const handler: Handler = match.handler;
    return after(handler.call(this.#target, request, this.server), (answer) => (answer === PASS ? PASS_ON : unmarked(answer)));
  }

  async #onCall(request: Request, internal: Internal): Promise<Response> {
    const [name, method] = [internal.get("service") ?? "", internal.get("method") ?? ""];
    const args = await readBody(request);
    if (!Array.isArray(args)) throw new TypeError("The arguments of a call are no array");
    const { services } = this.#target;
    const service = isRecord(services) && Object.hasOwn(services, name) ? services[name] : undefined;
    if (!isRecord(service)) throw new TypeError(`The plugin has no service "${name}"`);
    // Only what the author has written there: nothing that every object has.
    const own = Object.getOwnPropertyDescriptor(service, method);
    if (own?.enumerable !== true || !isFunction(own.value)) throw new TypeError(`The service "${name}" has no method "${method}"`);
    return new NativeResponse(encode(await own.value.apply(service, args)) as Buffer<ArrayBuffer>);
  }

  async #notify(request: Request, call: (body: Target) => unknown): Promise<Response> {
    const body = await readBody(request);
    if (!isRecord(body)) throw new TypeError("The body of a hook is no map");
    await call(body);
    return emptyResponse({ status: 204 });
  }

  async #serverStart(server: ServerInfo): Promise<void> {
    this.#info = server;
    if (this.#started) return;
    this.#started = true;
    if (isFunction(this.#target.onServerStart)) await this.#target.onServerStart({ ...server });
  }
}

/** `next` of what a handler has given, at once where it is no promise. */
function after(answer: unknown, next: (answer: unknown) => unknown): unknown {
  return answer instanceof Promise ? answer.then(next) : next(answer);
}

async function readBody(request: Request): Promise<unknown> {
  return decode(Buffer.from(await request.arrayBuffer()));
}

function readApp(internal: Internal): AppId | undefined {
  const app = internal.get("app");
  if (app === undefined) return undefined;
  const at = app.lastIndexOf("@");
  return { name: app.slice(0, at), version: app.slice(at + 1) };
}

function requestFlow(request: Request, hasBody: boolean, answer: unknown): unknown {
  if (answer === undefined || answer === null) {
    if (!hasBody) return CONTINUE;
    return continueWith(untouched(request, "onRequest", "request"));
  }
  if (answer instanceof NativeResponse) return mark(answer, "respond");
  if (!(answer instanceof NativeRequest)) throw wrongAnswer("onRequest", "a Request, a Response", answer);
  const { method, url, headers, body } = answer;
  if (answer.bodyUsed || body?.locked) throw new TypeError("onRequest has returned a Request whose body was read");
  if (request.method === "HEAD" && body !== null) throw new TypeError("onRequest has returned a Request with a body in the place of a HEAD request");
  return replaceBy(method, url.split("#", 1)[0]!, headers, body, body === null && !hasBody);
}

function responseFlow(response: Response, hasBody: boolean, answer: unknown): unknown {
  if (answer === undefined || answer === null) {
    if (!hasBody) return CONTINUE;
    return continueWith(untouched(response, "onResponse", "response"));
  }
  if (!(answer instanceof NativeResponse)) throw wrongAnswer("onResponse", "a Response", answer);
  const empty = sourceOf(answer) === EMPTY || (!answer.bodyUsed && answer.body === null);
  // Most likely of the response as it was; the supervisor sees how long it is now.
  answer.headers.delete("content-length");
  return mark(answer, "respond", empty && !hasBody ? "keep" : "replace");
}

/** The body, if the hook has left it alone. */
function untouched(message: Request | Response, hook: string, name: string): ReadableStream {
  const { body } = message;
  if (message.bodyUsed || body === null || body.locked) {
    const made = name === "request" ? "Request(request, { body })" : "Response(body, response)";
    throw new TypeError(`${hook} has read the body and returned nothing: read ${name}.clone(), or return new ${made}`);
  }
  return body;
}

function wrongAnswer(hook: string, wanted: string, answer: unknown): TypeError {
  return new TypeError(`${hook} has returned ${Bun.inspect(answer, { depth: 0 }).slice(0, 100)}, which is neither ${wanted} nor nothing`);
}

/** What `fetch` has given: 404 means that it is not the plugin's. */
function served(answer: unknown): unknown {
  return answer instanceof NativeResponse ? mark(answer, answer.status === 404 ? "pass" : null) : answer;
}

function unmarked(answer: unknown): unknown {
  if (answer instanceof PreparedResponse) return withoutInternal(answer);
  return answer instanceof NativeResponse ? mark(answer, null) : answer;
}
