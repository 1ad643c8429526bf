/** A WebSocket on the stream of its request: messages framed as PROTOCOL.md has it ("WebSockets"), both ways. */
import type { Exchange } from "./exchange.ts";
import { CancelReason, CREDIT_STEP, FrameType, HEADER_BYTES, MAX_BODY_CHUNK, Violation, WINDOW } from "./frames.ts";
import type { Link, Pump } from "./link.ts";

/** Most bytes of a message, either way. */
export const MAX_MESSAGE = 16 * 1024 * 1024;
/** Of a ping, a pong, and a close with its code. */
const MAX_CONTROL = 125;
const MAX_REASON = MAX_CONTROL - 2;
const MESSAGE_HEADER = 5;
const CHUNK = Math.min(128 * 1024, MAX_BODY_CHUNK);
const NOTHING = Buffer.alloc(0);
/** No status was said, and: the connection broke (RFC 6455 §7.4.1). */
const NO_STATUS = 1005;
const BROKEN = 1006;

export const enum Kind {
  Text = 1,
  Binary = 2,
  Close = 8,
  Ping = 9,
  Pong = 10,
}

export const enum ReadyState {
  Open = 1,
  Closed = 3,
}

/** Who hears what comes. */
export interface Listener {
  message(kind: Kind, payload: Buffer): void;
  drain(): void;
  closed(code: number, reason: string): void;
}

/** The socket below the object that an app holds. */
export class SocketStream implements Pump {
  readyState = ReadyState.Open;
  /** Bytes that wait for credit or room. */
  buffered = 0;
  #queue: Uint8Array[] = [];
  #queueAt = 0;
  #credit = WINDOW;
  /** Something had to wait since the app was last told that nothing does. */
  #behind = false;
  /** END follows what is queued. */
  #last = false;
  #ended = false;
  /** In the link's list of those who wait for room. */
  #waiting = false;
  #window = WINDOW;
  #taken = 0;
  readonly #header = Buffer.allocUnsafe(MESSAGE_HEADER);
  #headerFill = 0;
  #payload = NOTHING;
  #payloadFill = 0;

  constructor(
    private readonly link: Link,
    private readonly exchange: Exchange,
    private readonly listener: Listener,
    private readonly done: (exchange: Exchange) => void,
  ) {}

  /** Sends what {@link frameMessage} has made. Returns whether all of it went at once. */
  send(message: Uint8Array): boolean {
    this.#queue.push(message);
    this.buffered += message.length;
    this.pump();
    const gone = this.buffered === 0;
    this.#behind ||= !gone;
    return gone;
  }

  /** Closes it: what is queued still goes. */
  close(code: number, reason: string): void {
    if (this.readyState !== ReadyState.Open) return;
    const text = Buffer.from(reason);
    let length = Math.min(text.length, MAX_REASON);
    // Not in the middle of a character.
    while (length < text.length && (text[length]! & 0xc0) === 0x80) length--;
    const message = frameHeader(Kind.Close, 2 + length);
    message.writeUInt16BE(code, MESSAGE_HEADER);
    text.copy(message, MESSAGE_HEADER + 2, 0, length);
    this.readyState = ReadyState.Closed;
    this.#last = true;
    this.send(message);
    this.listener.closed(code, reason);
  }

  /** Cuts it off. */
  terminate(): void {
    if (this.#ended || this.exchange.ended) return;
    this.link.cancel(this.exchange.stream, CancelReason.BodyFailed);
    this.#over();
    this.done(this.exchange); // which fails this
  }

  /** Takes the next bytes; `last` with the end. */
  push(bytes: Uint8Array, last: boolean): void {
    this.#window -= bytes.length;
    if (this.#window < 0) throw new Violation(`stream ${this.exchange.stream} has more body bytes than were granted`);
    this.#taken += bytes.length;
    if (!last && this.#taken >= CREDIT_STEP) {
      this.#window += this.#taken;
      this.link.credit(this.exchange.stream, this.#taken);
      this.#taken = 0;
    }
    for (let at = 0; at < bytes.length; ) at = this.#headerFill < MESSAGE_HEADER ? this.#takeHeader(bytes, at) : this.#takePayload(bytes, at);
    if (last) {
      this.#closed(BROKEN, "");
      this.#last = true;
      this.pump();
    }
  }

  /** The exchange is over. */
  fail(_error: unknown): void {
    this.#over();
    this.#closed(BROKEN, "");
  }

  cancel(_reason: unknown): void {}

  grant(bytes: number): void {
    this.#credit += bytes;
    this.pump();
  }

  /** Sends what credit and room allow. */
  pump(): void {
    this.#waiting = false;
    if (this.#ended || this.exchange.ended) return;
    const { link } = this;
    const { stream } = this.exchange;
    while (this.#queue.length > 0) {
      const message = this.#queue[0]!;
      const size = Math.min(message.length - this.#queueAt, this.#credit, CHUNK);
      if (size === 0 || !this.#hasRoom()) return;
      link.body(FrameType.Body, stream, message.subarray(this.#queueAt, this.#queueAt + size));
      this.#credit -= size;
      this.#queueAt += size;
      this.buffered -= size;
      if (this.#queueAt === message.length) {
        this.#queue.shift();
        this.#queueAt = 0;
      }
    }
    if (this.#last) {
      link.reserve(HEADER_BYTES);
      link.header(FrameType.End, stream, 0);
      link.written();
      this.#over();
      this.done(this.exchange);
    } else if (this.#behind) {
      this.#behind = false;
      this.listener.drain();
    }
  }

  #takeHeader(bytes: Uint8Array, at: number): number {
    const end = Math.min(bytes.length, at + MESSAGE_HEADER - this.#headerFill);
    this.#header.set(bytes.subarray(at, end), this.#headerFill);
    this.#headerFill += end - at;
    if (this.#headerFill === MESSAGE_HEADER) {
      const [length, kind] = [this.#header.readUInt32BE(0), this.#header[4] as Kind];
      const most = kind === Kind.Text || kind === Kind.Binary ? MAX_MESSAGE : kind >= Kind.Close && kind <= Kind.Pong ? MAX_CONTROL : -1;
      if (length > most || (kind === Kind.Close && length < 2)) throw new Violation(`stream ${this.exchange.stream} has a message of kind ${kind} and ${length} bytes`);
      // Whole: a pool's memory would be shared with others.
      this.#payload = Buffer.allocUnsafeSlow(length);
      this.#payloadFill = 0;
      if (length === 0) this.#finish();
    }
    return end;
  }

  #takePayload(bytes: Uint8Array, at: number): number {
    const end = Math.min(bytes.length, at + this.#payload.length - this.#payloadFill);
    this.#payload.set(bytes.subarray(at, end), this.#payloadFill);
    this.#payloadFill += end - at;
    if (this.#payloadFill === this.#payload.length) this.#finish();
    return end;
  }

  /** A message is whole. */
  #finish(): void {
    const payload = this.#payload;
    this.#payload = NOTHING;
    this.#headerFill = 0;
    if (this.readyState !== ReadyState.Open) return;
    const kind = this.#header[4] as Kind;
    if (kind !== Kind.Close) this.listener.message(kind, payload);
    else this.#closed(payload.readUInt16BE(0) || NO_STATUS, payload.toString("utf8", 2));
  }

  #closed(code: number, reason: string): void {
    if (this.readyState !== ReadyState.Open) return;
    this.readyState = ReadyState.Closed;
    this.listener.closed(code, reason);
  }

  /** Nothing more is sent. */
  #over(): void {
    this.#ended = true;
    this.#queue = [];
    this.buffered = 0;
  }

  #hasRoom(): boolean {
    if (this.link.hasRoom()) return true;
    if (!this.#waiting) {
      this.#waiting = true;
      this.link.whenRoom(this);
    }
    return false;
  }
}

/** A message as it goes over the link. Bytes are copied: who sends may write to them afterwards. */
export function frameMessage(kind: Kind, data: string | Uint8Array): Buffer {
  const length = typeof data === "string" ? Buffer.byteLength(data) : data.length;
  const most = kind === Kind.Text || kind === Kind.Binary ? MAX_MESSAGE : MAX_CONTROL;
  if (length > most) throw new RangeError(`The message has ${length} bytes; at most ${most} can be sent`);
  const message = frameHeader(kind, length);
  if (typeof data === "string") message.utf8Write(data, MESSAGE_HEADER);
  else message.set(data, MESSAGE_HEADER);
  return message;
}

function frameHeader(kind: Kind, length: number): Buffer {
  const message = Buffer.allocUnsafe(MESSAGE_HEADER + length);
  message.writeUInt32BE(length, 0);
  message[4] = kind;
  return message;
}
