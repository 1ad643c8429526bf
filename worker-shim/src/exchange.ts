/** One request and its response: what the shim knows of it beside the app's objects. */
import { CancelReason } from "./frames.ts";

const NO_PARAMS: Record<string, string> = Object.freeze({});

/** What takes the request's body: a stream, or a WebSocket. */
export interface Incoming {
  /** Takes the next bytes; `last` with the end of the body. */
  push(bytes: Uint8Array, last: boolean): void;
  /** The rest will not come. */
  fail(error: unknown): void;
}

/** What sends the response's body. */
export interface Outgoing {
  /** The supervisor grants `bytes` more. */
  grant(bytes: number): void;
  /** The exchange is over. */
  cancel(reason: unknown): void;
}

export class Exchange {
  /** HEAD: the response has no body, whatever the app says. */
  readonly isHead: boolean;
  /** The request body, while it still comes. */
  bodyIn: Incoming | null = null;
  /** The response body, while it still goes. */
  bodyOut: Outgoing | null = null;
  /** The end of the response was sent, or a CANCEL has come: nothing more is sent on this stream. */
  ended = false;
  /** In the dispatcher's table of open streams. */
  open = false;
  /** The supervisor offers a WebSocket. */
  canUpgrade = false;
  /** It has become one: whatever the handler returns is no answer any more. */
  upgraded = false;
  /** What the route has matched. */
  params: Record<string, string> = NO_PARAMS;
  /** Made when the app first asks. */
  cookies: Bun.CookieMap | null = null;
  #controller: AbortController | null = null;
  #abortReason: DOMException | null = null;

  constructor(
    readonly stream: number,
    readonly method: string,
    /** Headers that the app has not asked for yet; see `request-head.ts`. */
    readonly headText: string,
    readonly headersAt: number,
    readonly headerCount: number,
    readonly peerAddress: string,
    readonly peerPort: number,
  ) {
    this.isHead = method === "HEAD";
  }

  /** `Request.signal`, made when the app first asks: few do, and a controller is a third of a request's cost. */
  get signal(): AbortSignal {
    if (this.#controller === null) {
      this.#controller = new AbortController();
      if (this.#abortReason !== null) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  /** The supervisor does not want this exchange any longer. */
  abort(reason: number): void {
    this.ended = true;
    const error = abortError(reason);
    this.#abortReason = error;
    this.bodyIn?.fail(error);
    this.bodyOut?.cancel(error);
    this.#controller?.abort(error);
  }
}

/** The reason of a CANCEL as the app sees it. */
function abortError(reason: number): DOMException {
  switch (reason) {
    case CancelReason.Timeout:
      return new DOMException("The request took longer than the app's timeout", "TimeoutError");
    case CancelReason.BodyFailed:
      return new DOMException("The request body ended before it was complete", "AbortError");
    case CancelReason.ShuttingDown:
      return new DOMException("The server is shutting down", "AbortError");
    default:
      return new DOMException("The client has closed the connection", "AbortError");
  }
}
