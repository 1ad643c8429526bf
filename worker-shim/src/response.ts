/**
 * Replaces `globalThis.Response` by a function that makes the same native
 * objects and notes on each what its body was made of. So a buffered answer is
 * sent without asking for its stream, which costs as much as the rest of it.
 */
import { NativeResponse } from "./natives.ts";

/** A body of which all bytes are in memory, though not as a string. */
export const BUFFERED = Symbol("buffered");
/** No body. */
export const EMPTY = Symbol("empty");

/** What a response is known to be made of; undefined: a stream, or made by native code. */
export type Source = string | Blob | typeof BUFFERED | typeof EMPTY | undefined;

class Existing {
  constructor(object: object) {
    return object;
  }
}

class Noted extends Existing {
  readonly #source: Source;

  constructor(response: object, source: Source) {
    super(response);
    this.#source = source;
  }

  static source(response: object): Source {
    return #source in response ? response.#source : undefined;
  }
}

export function sourceOf(response: Response): Source {
  return Noted.source(response);
}

function note(response: Response, body: unknown): void {
  let source: Source;
  if (typeof body === "string") source = body;
  else if (body == null) source = EMPTY;
  else if (body instanceof Blob) source = body;
  else if (ArrayBuffer.isView(body) || body instanceof ArrayBuffer || body instanceof URLSearchParams || body instanceof FormData) source = BUFFERED;
  else return;
  new Noted(response, source);
}

/** Puts the replacement in place. */
export function installResponse(): void {
  function Response(this: unknown, body?: BodyInit | null, init?: ResponseInit): globalThis.Response {
    if (new.target === undefined) throw new TypeError("Class constructor Response cannot be invoked without 'new'");
    const response: globalThis.Response =
      new.target === (Response as unknown) ? new NativeResponse(body, init) : Reflect.construct(NativeResponse, [body, init], new.target);
    note(response, body);
    return response;
  }
  const json = NativeResponse.json;
  const redirect = NativeResponse.redirect;
  const clone = NativeResponse.prototype.clone;
  Object.setPrototypeOf(Response, NativeResponse);
  define(Response, "length", NativeResponse.length);
  define(Response, "prototype", NativeResponse.prototype);
  define(Response, "json", function (this: unknown, ...args: Parameters<typeof json>) {
    const response = json.apply(NativeResponse, args);
    new Noted(response, BUFFERED);
    return response;
  });
  define(Response, "redirect", function (this: unknown, ...args: Parameters<typeof redirect>) {
    const response = redirect.apply(NativeResponse, args);
    new Noted(response, EMPTY);
    return response;
  });
  NativeResponse.prototype.clone = function (this: globalThis.Response) {
    const copy = clone.call(this);
    const source = sourceOf(this);
    if (source !== undefined) new Noted(copy, source);
    return copy;
  } as typeof clone;
  NativeResponse.prototype.constructor = Response;
  globalThis.Response = Response as unknown as typeof globalThis.Response;
}

function define(target: object, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, writable: name !== "prototype", configurable: name !== "prototype", enumerable: false });
}
