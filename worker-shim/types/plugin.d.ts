/**
 * A script plugin of Buntime: the default export of its `plugin.ts`.
 *
 *     import type { Plugin } from "./plugin.d.ts";
 *     export default {
 *       onRequest(request) {
 *         if (!request.headers.has("authorization")) return new Response("Who are you?", { status: 401 });
 *       },
 *     } satisfies Plugin;
 *
 * It runs in a process of its own, which is started again when it ends. Which of its hooks are called, and for which
 * requests, its `manifest.yaml` says under `hooks`.
 */
export interface Plugin {
  /**
   * Called once in each process, before any other hook. The plugin takes part when it has returned, and stays out where it
   * throws or takes longer than 30 seconds.
   */
  onInit?(context: Context): void | Promise<void>;
  /**
   * A request in one of the phases that the manifest names. What it returns says how to go on:
   *
   * - nothing: with the request as it was. Changes to `request` itself count for nothing.
   * - a `Request`: with this one in its place. Without a body it keeps the one that there was, unless the manifest asks for bodies.
   * - a `Response`: not at all; this is the answer.
   *
   * Throwing, or taking longer than `hookTimeout`, is answered with 503, unless the manifest says `failOpen`.
   * The request has its body only where the manifest asks for it. Who reads it and returns nothing has to read a `request.clone()`.
   *
   * @param app the version that the request is for, where that is known
   */
  onRequest?(request: Request, app: App | undefined, info: HookInfo): Hooked<Request | Response>;
  /**
   * An answer of an app or a plugin. A `Response` that is returned goes out in its place; one without a body keeps the body that
   * there was, unless the manifest asks for bodies. Throwing leaves the answer as it is; it is
   * 502 where much of its body has been read by then.
   *
   * @param response has its body only where the manifest asks for it
   * @param request what is answered, without its body
   */
  onResponse?(response: Response, app: App | undefined, request: Request): Hooked<Response>;
  /** A worker of an app is ready. Nothing waits for this to return. */
  onWorkerSpawn?(worker: WorkerInfo, app: App): void | Promise<void>;
  /** A worker of an app has ended. Nothing waits for this to return. */
  onWorkerTerminate?(worker: WorkerInfo, app: App, reason: string): void | Promise<void>;
  /** The server listens; called at once in a process that is started later. */
  onServerStart?(server: ServerInfo): void | Promise<void>;
  /** The process is about to end: within ten seconds. */
  onShutdown?(): void | Promise<void>;
  /** Requests under any path, before all routes and apps, that the manifest's filter matches. Status 404 means: not mine, ask the next. */
  fetch?(request: Request, server: PluginServer): Answered;
  /** Routes as `Bun.serve` has them, mounted at the manifest's `base`, which their paths do not repeat. */
  routes?: Record<string, Route>;
  /** What happens on the WebSockets that the plugin has opened with `server.upgrade`, and on no others. */
  websocket?: WebSocketHandlers<any>;
  /** What other plugins may call, by the names of the services. */
  services?: Record<string, ServiceMethods>;
}

/** What a hook returns: an answer, or nothing, at once or later. */
export type Hooked<Answer> = Answer | null | undefined | void | Promise<Answer | null | undefined | void>;

/** An answer; nothing where `server.upgrade` has made a WebSocket of the request. */
export type Answered = Response | undefined | void | Promise<Response | undefined | void>;

/** A version of an app. */
export interface App {
  /** As in `shop` or `@team/shop`. */
  name: string;
  /** As in `1.4.2`. */
  version: string;
}

/** The steps that each request takes, in this order. */
export type Phase = "resolve" | "preflight" | "identify" | "limit" | "permit" | "serve";

export interface HookInfo {
  phase: Phase;
}

/** A process that runs an app. */
export interface WorkerInfo {
  /** As in `w12`. */
  id: string;
  pid?: number;
  app?: string;
  version?: string;
  /** `creating`, `ready`, `active`, `idle` or `terminated`. */
  state?: string;
}

export interface ServerInfo {
  /** Where clients reach the server, as in `http://127.0.0.1:8000`. Empty where it listens on a Unix socket alone. */
  url: string;
  /** The path of the management API, as in `/api`. */
  apiBase: string;
}

/** What is known of the server beside a request: some of what Bun's `Server` has. */
export interface PluginServer {
  /** Where clients reach the plugin, its base included. */
  readonly url: URL;
  /** The client's address; null where there is none. */
  requestIP(request: Request): { address: string; family: "IPv4" | "IPv6"; port: number } | null;
  /**
   * Makes a WebSocket of a request that asks for one; the handler then returns nothing. False: it does not ask for one, or a page of
   * another site asks, or its connection cannot be one.
   *
   * @param options.data what the socket has as its `data`
   * @param options.headers of the answer, such as `sec-websocket-protocol`
   */
  upgrade(request: Request, options?: { data?: unknown; headers?: HeadersInit }): boolean;
  /** Sends to all sockets of this process that have subscribed. Returns the bytes that each gets, 0 where there is none. */
  publish(topic: string, data: Bytes | string): number;
  subscriberCount(topic: string): number;
  /** Sockets that are open. */
  readonly pendingWebSockets: number;
  /**
   * Who sends a request: the owner of a key of the server's, or whoever may open its admin socket. Null where the request has no
   * such key, or one that is unknown, revoked or expired. The key itself is taken out of the request.
   *
   *     const caller = server.caller(request);
   *     if (caller === null) return new Response("A key is needed.", { status: 401 });
   *     if (!caller.may("apps:read", app)) return new Response("The key does not permit it.", { status: 403 });
   *
   * Only the requests that `fetch` and `routes` get have one, and their clones.
   */
  caller(request: Request): Caller | null;
}

/** Somebody whom the server knows, with the rights that they had when the request came. */
export interface Caller {
  /** As the audit log names them: the id of a key, `root key` or `admin socket`. */
  readonly name: string;
  /** Whether they have a permission of the management API, such as `apps:read`; with `app`, for this app. */
  may(permission: string, app?: string): boolean;
  /** Whether an app is in their namespaces, such as `shop` or `@team/shop`. */
  sees(app: string): boolean;
}

export type Bytes = ArrayBuffer | SharedArrayBuffer | ArrayBufferView;

/** What happens on sockets. What a handler throws is logged, and changes nothing. */
export interface WebSocketHandlers<Data = unknown> {
  open?(socket: Socket<Data>): void | Promise<void>;
  /** Text is a string, all else bytes as the socket's `binaryType` says. */
  message?(socket: Socket<Data>, message: any): void | Promise<void>;
  /**
   * It is closed, by either side. Code 1005: the client has said none; 1006: the connection broke; 1001: the server is shutting down; 1012:
   * the plugin is replaced.
   */
  close?(socket: Socket<Data>, code: number, reason: string): void | Promise<void>;
  /** What `send` had to let wait has gone. */
  drain?(socket: Socket<Data>): void | Promise<void>;
  /** The client has sent one; it was answered. */
  ping?(socket: Socket<Data>, data: any): void | Promise<void>;
  pong?(socket: Socket<Data>, data: any): void | Promise<void>;
  /** Bytes of the largest message that is taken; a larger one closes the socket with 1009. 16 MiB, which is also the most. */
  maxPayloadLength?: number;
  /** Seconds for which a client may be silent, pings answered, before its socket is cut off. 120; 0: for ever. */
  idleTimeout?: number;
  /** Bytes that may wait for a client; what would be more is dropped. 16 MiB. */
  backpressureLimit?: number;
  /** Cuts the socket off instead. */
  closeOnBackpressureLimit?: boolean;
  /** A socket's own `publish` reaches it too. */
  publishToSelf?: boolean;
}

/** An open WebSocket: what Bun's `ServerWebSocket` offers. Nothing is compressed. */
export interface Socket<Data = unknown> {
  /** What `server.upgrade` was given. */
  data: Data;
  /** 1: open; 3: closed. */
  readonly readyState: number;
  readonly remoteAddress: string;
  binaryType: "nodebuffer" | "arraybuffer" | "uint8array";
  /** Returns the bytes sent; -1: they wait for the client (see `drain`); 0: they were dropped, as the socket is closed or too many wait. */
  send(data: Bytes | string): number;
  sendText(data: string): number;
  sendBinary(data: Bytes): number;
  /** At most 125 bytes. */
  ping(data?: Bytes | string): number;
  pong(data?: Bytes | string): number;
  /** Closes it when what waits has gone. */
  close(code?: number, reason?: string): void;
  /** Cuts it off. */
  terminate(): void;
  /** Bytes that wait for the client. */
  getBufferedAmount(): number;
  cork<T>(callback: (socket: this) => T): T;
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  isSubscribed(topic: string): boolean;
  readonly subscriptions: string[];
  /** Sends to all who have subscribed but this one. */
  publish(topic: string, data: Bytes | string): number;
  publishText(topic: string, data: string): number;
  publishBinary(topic: string, data: Bytes): number;
}

export type RouteHandler = (request: RouteRequest, server: PluginServer) => Answered;
/** One handler, one for each method in capitals, or an answer that is always the same. `false`: none. */
export type Route = RouteHandler | Response | Blob | false | { [method: string]: RouteHandler | Response | Blob | false };

/** A request that a route has matched. */
export interface RouteRequest extends Request {
  /** What stands in the place of `:name` in the route's path. */
  readonly params: Record<string, string>;
}

/**
 * Functions that other plugins may call. Arguments and results are copied: null, booleans, numbers, bigints of 64 bits, strings,
 * bytes, arrays and plain objects. A `Date` arrives as its text.
 */
export type ServiceMethods = Record<string, (...args: any[]) => unknown>;

/** A service of the server or of another plugin: each method is a call to it. */
export type Service = Record<string, (...args: unknown[]) => Promise<any>>;

/** What the plugin may use, from `onInit` on for as long as its process lives. */
export interface Context {
  /** Its name and version in the manifest. */
  readonly name: string;
  readonly version: string;
  /** Where its routes are mounted, as in `/shop`. */
  readonly base: string | null;
  /** Its settings: those of the manifest, checked, with their defaults. */
  readonly config: Record<string, any>;
  /** A directory of its own, which is kept. */
  readonly stateDir: string;
  /** Null until the server listens. */
  readonly server: ServerInfo | null;
  /** Lines in the server's log. What is printed is logged as well. */
  readonly log: Log;
  /**
   * A service: `core:…`, or that of a plugin which the manifest names as a dependency. Whether it is there shows when it is called.
   *
   *     const hits = await context.get("keyval").increment("hits");
   */
  get<S = Service>(service: string): S;
  readonly pool: {
    workers(): Promise<WorkerInfo[]>;
    /** Replaces the workers of an app, of one version or of all; returns how many. */
    restart(app: string, version?: string): Promise<number>;
  };
  readonly apps: {
    list(): Promise<App[]>;
  };
  readonly workerEnv: {
    /** A variable for all workers that are started from now on; null takes it back. The manifest has to name it under `workerEnv`. */
    set(name: string, value: string | null): Promise<void>;
  };
}

export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}
