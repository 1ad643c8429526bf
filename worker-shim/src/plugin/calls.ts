/** The calls that a plugin makes to the supervisor, and who waits for their results. */
import { FrameType, MAX_CALL_BYTES, MAX_CALLS, MAX_CALLS_BYTES, Violation } from "../frames.ts";
import type { Link } from "../link.ts";
import { decode, encode } from "./values.ts";

/** Calls that wait here because too many are open. */
const MAX_QUEUED = 10_000;

interface Waiter {
  payload: Buffer;
  id: number;
  /** Knows who called. */
  failure: Error;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class Calls {
  readonly #open = new Map<number, Waiter>();
  /** Bytes of the payloads of those that are open. */
  #bytes = 0;
  #queue: Waiter[] = [];
  #next = 0;

  constructor(private readonly link: Link) {}

  /** Calls `service.method(...args)`. */
  call(service: string, method: string, args: readonly unknown[]): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    try {
      if (this.#queue.length >= MAX_QUEUED) throw new RangeError(`${MAX_QUEUED} calls wait already`);
      const id = this.#number();
      const payload = encode([id, service, method, args]);
      if (payload.length > MAX_CALL_BYTES) throw new RangeError(`The arguments of ${service}.${method} have more than ${MAX_CALL_BYTES} bytes`);
      this.#queue.push({ payload, id, failure: new Error(), resolve, reject });
      this.#send();
    } catch (error) {
      reject(error as Error);
    }
    return promise;
  }

  /** A RESULT frame. */
  result(payload: Buffer): void {
    const fields = decode(payload);
    if (!Array.isArray(fields) || fields.length !== 3) throw new Violation("a RESULT is no array of three");
    const [id, error, value] = fields as unknown[];
    const waiter = this.#open.get(id as number);
    if (waiter === undefined) throw new Violation("a RESULT for no call");
    this.#open.delete(waiter.id);
    this.#bytes -= waiter.payload.length;
    this.link.awaitJobs();
    if (error === null) waiter.resolve(value);
    else waiter.reject(fail(waiter.failure, error));
    this.#send();
  }

  /** Sends what may be open. */
  #send(): void {
    let sent = 0;
    for (const { payload, id } of this.#queue) {
      if (this.#open.size >= MAX_CALLS || this.#bytes + payload.length > MAX_CALLS_BYTES) break;
      this.#open.set(id, this.#queue[sent++]!);
      this.#bytes += payload.length;
      this.link.frame(FrameType.Call, 0, payload);
    }
    if (sent > 0) this.#queue.splice(0, sent);
  }

  /** One that is in use neither by an open call nor, for as many come in between, by one that waits. */
  #number(): number {
    do this.#next = (this.#next + 1) >>> 0;
    while (this.#open.has(this.#next));
    return this.#next;
  }
}

/** Makes `failure` the error of a RESULT, with the stack of the call. */
function fail(failure: Error, error: unknown): Error {
  if (!Array.isArray(error) || error.length !== 2) throw new Violation("the error of a RESULT is no array of two");
  const [name, message] = error as unknown[];
  if (typeof name !== "string" || typeof message !== "string") throw new Violation("the error of a RESULT has no name or no message");
  const stack = String(failure.stack).split("\n").slice(1);
  failure.name = name;
  failure.message = message;
  failure.stack = [`${name}: ${message}`, ...stack].join("\n");
  return failure;
}
