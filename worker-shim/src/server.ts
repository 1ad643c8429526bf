/**
 * The second argument of `fetch`: what Bun's `Server` offers, as far as it makes
 * sense where the supervisor does the listening.
 */
import type { Served, UpgradeOptions } from "./app.ts";
import type { Assignment } from "./assign.ts";
import type { Dispatcher } from "./serve.ts";
import { NativeRequest } from "./natives.ts";
import { exchangeOf } from "./request.ts";

export class WorkerServer {
  readonly id = "";
  readonly development: boolean;
  readonly #app: Served;
  readonly #dispatcher: Dispatcher;
  readonly #origin: string;
  readonly #mount: string;

  constructor(app: Served, dispatcher: Dispatcher, { origin, mount, dev }: Assignment) {
    this.#app = app;
    this.#dispatcher = dispatcher;
    this.#origin = origin;
    this.#mount = mount;
    this.development = dev;
  }

  /** Where clients reach the app, its mount path included. */
  get url(): URL {
    const base = this.#origin === "" ? "http://localhost" : this.#origin;
    return new URL(`${base}${this.#mount.replace(/\/$/, "")}/`);
  }

  get protocol(): "http" | "https" {
    return this.#origin.startsWith("https:") ? "https" : "http";
  }

  /** Undefined, as the port, where the supervisor listens on a Unix socket. */
  get hostname(): string | undefined {
    return this.#origin === "" ? undefined : this.url.hostname;
  }

  get port(): number | undefined {
    if (this.#origin === "") return undefined;
    const { port } = this.url;
    return port === "" ? (this.protocol === "https" ? 443 : 80) : Number(port);
  }

  get address(): { address: string; family: string; port: number } | null {
    const { hostname, port } = this;
    if (hostname === undefined || port === undefined) return null;
    const address = hostname.replace(/^\[|\]$/g, "");
    return { address, family: address.includes(":") ? "IPv6" : "IPv4", port };
  }

  /** Requests that this worker has and has not answered to the end. */
  get pendingRequests(): number {
    return this.#dispatcher.pending;
  }

  get pendingWebSockets(): number {
    return this.#app.sockets;
  }

  /** The client, as the supervisor believes it to be; null for a request that did not come from one. */
  requestIP(request: Request): { address: string; family: "IPv4" | "IPv6"; port: number } | null {
    const exchange = exchangeOf(request);
    if (exchange === undefined || exchange.peerAddress === "") return null;
    return { address: exchange.peerAddress, family: exchange.peerAddress.includes(":") ? "IPv6" : "IPv4", port: exchange.peerPort };
  }

  /** Checked and ignored: the limits of a connection are the supervisor's (`timeout`, `streamTimeout` in the manifest). */
  timeout(request: Request, seconds: number): void {
    if (!(request instanceof NativeRequest)) throw new TypeError("timeout() requires a Request object");
    if (typeof seconds !== "number") throw new TypeError("timeout() requires a number");
  }

  /** Calls the app's `fetch` directly. A path is taken relative to {@link url}'s origin. */
  async fetch(input: string | URL | Request, init?: RequestInit): Promise<Response> {
    const request = input instanceof NativeRequest && init === undefined ? input : new Request(typeof input === "string" ? new URL(input, this.url) : input, init);
    return (await this.#app.fetch(request)) as Response;
  }

  /** Replaces handlers from the next request on. */
  reload(options: Record<string, unknown>): this {
    this.#app.reload(options);
    return this;
  }

  /** Makes a WebSocket of a request; the handler then returns nothing. False: the client did not ask for one, or it cannot be had. Apps
   * have none in this version. */
  upgrade(request: Request, options?: UpgradeOptions): boolean {
    return this.#app.upgrade(request, options ?? {}, this.#dispatcher);
  }

  /** Sends to all WebSockets that have subscribed. */
  publish(topic: string, data: string | ArrayBuffer | ArrayBufferView, _compress?: boolean): number {
    return this.#app.publish(topic, data);
  }

  subscriberCount(topic: string): number {
    return this.#app.subscriberCount(topic);
  }

  /** No effect: when a worker ends is for the supervisor to say. */
  async stop(_closeActiveConnections?: boolean): Promise<void> {}

  closeIdleConnections(): void {}

  ref(): void {}

  unref(): void {}

  [Symbol.dispose](): void {}
}
