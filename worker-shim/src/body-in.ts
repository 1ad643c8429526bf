/** Request bodies that come in several frames, as a stream that the app reads at its own pace. */
import { CREDIT_STEP, CancelReason, Violation, WINDOW } from "./frames.ts";
import type { Link } from "./link.ts";

export class BodyIn {
  readonly stream: ReadableStream<Uint8Array>;
  /** Bytes that the supervisor may still send. */
  #window = WINDOW;
  /** Bytes the app has taken that are not credited yet. */
  #taken = 0;
  #queue: Uint8Array[] = [];
  #complete = false;
  #error: unknown = null;
  /** The app asks for a chunk, and there was none. */
  #wanted: (() => void) | null = null;
  /** Nobody reads any more: what comes is dropped. */
  #dropped = false;
  #controller!: ReadableStreamDefaultController<Uint8Array>;

  constructor(
    private readonly link: Link,
    private readonly number: number,
  ) {
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#pull(),
        cancel: () => this.#cancel(),
      },
      { highWaterMark: 0 },
    );
  }

  /** Takes the next bytes; `last` with the end of the body. */
  push(bytes: Uint8Array, last: boolean): void {
    if (this.#complete) throw new Violation(`stream ${this.number} has body bytes after their end`);
    this.#window -= bytes.length;
    if (this.#window < 0) throw new Violation(`stream ${this.number} has more body bytes than were granted`);
    this.#complete = last;
    if (this.#dropped) return;
    if (bytes.length > 0) this.#queue.push(bytes);
    const wanted = this.#wanted;
    if (wanted !== null) {
      this.#wanted = null;
      this.#give();
      wanted();
    }
  }

  get complete(): boolean {
    return this.#complete;
  }

  /** The rest will not come, or is not wanted: a reader gets `error`. */
  fail(error: unknown): void {
    if (this.#dropped || this.#error !== null) return;
    if (this.#complete && this.#queue.length === 0 && this.#wanted === null) return;
    this.#error = error;
    this.#dropped = true;
    this.#queue = [];
    try {
      this.#controller.error(error);
    } catch {
      // The stream was closed already.
    }
    this.#wanted?.();
  }

  #pull(): Promise<void> | void {
    if (this.#queue.length > 0 || this.#complete) return this.#give();
    return new Promise((resolve) => (this.#wanted = resolve));
  }

  #give(): void {
    const chunk = this.#queue.shift();
    if (chunk !== undefined) {
      this.#controller.enqueue(chunk);
      this.#taken += chunk.length;
      if (!this.#complete && this.#taken >= CREDIT_STEP) {
        this.#window += this.#taken;
        this.link.credit(this.number, this.#taken);
        this.#taken = 0;
      }
    }
    if (this.#complete && this.#queue.length === 0) {
      this.#dropped = true;
      this.#controller.close();
    }
  }

  #cancel(): void {
    if (!this.#complete && !this.#dropped) this.link.cancel(this.number, CancelReason.NotWanted);
    this.#dropped = true;
    this.#queue = [];
  }
}
