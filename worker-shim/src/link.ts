/**
 * The link to the supervisor: everything that goes out is appended to one
 * buffer, which is written once a turn of the event loop. `socket.write` takes
 * what the kernel has room for and keeps nothing, so the rest stays here until
 * `drain`.
 */
import type { Socket } from "bun";
import { FrameType, HEADER_BYTES, type CancelReason } from "./frames.ts";
import { encode } from "./msgpack.ts";

/** The descriptor that the supervisor leaves the link on. */
export const LINK_FD = 3;
/** Size of the buffer at rest. It grows for a burst of heads and shrinks when they are gone. */
const BUFFER_BYTES = 512 * 1024;
/** Beyond so many bytes waiting, bodies stop being copied into the buffer. */
const HIGH_WATER = 256 * 1024;

/** Body chunks from this size on are not copied into the buffer first. */
const DIRECT_BYTES = 64 * 1024;
/** How long an exiting process waits for a supervisor that does not read: 100 times 10 ms. */
const EXIT_STEPS = 100;
const EXIT_STEP_MS = 10;

/** Taken before an app can replace it. */
const { setImmediate } = globalThis;
let drainMicrotasks: (() => void) | undefined;
const jsc = () => process.getBuiltinModule("bun:jsc") as typeof import("bun:jsc");

/** Somebody who has body bytes to send when there is room again. */
export interface Pump {
  pump(): void;
}

export class Link {
  /** What is to be written: `out[sent..fill)`. Read again after {@link reserve}, which may replace it. */
  out = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  fill = 0;
  #sent = 0;
  /** The kernel took less than was offered: nothing goes out before `drain`. */
  #blocked = false;
  #scheduled = false;
  /** Inside a data event, whose end flushes. */
  #inTurn = false;
  /** Promise jobs may answer what came in this turn. */
  #awaited = false;
  #waiting: Pump[] = [];
  readonly #flushLater = () => {
    this.#scheduled = false;
    this.flush();
  };

  constructor(private readonly socket: Pick<Socket, "write">) {}

  /** Whether body bytes may be appended now. When not, {@link whenRoom} tells of the moment they may. */
  hasRoom(): boolean {
    if (this.fill - this.#sent < HIGH_WATER) return true;
    this.flush();
    return !this.#blocked;
  }

  /** Calls `pump` once when there is room again; only to be used when there is none. */
  whenRoom(pump: Pump): void {
    this.#waiting.push(pump);
  }

  /** Runs `turn` and the promise jobs that it has left, and writes what both have appended in one go. */
  turn<T>(turn: (input: T) => void, input: T): void {
    this.#inTurn = true;
    try {
      turn(input);
      if (this.#awaited) {
        this.#awaited = false;
        // Bun would run them right after this event, when the flush had gone without the answers of async handlers.
        // Loaded only here, as it is not needed to start.
        (drainMicrotasks ??= jsc().drainMicrotasks)();
      }
    } finally {
      this.#inTurn = false;
      this.flush();
    }
  }

  /** Tells that promise jobs may have something to say before this turn's flush. */
  awaitJobs(): void {
    this.#awaited = true;
  }

  /** Makes room for `size` more bytes in `out`. */
  reserve(size: number): void {
    if (this.fill + size <= this.out.length) return;
    this.flush();
    if (this.fill + size <= this.out.length) return;
    const waiting = this.fill - this.#sent;
    let capacity = this.out.length;
    while (capacity < waiting + size) capacity *= 2;
    const old = this.out;
    this.out = capacity === old.length ? old : Buffer.allocUnsafeSlow(capacity);
    old.copy(this.out, 0, this.#sent, this.fill);
    this.#sent = 0;
    this.fill = waiting;
  }

  /** Appends a frame header. The caller has reserved its room. */
  header(type: FrameType, stream: number, length: number): void {
    const out = this.out;
    const at = this.fill;
    out[at] = length >>> 24;
    out[at + 1] = length >>> 16;
    out[at + 2] = length >>> 8;
    out[at + 3] = length;
    out[at + 4] = type;
    out[at + 5] = stream >>> 24;
    out[at + 6] = stream >>> 16;
    out[at + 7] = stream >>> 8;
    out[at + 8] = stream;
    this.fill = at + HEADER_BYTES;
  }

  /** Appends a whole frame. */
  frame(type: FrameType, stream: number, payload: Uint8Array): void {
    this.#append(type, stream, payload);
    this.written();
  }

  /** Sends a body frame. What is large goes to the kernel from where it is; only what it does not take is copied. */
  body(type: FrameType, stream: number, bytes: Uint8Array): void {
    if (bytes.length < DIRECT_BYTES || this.#blocked) {
      this.frame(type, stream, bytes);
      return;
    }
    this.reserve(HEADER_BYTES);
    this.header(type, stream, bytes.length);
    this.flush();
    const taken = this.#blocked ? 0 : Math.max(0, this.socket.write(bytes));
    if (taken === bytes.length) return;
    this.#blocked = true;
    const left = bytes.subarray(taken);
    this.reserve(left.length);
    this.out.set(left, this.fill);
    this.fill += left.length;
  }

  /** Sends a control frame with an array of plain values: a rare one, which waits for no other. */
  control(type: FrameType, stream: number, values: readonly (null | boolean | number | string)[]): void {
    this.#append(type, stream, encode(values));
    if (!this.#inTurn) this.flush();
  }

  cancel(stream: number, reason: CancelReason): void {
    this.frame(FrameType.Cancel, stream, Uint8Array.of(0x91, reason));
  }

  credit(stream: number, bytes: number): void {
    this.reserve(HEADER_BYTES + 4);
    this.header(FrameType.Credit, stream, 4);
    this.out.writeUInt32BE(bytes, this.fill);
    this.fill += 4;
    this.written();
  }

  #append(type: FrameType, stream: number, payload: Uint8Array): void {
    this.reserve(HEADER_BYTES + payload.length);
    this.header(type, stream, payload.length);
    this.out.set(payload, this.fill);
    this.fill += payload.length;
  }

  /**
   * To be called after appending: what was appended outside a data event and its promise jobs goes out
   * at the end of this turn of the event loop, with what the turn's other callbacks append.
   */
  written(): void {
    if (this.#inTurn || this.#scheduled || this.#blocked) return;
    this.#scheduled = true;
    setImmediate(this.#flushLater);
  }

  /** Writes what the kernel takes. */
  flush(): void {
    if (this.#blocked || this.fill === this.#sent) return;
    const taken = this.socket.write(this.out, this.#sent, this.fill - this.#sent);
    if (taken > 0) this.#sent += taken;
    if (this.#sent === this.fill) this.#rest();
    else this.#blocked = true;
  }

  /** The kernel has room again. */
  drain(): void {
    this.#blocked = false;
    this.flush();
    this.#wake();
  }

  /** Everything was written: back to the start of a buffer of the usual size. */
  #rest(): void {
    this.#sent = this.fill = 0;
    if (this.out.length > BUFFER_BYTES) this.out = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  }

  #wake(): void {
    while (this.#waiting.length > 0 && this.hasRoom()) this.#waiting.shift()!.pump();
  }

  /** Writes what is left before the process ends: answers that were given before `process.exit()` still go out. */
  flushAtExit(): void {
    if (this.#sent === this.fill) return;
    // Loaded only here: it is a third of a spare's start.
    const fs = process.getBuiltinModule("node:fs");
    for (let patience = EXIT_STEPS; this.#sent < this.fill && patience > 0; ) {
      try {
        this.#sent += fs.writeSync(LINK_FD, this.out, this.#sent, this.fill - this.#sent);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
        Bun.sleepSync(EXIT_STEP_MS);
        patience--;
      }
    }
  }
}
