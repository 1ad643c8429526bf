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
  /** All of the body has come. */
  #complete = false;
  /** The stream was closed, cancelled or failed: what comes is dropped. */
  #closed = false;
  /** Ends a `pull` that found nothing. */
  #wanted: (() => void) | null = null;
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
        cancel: () => this.drop(),
      },
      // Nothing is taken before somebody reads: what was taken is credited.
      { highWaterMark: 0 },
    );
  }

  /** Takes the next bytes; `last` with the end of the body. */
  push(bytes: Uint8Array, last: boolean): void {
    if (this.#complete) throw new Violation(`stream ${this.number} has body bytes after their end`);
    this.#window -= bytes.length;
    if (this.#window < 0) throw new Violation(`stream ${this.number} has more body bytes than were granted`);
    this.#complete = last;
    if (this.#closed) return;
    if (bytes.length > 0) this.#queue.push(bytes);
    if (this.#wanted !== null) {
      this.#give();
      this.#wake();
    }
  }

  /** The rest will not come: who reads gets `error`. */
  fail(error: unknown): void {
    if (this.#closed) return;
    this.#close();
    this.#controller.error(error);
  }

  /** Nobody reads any more; the supervisor is told to stop. */
  drop(): void {
    if (this.#closed) return;
    this.#close();
    if (!this.#complete) this.link.cancel(this.number, CancelReason.NotWanted);
  }

  #pull(): Promise<void> | undefined {
    if (this.#queue.length === 0 && !this.#complete) return new Promise((resolve) => (this.#wanted = resolve));
    this.#give();
    return undefined;
  }

  /** Hands one chunk to the stream, and the end after the last. */
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
      this.#closed = true;
      this.#controller.close();
    }
  }

  #close(): void {
    this.#closed = true;
    this.#queue = [];
    this.#wake();
  }

  #wake(): void {
    const wanted = this.#wanted;
    this.#wanted = null;
    wanted?.();
  }
}
