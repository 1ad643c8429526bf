/**
 * The `Request` that an app gets. It is a native one whose headers and signal
 * are filled in when the app first asks for them: most handlers look at the
 * URL and little else, and an empty `Request` costs a fifth of a full one.
 */
import type { Exchange } from "./exchange.ts";
import { defineHidden, Existing, impersonate, nativeFetch, NativeRequest } from "./natives.ts";
import { readHeaders } from "./request-head.ts";

/** Marks a request with its exchange. */
class Marked extends Existing {
  readonly #exchange: Exchange;
  #headersFilled: boolean;

  constructor(request: object, exchange: Exchange, headersFilled: boolean) {
    super(request);
    this.#exchange = exchange;
    this.#headersFilled = headersFilled;
  }

  static exchange(request: object): Exchange | undefined {
    return #exchange in request ? request.#exchange : undefined;
  }

  /** Puts the headers that came over the link into the native ones, once. */
  static fill(request: object, headers: Headers): void {
    if (!(#exchange in request) || request.#headersFilled) return;
    request.#headersFilled = true;
    const { headText, headersAt, headerCount } = request.#exchange;
    readHeaders(headText, headersAt, headerCount, headers);
  }
}

export class WorkerRequest extends NativeRequest {
  constructor(url: string, init: RequestInit | undefined, exchange: Exchange) {
    super(url, init);
    new Marked(this, exchange, false);
  }

  override get headers(): Headers {
    const headers = super.headers;
    Marked.fill(this, headers);
    return headers;
  }

  override get signal(): AbortSignal {
    return exchangeOf(this)!.signal;
  }

  /** The native method copies what is native; the copy follows the same exchange. */
  override clone(): this {
    void this.headers;
    const copy = super.clone();
    Object.setPrototypeOf(copy, Object.getPrototypeOf(this));
    new Marked(copy, exchangeOf(this)!, true);
    return copy as this;
  }

  // These read the native content-type.
  override formData(): Promise<FormData> {
    void this.headers;
    return super.formData();
  }

  override async blob(): Promise<Blob> {
    const type = this.headers.get("content-type") ?? "";
    const blob = await super.blob();
    // A streamed body loses its type on the way.
    return blob.type === "" && type !== "" ? new Blob([blob], { type }) : blob;
  }

  /** `console.log(request)` shows what it shows of a native one. */
  [Symbol.for("nodejs.util.inspect.custom")](): Request {
    return new NativeRequest(this.url, { method: this.method, headers: this.headers });
  }
}
defineHidden(WorkerRequest.prototype, "constructor", NativeRequest);

/** A request that a route has matched: Bun's `BunRequest`. */
export class RouteRequest extends WorkerRequest {
  constructor(url: string, init: RequestInit | undefined, exchange: Exchange) {
    super(url, init, exchange);
  }

  get params(): Record<string, string> {
    return exchangeOf(this)!.params;
  }

  set params(params: Record<string, string>) {
    exchangeOf(this)!.params = params;
  }

  /** Changes to it become `set-cookie` headers of the response. */
  get cookies(): Bun.CookieMap {
    return (exchangeOf(this)!.cookies ??= new Bun.CookieMap(this.headers.get("cookie") ?? ""));
  }
}
defineHidden(RouteRequest.prototype, "constructor", NativeRequest);

/** The exchange of a request that came over the link, or of a clone of one. */
export function exchangeOf(request: object): Exchange | undefined {
  return Marked.exchange(request);
}

/** False where a request that came over the link has no such header, found without making `Headers` of it. */
export function mentions(request: object, name: string): boolean {
  return exchangeOf(request)?.headText.includes(name) ?? true;
}

/**
 * `new Request(request)` and `fetch(request)` read the native headers and signal of their
 * argument, so both globals are replaced by functions that fill them in first.
 */
export function installRequest(): void {
  function Request(input: globalThis.Request | string | URL, init?: RequestInit): globalThis.Request {
    if (new.target === undefined) throw new TypeError("Class constructor Request cannot be invoked without 'new'");
    return Reflect.construct(NativeRequest, [input, filled(input, init)], new.target);
  }
  impersonate(Request, NativeRequest);
  globalThis.Request = Request as unknown as typeof globalThis.Request;
  defineHidden(WorkerRequest.prototype, "constructor", Request);
  defineHidden(RouteRequest.prototype, "constructor", Request);

  function fetch(input: globalThis.Request | string | URL, init?: RequestInit): Promise<globalThis.Response> {
    return nativeFetch(input, filled(input, init));
  }
  impersonate(fetch, nativeFetch);
  globalThis.fetch = fetch as typeof globalThis.fetch;
}

/** Fills in what native code is about to read of `input` and `init`; returns the init to hand on. */
function filled(input: unknown, init: RequestInit | undefined): RequestInit | undefined {
  if (init instanceof NativeRequest) void init.headers;
  if (!(input instanceof NativeRequest) || exchangeOf(input) === undefined) return init;
  void input.headers;
  if (init?.signal !== undefined) return init;
  return { ...init, signal: input.signal };
}
