/** The path of a request: from its frame to the app's handler, and from the handler's answer to a frame. */
import type { App } from "./app.ts";
import { BodyIn } from "./body-in.ts";
import { BodyOut } from "./body-out.ts";
import { describeError } from "./errors.ts";
import { Exchange } from "./exchange.ts";
import { CancelReason, FLAG_FIN, FrameType, Violation, WINDOW } from "./frames.ts";
import type { Link } from "./link.ts";
import { NativeResponse } from "./natives.ts";
import type { ProgressPage } from "./progress-page.ts";
import { WorkerRequest } from "./request.ts";
import { head, readRequestHead } from "./request-head.ts";
import { type InlineBody, MAX_INLINE_TEXT, writeResponse } from "./response-head.ts";
import { BUFFERED, EMPTY, sourceOf } from "./response.ts";

/** What a request is made with when it has no body. */
const HEAD_INIT: RequestInit = { method: "HEAD" };

export class Dispatcher {
  /** Streams whose response has not ended. A request that is answered at once never gets in here. */
  readonly #open = new Map<number, Exchange>();
  #lastStream = 0;
  /** Requests that the app has and has not answered to the end. */
  pending = 0;
  readonly #done = (exchange: Exchange) => this.#end(exchange);

  constructor(
    private readonly link: Link,
    private readonly page: ProgressPage,
    private readonly app: App,
  ) {}

  /** A REQUEST frame. */
  request(stream: number, bytes: Buffer, start: number, end: number): void {
    if (stream <= this.#lastStream) throw new Violation(`stream ${stream} is used a second time`);
    this.#lastStream = stream;
    readRequestHead(bytes, start, end);
    const { method } = head;
    const exchange = new Exchange(
      stream,
      method === "HEAD",
      head.text,
      head.headersAt,
      head.headerCount,
      head.peerAddress,
      head.peerPort,
    );
    const bodyStart = start + head.length;
    const fin = (head.flags & FLAG_FIN) !== 0;
    if (end - bodyStart > WINDOW) throw new Violation(`stream ${stream} begins with more body bytes than the window has`);
    let request: Request;
    try {
      if (method === "GET" && fin) request = new WorkerRequest(head.url, undefined, exchange);
      else request = this.#withMethod(exchange, method, fin, bytes, bodyStart, end);
    } catch (error) {
      this.#started(exchange);
      this.#sendError(exchange, error);
      return;
    }
    this.#started(exchange);
    let answer: unknown;
    try {
      answer = this.app.handle(request);
    } catch (error) {
      this.#failed(exchange, error);
      return;
    }
    this.#settle(exchange, answer);
  }

  /** BODY, END, CREDIT and CANCEL. */
  streamFrame(type: number, stream: number, bytes: Buffer, start: number, end: number): void {
    const exchange = this.#open.get(stream);
    if (exchange === undefined) {
      if (stream > this.#lastStream) throw new Violation(`frame type 0x${type.toString(16)} on stream ${stream}, which was never used`);
      return;
    }
    switch (type) {
      case FrameType.Body:
      case FrameType.End:
        if (exchange.bodyIn === null) throw new Violation(`stream ${stream} has body bytes after their end`);
        exchange.bodyIn.push(bytes.subarray(start, end), type === FrameType.End);
        break;
      case FrameType.Credit:
        exchange.bodyOut?.grant(bytes.readUInt32BE(start));
        break;
      case FrameType.Cancel:
        if (end - start !== 2 || bytes[start] !== 0x91 || bytes[start + 1]! > 0x7f) throw new Violation("a CANCEL is no array of one reason");
        this.#forget(exchange);
        exchange.abort(bytes[start + 1]!);
        break;
    }
  }

  #started(exchange: Exchange): void {
    this.pending++;
    this.#open.set(exchange.stream, exchange);
    this.page.started(exchange.stream);
  }

  #withMethod(exchange: Exchange, method: string, fin: boolean, bytes: Buffer, bodyStart: number, end: number): Request {
    if (method === "GET" || method === "HEAD") {
      if (!fin) this.link.cancel(exchange.stream, CancelReason.NotWanted);
      return new WorkerRequest(head.url, method === "HEAD" ? HEAD_INIT : undefined, exchange);
    }
    if (fin) {
      const body = bodyStart < end ? (bytes.subarray(bodyStart, end) as Buffer<ArrayBuffer>) : undefined;
      return new WorkerRequest(head.url, { method, body }, exchange);
    }
    const bodyIn = (exchange.bodyIn = new BodyIn(this.link, exchange.stream));
    if (bodyStart < end) bodyIn.push(bytes.subarray(bodyStart, end), false);
    return new WorkerRequest(head.url, { method, body: bodyIn.stream, duplex: "half" } as RequestInit, exchange);
  }

  /** Sends the answer now if it is there, else when it comes. */
  #settle(exchange: Exchange, answer: unknown): void {
    if (answer instanceof Promise) {
      if (Bun.peek.status(answer) !== "fulfilled") {
        void this.#settleLater(exchange, answer);
        return;
      }
      answer = Bun.peek(answer);
    }
    this.#answered(exchange, answer);
  }

  async #settleLater(exchange: Exchange, promise: Promise<unknown>): Promise<void> {
    let answer: unknown;
    try {
      answer = await promise;
    } catch (error) {
      this.#failed(exchange, error);
      return;
    }
    this.#answered(exchange, answer);
  }

  #answered(exchange: Exchange, answer: unknown): void {
    if (exchange.ended) return;
    try {
      if (answer instanceof NativeResponse) this.#respond(exchange, answer);
      else {
        console.error(`error: Expected a Response object, but received '${Bun.inspect(answer, { depth: 0 })}'`);
        this.#respond(exchange, new NativeResponse(null, { status: 204 }));
      }
    } catch (error) {
      this.#failed(exchange, error);
    }
  }

  /** The app threw: its `error` handler may still answer. */
  #failed(exchange: Exchange, error: unknown): void {
    if (exchange.ended) return;
    this.#sendError(exchange, error);
  }

  #sendError(exchange: Exchange, error: unknown): void {
    this.link.control(FrameType.Error, exchange.stream, describeError(error));
    this.#end(exchange);
  }

  #respond(exchange: Exchange, response: Response): void {
    const { link } = this;
    const { stream } = exchange;
    const { status } = response;
    if (status < 200) throw new RangeError(`Cannot send a Response with status ${status}. Statuses from 200 to 599 can be sent`);
    if (response.bodyUsed) throw usedError();
    const source = sourceOf(response);
    if (source === EMPTY || status === 204 || status === 304) {
      writeResponse(link, stream, response, false, exchange.isHead && source === EMPTY ? 0 : -1, true, null);
      if (source !== EMPTY) void response.body?.cancel().catch(ignore);
      this.#end(exchange);
      return;
    }
    let body: InlineBody;
    if (typeof source === "string" && source.length <= MAX_INLINE_TEXT && !exchange.isHead) body = source;
    else if (typeof source === "string") body = Buffer.from(source);
    else if (source === BUFFERED) {
      const read = response.bytes();
      const peeked = Bun.peek(read);
      if (peeked === read) throw new Error("a body in memory could not be read at once");
      body = peeked as Uint8Array;
    } else {
      this.#respondStream(exchange, response);
      return;
    }
    const isText = typeof source === "string";
    if (exchange.isHead) {
      writeResponse(link, stream, response, isText, body.length, true, null);
    } else if (body.length <= WINDOW) {
      writeResponse(link, stream, response, isText, -1, true, body);
    } else {
      writeResponse(link, stream, response, isText, body.length, false, null);
      exchange.bodyOut = new BodyOut(link, exchange, this.#done);
      exchange.bodyOut.sendBytes(body as Uint8Array);
      return;
    }
    this.#end(exchange);
  }

  #respondStream(exchange: Exchange, response: Response): void {
    const { body } = response;
    if (body === null || exchange.isHead) {
      writeResponse(this.link, exchange.stream, response, false, -1, true, null);
      void body?.cancel().catch(ignore);
      this.#end(exchange);
      return;
    }
    if (body.locked) throw usedError();
    writeResponse(this.link, exchange.stream, response, false, -1, false, null);
    exchange.bodyOut = new BodyOut(this.link, exchange, this.#done);
    void exchange.bodyOut.sendStream(body);
  }

  /** The response was sent to its end. */
  #end(exchange: Exchange): void {
    exchange.ended = true;
    this.#forget(exchange);
    exchange.bodyIn?.fail(new DOMException("The response has ended", "AbortError"));
  }

  #forget(exchange: Exchange): void {
    if (this.#open.delete(exchange.stream)) this.pending--;
  }
}

function usedError(): TypeError {
  const error = new TypeError("Response body already used. A Response body can only be sent once; create a new Response for each request.");
  return Object.assign(error, { code: "ERR_BODY_ALREADY_USED" });
}

function ignore(): void {}
