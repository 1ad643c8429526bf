/**
 * Replaces `globalThis.Response` by a function that makes the same native
 * objects and notes on each what its body was made of. So a buffered answer is
 * sent without asking for its stream, which costs as much as the rest of it.
 */
import { defineHidden, Existing, impersonate, NativeResponse } from "./natives.ts";

/** A body of which all bytes are in memory, though not as a string. */
export const BUFFERED = Symbol("buffered");
/** No body. */
export const EMPTY = Symbol("empty");

/** A string that was sent. The native body is still there, but a response is sent once. */
export const SENT = Symbol("sent");

/** What a response is known to be made of; undefined: a stream, or made by native code. */
export type Source = string | Blob | typeof BUFFERED | typeof EMPTY | typeof SENT | undefined;

class Noted extends Existing {
  #source: Source;

  constructor(response: object, source: Source) {
    super(response);
    this.#source = source;
  }

  static source(response: object): Source {
    return #source in response ? response.#source : undefined;
  }

  static sent(response: object): void {
    if (#source in response) response.#source = SENT;
  }
}

export function sourceOf(response: Response): Source {
  return Noted.source(response);
}

/** Notes that a response made of a string was sent. */
export function markSent(response: Response): void {
  Noted.sent(response);
}

function note(response: Response, body: unknown): void {
  let source: Source;
  if (typeof body === "string") source = body;
  else if (body == null) source = EMPTY;
  else if (body instanceof Blob) source = body;
  else if (ArrayBuffer.isView(body) || body instanceof ArrayBuffer || body instanceof URLSearchParams || body instanceof FormData) source = BUFFERED;
  else if (typeof body !== "object" && typeof body !== "function" && typeof body !== "symbol") source = String(body);
  else return;
  new Noted(response, source);
}

/** Whether a blob's bytes are in a file and not in memory. */
export function isFile(blob: Blob): boolean {
  const stat = blob.stat();
  // What comes of it is nobody's business here, a missing file least of all.
  stat?.catch(() => {});
  return stat !== undefined;
}

/** A response without a body. */
export function emptyResponse(init: ResponseInit): Response {
  const response = new NativeResponse(null, init);
  new Noted(response, EMPTY);
  return response;
}

/** Puts the replacement in place. */
export function installResponse(): void {
  function Response(body?: BodyInit | null, init?: ResponseInit): globalThis.Response {
    if (new.target === undefined) throw new TypeError("Class constructor Response cannot be invoked without 'new'");
    const response: globalThis.Response =
      new.target === (Response as unknown) ? new NativeResponse(body, init) : Reflect.construct(NativeResponse, [body, init], new.target);
    note(response, body);
    return response;
  }
  const { json, redirect } = NativeResponse;
  const { clone } = NativeResponse.prototype;
  impersonate(Response, NativeResponse);
  defineHidden(Response, "json", (...args: Parameters<typeof json>) => {
    const response = json.apply(NativeResponse, args);
    new Noted(response, BUFFERED);
    return response;
  });
  defineHidden(Response, "redirect", (...args: Parameters<typeof redirect>) => {
    const response = redirect.apply(NativeResponse, args);
    new Noted(response, EMPTY);
    return response;
  });
  NativeResponse.prototype.clone = function (this: globalThis.Response) {
    const copy = clone.call(this);
    const source = sourceOf(this);
    if (source !== undefined) new Noted(copy, source);
    return copy;
  };
  globalThis.Response = Response as unknown as typeof globalThis.Response;
}
