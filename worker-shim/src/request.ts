/**
 * The `Request` that an app gets. It is a real one whose headers and signal
 * are filled in when the app first asks for them: most handlers look at the
 * URL and little else, and an empty `Request` costs a fifth of a full one.
 */
import type { Exchange } from "./exchange.ts";
import { NativeRequest } from "./natives.ts";
import { readHeaders } from "./request-head.ts";

/** A class whose instances are objects that exist already: private fields can be put on them. */
class Existing {
  constructor(object: object) {
    return object;
  }
}

/** Marks a request with its exchange, unseen by the app. */
class Marked extends Existing {
  readonly #exchange: Exchange;
  #headersFilled = false;

  constructor(request: object, exchange: Exchange) {
    super(request);
    this.#exchange = exchange;
  }

  static exchange(request: object): Exchange | undefined {
    return #exchange in request ? request.#exchange : undefined;
  }

  static fill(request: object, headers: Headers): void {
    const marked = request as Marked;
    if (marked.#headersFilled) return;
    marked.#headersFilled = true;
    const exchange = marked.#exchange;
    readHeaders(exchange.headText, exchange.headersAt, exchange.headerCount, (name, value) => headers.append(name, value));
  }

  static filled(request: object): void {
    (request as Marked).#headersFilled = true;
  }
}

export class WorkerRequest extends NativeRequest {
  constructor(url: string, init: RequestInit | undefined, exchange: Exchange) {
    super(url, init);
    new Marked(this, exchange);
  }

  override get headers(): Headers {
    const headers = super.headers;
    Marked.fill(this, headers);
    return headers;
  }

  override get signal(): AbortSignal {
    return exchangeOf(this)!.signal;
  }

  /** The native method copies what is native; the copy then follows the same signal. */
  override clone(): this {
    void this.headers;
    const copy = super.clone();
    Object.setPrototypeOf(copy, Object.getPrototypeOf(this));
    new Marked(copy, exchangeOf(this)!);
    Marked.filled(copy);
    return copy as this;
  }

  /** The native methods read the native content-type. */
  override formData(): Promise<FormData> {
    void this.headers;
    return super.formData();
  }

  override blob(): Promise<Blob> {
    void this.headers;
    return super.blob();
  }
}

/** The exchange of a request that came over the link; undefined for one that the app has made. */
export function exchangeOf(request: object): Exchange | undefined {
  return Marked.exchange(request);
}

/** Makes sure that native code which is about to read the request finds its headers. */
export function complete(request: Request): void {
  void request.headers;
}
