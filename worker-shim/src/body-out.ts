/**
 * Response bodies that did not fit into the response's own frame. A body is
 * taken from the app only while the stream has credit and the link has room,
 * so a slow reader holds back the app and nothing else.
 */
import type { Exchange } from "./exchange.ts";
import { CancelReason, FrameType, HEADER_BYTES, MAX_BODY_CHUNK, WINDOW } from "./frames.ts";
import type { Link, Pump } from "./link.ts";
import { NO_LENGTH } from "./response-head.ts";

/** Body frames of this size keep the link's buffer small and the supervisor's copies cheap. */
const CHUNK = Math.min(128 * 1024, MAX_BODY_CHUNK);

export class BodyOut implements Pump {
  #credit = WINDOW;
  /** What the app has given and the link has not taken yet. */
  #rest: Uint8Array | null = null;
  #restAt = 0;
  /** Bytes that the app's stream has given. */
  #given = 0;
  /** No more will come from the app. */
  #last = false;
  /** In the link's list of those who wait for room. */
  #waiting = false;
  #reader: ReadableStreamDefaultReader<unknown> | null = null;
  /** Continues the reading loop once the rest was sent and more may be. */
  #resume: (() => void) | null = null;

  constructor(
    private readonly link: Link,
    private readonly exchange: Exchange,
    /** Bytes that the head has promised, or {@link NO_LENGTH}. */
    private readonly promised: number,
    private readonly done: (exchange: Exchange) => void,
  ) {}

  /** Sends a body that is in memory. */
  sendBytes(bytes: Uint8Array): void {
    this.#rest = bytes;
    this.#last = true;
    this.pump();
  }

  /** Sends what a stream gives. */
  async sendStream(stream: ReadableStream): Promise<void> {
    const reader = (this.#reader = stream.getReader());
    try {
      for (;;) {
        if (!this.#mayRead()) await new Promise<void>((resolve) => (this.#resume = resolve));
        if (this.exchange.ended) return;
        const { done, value } = await reader.read();
        if (this.exchange.ended) return;
        this.#last = done;
        if (!done) this.#rest = toBytes(value);
        this.#count(done);
        this.pump();
        if (done) return;
      }
    } catch (error) {
      if (this.exchange.ended) return;
      console.error(error);
      this.link.cancel(this.exchange.stream, CancelReason.BodyFailed);
      reader.cancel(error).catch(ignore);
      this.done(this.exchange);
    }
  }

  /** The supervisor grants `bytes` more. */
  grant(bytes: number): void {
    this.#credit += bytes;
    this.pump();
  }

  /** The exchange is over: lets go of the app's stream. */
  cancel(reason: unknown): void {
    this.#rest = null;
    this.#reader?.cancel(reason).catch(ignore);
    this.#continue();
  }

  /** Sends what credit and room allow. */
  pump(): void {
    this.#waiting = false;
    if (this.exchange.ended) return;
    const { link } = this;
    const stream = this.exchange.stream;
    while (this.#rest !== null) {
      const left = this.#rest.length - this.#restAt;
      const size = Math.min(left, this.#credit, CHUNK);
      if (size === 0 && left > 0) return;
      if (!this.#hasRoom()) return;
      const ends = size === left;
      if (size > 0 || this.#last) {
        const last = ends && this.#last;
        link.body(last ? FrameType.End : FrameType.Body, stream, ends && this.#restAt === 0 ? this.#rest : this.#rest.subarray(this.#restAt, this.#restAt + size));
        this.#credit -= size;
        this.#restAt += size;
        if (last) return this.#end();
      }
      if (ends) {
        this.#rest = null;
        this.#restAt = 0;
      }
    }
    if (this.#last) {
      link.reserve(HEADER_BYTES);
      link.header(FrameType.End, stream, 0);
      link.written();
      return this.#end();
    }
    if (this.#resume !== null && this.#mayRead()) this.#continue();
  }

  /** Keeps the promise of a content-length: a client could not tell the rest from the next response. */
  #count(done: boolean): void {
    this.#given += this.#rest?.length ?? 0;
    if (this.promised === NO_LENGTH) return;
    if (this.#given > this.promised || (done && this.#given < this.promised)) {
      throw new RangeError(`The response body has ${done ? "" : "at least "}${this.#given} bytes, but its content-length is ${this.promised}`);
    }
  }

  #mayRead(): boolean {
    return this.#rest === null && this.#credit > 0 && this.#hasRoom();
  }

  #hasRoom(): boolean {
    if (this.link.hasRoom()) return true;
    if (!this.#waiting) {
      this.#waiting = true;
      this.link.whenRoom(this);
    }
    return false;
  }

  #end(): void {
    this.#rest = null;
    this.done(this.exchange);
    this.#continue();
  }

  #continue(): void {
    const resume = this.#resume;
    this.#resume = null;
    resume?.();
  }
}

function toBytes(chunk: unknown): Uint8Array {
  if (chunk instanceof Uint8Array) return chunk;
  if (typeof chunk === "string") return Buffer.from(chunk);
  if (ArrayBuffer.isView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  if (chunk instanceof ArrayBuffer || chunk instanceof SharedArrayBuffer) return new Uint8Array(chunk);
  throw new TypeError("A response body stream may give strings and bytes, but gave " + Bun.inspect(chunk, { depth: 0 }));
}

function ignore(): void {}
