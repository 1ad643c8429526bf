/** The path of a request: from its frame to the app's handler, and from the handler's answer to frames. */
import type { Stats } from "node:fs";
import type { Served } from "./app.ts";
import { BodyIn } from "./body-in.ts";
import { BodyOut } from "./body-out.ts";
import { describeError } from "./errors.ts";
import { Exchange } from "./exchange.ts";
import { FLAG_FIN, FrameType, Violation, WINDOW } from "./frames.ts";
import type { Link } from "./link.ts";
import { decodeNumber } from "./msgpack.ts";
import { NativeResponse } from "./natives.ts";
import type { ProgressPage } from "./progress-page.ts";
import { rangeFor } from "./range.ts";
import { RouteRequest, WorkerRequest } from "./request.ts";
import { head, readRequestHead } from "./request-head.ts";
import { type HeaderTable, headersOf, type InlineBody, MAX_SMALL, NO_LENGTH, OCTETS, type ResponseHead, TEXT, writeResponse } from "./response-head.ts";
import { BUFFERED, EMPTY, emptyResponse, markSent, SENT, sourceOf } from "./response.ts";
import { PreparedResponse } from "./static-routes.ts";
import { type Listener, SocketStream } from "./websocket.ts";

const USED = "Response body already used. A Response body can only be sent once; create a new Response for each request.";
const LOCKED = "Stream already used, please create a new one";
const HEAD_INIT: RequestInit = { method: "HEAD" };
/** Marks a request that may become a WebSocket. */
const UPGRADE = "x-buntime-upgrade";
const SWITCHING: ResponseHead = { status: 200, statusText: "" };
const BAD_REQUEST: ResponseHead = { status: 400, statusText: "" };
const NO_HEADERS: HeaderTable = {};
const NO_BYTES = new Uint8Array(0);

export class Dispatcher {
  /** Streams that frames may still come for. A request that is answered at once is never among them. */
  readonly #open = new Map<number, Exchange>();
  #lastStream = 0;
  /** Requests that were handed to the app and are not answered to the end. */
  pending = 0;
  readonly #done = (exchange: Exchange) => this.#end(exchange);

  constructor(
    private readonly link: Link,
    private readonly page: ProgressPage,
    private readonly app: Served,
  ) {}

  /** A request was cancelled before it could be handed over: what else comes for it is late. */
  passOver(stream: number): void {
    this.#lastStream = Math.max(this.#lastStream, stream);
  }

  /** A REQUEST frame. */
  request(stream: number, bytes: Buffer, start: number, end: number): void {
    if (stream <= this.#lastStream) throw new Violation(`stream ${stream} was used before`);
    this.#lastStream = stream;
    readRequestHead(bytes, start, end);
    const { method, url } = head;
    const bodyStart = start + head.length;
    if (end - bodyStart > WINDOW) throw new Violation(`stream ${stream} has more body bytes than were granted`);
    const exchange = new Exchange(stream, method, head.text, head.headersAt, head.headerCount, head.peerAddress, head.peerPort);
    this.pending++;
    const fin = (head.flags & FLAG_FIN) !== 0;
    const init = method === "GET" && fin ? undefined : this.#init(exchange, method, fin, bytes, bodyStart, end);
    const match = this.app.hasRoutes ? this.app.route(method, url) : undefined;
    let request: Request;
    try {
      request = match === undefined ? new WorkerRequest(url, init, exchange) : new RouteRequest(url, init, exchange);
      // `Request` takes hosts in Punycode unseen, `URL` does not: `new URL(request.url)` would fail in the app.
      if (url.includes("--") && !URL.canParse(url)) throw new TypeError("Invalid URL");
    } catch {
      // A URL that HTTP lets through and that is none, such as the host `xn--a`: the client's fault, not the app's.
      this.#sendBytes(exchange, BAD_REQUEST, NO_HEADERS, TEXT, Buffer.from("Bad Request"));
      return;
    }
    let answer: unknown;
    try {
      this.page.started(stream);
      if (match === undefined) answer = this.app.fetch(request);
      else {
        exchange.params = match.params;
        answer = this.app.handle(match.handler, request);
      }
    } catch (error) {
      this.#failed(exchange, error);
      return;
    }
    if (answer instanceof Promise) {
      if (Bun.peek.status(answer) !== "fulfilled") {
        this.#keep(exchange);
        void this.#answerLater(exchange, answer);
        return;
      }
      answer = Bun.peek(answer);
    }
    this.#answer(exchange, answer);
  }

  /** BODY, END, CREDIT and CANCEL. */
  streamFrame(type: number, stream: number, bytes: Buffer, start: number, end: number): void {
    const exchange = this.#open.get(stream);
    if (exchange === undefined) {
      if (stream > this.#lastStream) throw new Violation(`a frame for stream ${stream}, which was never used`);
      return;
    }
    this.link.awaitJobs();
    switch (type) {
      case FrameType.Body:
      case FrameType.End:
        if (exchange.bodyIn === null) throw new Violation(`stream ${stream} has body bytes after their end`);
        exchange.bodyIn.push(ownBytes(bytes, start, end), type === FrameType.End);
        break;
      case FrameType.Credit:
        exchange.bodyOut?.grant(bytes.readUInt32BE(start));
        break;
      case FrameType.Cancel:
        this.#cancelled(exchange, decodeNumber(bytes, start, end));
        break;
    }
  }

  /** What `new Request` is told beside the URL. */
  #init(exchange: Exchange, method: string, fin: boolean, bytes: Buffer, bodyStart: number, end: number): RequestInit | undefined {
    const bodyless = method === "GET" || method === "HEAD";
    const init = method === "HEAD" ? HEAD_INIT : method === "GET" ? undefined : { method };
    if (fin) {
      if (bodyless || bodyStart === end) return init;
      // The copy that `new Request` makes is the only one.
      return { method, body: bytes.subarray(bodyStart, end) as Buffer<ArrayBuffer> };
    }
    // It may become a WebSocket: until then nothing comes.
    if (bodyless && this.app.takesSockets && exchange.headText.includes(UPGRADE)) return init;
    const bodyIn = (exchange.bodyIn = new BodyIn(this.link, exchange.stream));
    if (bodyStart < end) bodyIn.push(ownBytes(bytes, bodyStart, end), false);
    if (bodyless) {
      bodyIn.drop();
      return init;
    }
    return { method, body: bodyIn.stream };
  }

  async #answerLater(exchange: Exchange, promise: Promise<unknown>): Promise<void> {
    let answer: unknown;
    try {
      answer = await promise;
    } catch (error) {
      this.#failed(exchange, error);
      return;
    }
    this.#answer(exchange, answer);
  }

  /** Makes a WebSocket of an exchange that is not answered yet; `headers` go to the client. */
  upgrade(exchange: Exchange, headers: HeaderTable, listener: Listener): SocketStream {
    exchange.canUpgrade = false;
    writeResponse(this.link, exchange, SWITCHING, headers, null, NO_LENGTH, false, null);
    this.#keep(exchange);
    exchange.upgraded = true;
    const stream = new SocketStream(this.link, exchange, listener, this.#done);
    exchange.bodyIn = exchange.bodyOut = stream;
    return stream;
  }

  /** Sends what a handler has answered. */
  #answer(exchange: Exchange, answer: unknown): void {
    if (exchange.ended || exchange.upgraded) {
      discard(answer);
      return;
    }
    try {
      this.#respond(exchange, answer);
    } catch (error) {
      this.#failed(exchange, error);
    }
  }

  /** The app threw, or gave what cannot be sent: its `error` handler may still answer. */
  #failed(exchange: Exchange, error: unknown): void {
    if (exchange.upgraded) console.error(error);
    if (exchange.ended || exchange.upgraded) return;
    let answer: unknown;
    try {
      answer = this.app.error(error);
      if (answer instanceof Promise) {
        this.#keep(exchange);
        void this.#errorLater(exchange, error, answer);
        return;
      }
      if (answer instanceof NativeResponse) {
        this.#respond(exchange, answer);
        return;
      }
    } catch (second) {
      error = second;
    }
    this.#sendError(exchange, error);
  }

  async #errorLater(exchange: Exchange, error: unknown, promise: Promise<unknown>): Promise<void> {
    try {
      const answer = await promise;
      if (exchange.ended) return;
      if (answer instanceof NativeResponse) {
        this.#respond(exchange, answer);
        return;
      }
    } catch (second) {
      error = second;
    }
    this.#sendError(exchange, error);
  }

  #sendError(exchange: Exchange, error: unknown): void {
    if (exchange.ended) return;
    this.link.control(FrameType.Error, exchange.stream, describeError(error));
    this.#end(exchange);
  }

  /** Throws before anything was written if the answer cannot be sent. */
  #respond(exchange: Exchange, answer: unknown): void {
    if (answer instanceof PreparedResponse) {
      this.#sendBytes(exchange, answer, answer.headers, null, answer.body);
      return;
    }
    if (!(answer instanceof NativeResponse)) {
      console.error(`error: Expected a Response object, but received '${Bun.inspect(answer, { depth: 0 })}'`);
      answer = emptyResponse({ status: 204 });
    }
    const response = answer as Response;
    const { status } = response;
    if (status < 200) throw new RangeError(`Cannot send a Response with status ${status}: it must be between 200 and 599`);
    const source = sourceOf(response);
    if (source === SENT || response.bodyUsed) throw usedError(USED);
    // Before the body is touched: reading it can drop the content-type that goes with it.
    const headers = headersOf(response);
    const { link } = this;
    const { isHead } = exchange;
    if (source === EMPTY) {
      writeResponse(link, exchange, response, headers, null, 0, true, null);
      this.#end(exchange);
    } else if (status === 204 || status === 304) {
      writeResponse(link, exchange, response, headers, null, NO_LENGTH, true, null);
      discard(response);
      this.#end(exchange);
    } else if (typeof source === "string") {
      markSent(response);
      if (source.length <= MAX_SMALL && !isHead) {
        writeResponse(link, exchange, response, headers, source === "" ? null : TEXT, source.length, true, source);
        this.#end(exchange);
      } else {
        this.#sendBytes(exchange, response, headers, TEXT, Buffer.from(source));
      }
    } else if (source === BUFFERED) {
      this.#sendBytes(exchange, response, headers, OCTETS, inMemory(response));
    } else if (source !== undefined) {
      this.#sendBlob(exchange, response, headers, source);
    } else {
      this.#sendStream(exchange, response, headers, declaredLength(headers));
    }
  }

  #sendBytes(exchange: Exchange, response: ResponseHead, headers: HeaderTable, type: string | null, body: Uint8Array): void {
    const { length } = body;
    const fits = length <= MAX_SMALL || (length <= WINDOW && this.link.hasRoom());
    const inline: InlineBody = fits && !exchange.isHead ? body : null;
    const fin = inline !== null || exchange.isHead;
    writeResponse(this.link, exchange, response, headers, length === 0 ? null : type, length, fin, inline);
    if (fin) {
      this.#end(exchange);
      return;
    }
    this.#keep(exchange);
    const bodyOut = (exchange.bodyOut = new BodyOut(this.link, exchange, length, this.#done));
    bodyOut.sendBytes(body);
  }

  #sendBlob(exchange: Exchange, response: Response, headers: HeaderTable, blob: Blob): void {
    // A file is stat'ed later; what is in memory has nothing to stat.
    const stat = blob.stat();
    if (stat === undefined) this.#sendBytes(exchange, response, headers, OCTETS, inMemory(response));
    else {
      this.#keep(exchange);
      void this.#sendFile(exchange, response, headers, blob, stat);
    }
  }

  async #sendFile(exchange: Exchange, response: Response, headers: HeaderTable, file: Blob, stat: Promise<Stats>): Promise<void> {
    try {
      const found = await stat;
      if (found.isDirectory()) throw new TypeError("Cannot stream a directory as a response body");
      if (exchange.ended) return;
      const { size } = file;
      const range = found.isFile() && size === found.size ? rangeFor(exchange, response, headers, size) : undefined;
      if (range === undefined) {
        this.#sendStream(exchange, response, headers, size);
        return;
      }
      if (response.bodyUsed) throw usedError(USED);
      headers["content-range"] = range.header;
      headers["accept-ranges"] = "bytes";
      markSent(response);
      if (range.status === 416) this.#sendBytes(exchange, range, headers, null, NO_BYTES);
      else this.#sendPart(exchange, range, headers, new NativeResponse(file.slice(range.start, range.end)), range.end - range.start);
    } catch (error) {
      this.#failed(exchange, error);
    }
  }

  #sendStream(exchange: Exchange, response: Response, headers: HeaderTable, length: number): void {
    this.#sendPart(exchange, response, headers, response, length);
  }

  /** Sends the body of `part` below the head of `response`. */
  #sendPart(exchange: Exchange, response: ResponseHead, headers: HeaderTable, part: Response, length: number): void {
    const { body } = part;
    if (body?.locked) throw usedError(LOCKED);
    const fin = body === null || exchange.isHead;
    writeResponse(this.link, exchange, response, headers, null, length, fin, null);
    if (fin) {
      void body?.cancel().catch(ignore);
      this.#end(exchange);
      return;
    }
    this.#keep(exchange);
    const bodyOut = (exchange.bodyOut = new BodyOut(this.link, exchange, length, this.#done));
    void bodyOut.sendStream(body);
  }

  /** A CANCEL: the response is not wanted any longer. */
  #cancelled(exchange: Exchange, reason: number): void {
    this.#end(exchange);
    exchange.abort(reason);
  }

  /** Frames may come for this exchange. */
  #keep(exchange: Exchange): void {
    this.link.awaitJobs();
    if (exchange.open) return;
    exchange.open = true;
    this.#open.set(exchange.stream, exchange);
  }

  /** The last frame of this exchange was sent, or is not wanted. */
  #end(exchange: Exchange): void {
    exchange.ended = true;
    this.pending--;
    if (exchange.open) this.#open.delete(exchange.stream);
    exchange.bodyIn?.fail(new DOMException("The response has ended before the request body was read", "AbortError"));
  }
}

/**
 * A chunk for the app's stream. It must not share memory with other frames: an app may transfer
 * its chunks to a `Worker`, which empties the whole buffer.
 */
function ownBytes(bytes: Buffer, start: number, end: number): Uint8Array {
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start);
  return view.length === bytes.buffer.byteLength ? view : view.slice();
}

/** The bytes of a body that is in memory, without waiting. */
function inMemory(response: Response): Uint8Array {
  const bytes = Bun.peek(response.bytes());
  if (!(bytes instanceof Uint8Array)) throw usedError(LOCKED);
  return bytes;
}

/**
 * The length that an app promises for a stream. A content-encoding makes it
 * worthless: `fetch` leaves both headers on a response that it has decoded.
 */
function declaredLength(headers: HeaderTable): number {
  const value = headers["content-length"];
  if (typeof value !== "string" || !/^\d{1,15}$/.test(value) || headers["content-encoding"] !== undefined) return NO_LENGTH;
  return Number(value);
}

/** Lets go of an answer that nobody waits for. */
function discard(answer: unknown): void {
  if (answer instanceof NativeResponse && !answer.bodyUsed && !answer.body?.locked) void answer.body?.cancel().catch(ignore);
}

function usedError(message: string): TypeError {
  return Object.assign(new TypeError(message), { code: "ERR_BODY_ALREADY_USED" });
}

function ignore(): void {}
