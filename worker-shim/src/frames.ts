/**
 * The frames of PROTOCOL.md: their types, their limits, and the reader that
 * cuts a byte stream into frames whatever way it was split on the road.
 */

export const enum FrameType {
  Hello = 0x01,
  Assign = 0x02,
  Ready = 0x03,
  Failed = 0x04,
  Request = 0x10,
  Response = 0x11,
  Body = 0x12,
  End = 0x13,
  Credit = 0x14,
  Cancel = 0x15,
  Error = 0x16,
  Ping = 0x20,
  Pong = 0x21,
  Hook = 0x30,
  HookDone = 0x31,
  Call = 0x40,
  Result = 0x41,
}

export const enum CancelReason {
  ClientGone = 1,
  Timeout = 2,
  BodyFailed = 3,
  ShuttingDown = 4,
  NotWanted = 5,
}

/** Bytes of a frame header: length, type, stream. */
export const HEADER_BYTES = 9;
/** Most bytes of a request or response head inside its frame. */
export const MAX_HEAD_BYTES = 256 * 1024;
/** Most bytes of a BODY or END payload. */
export const MAX_BODY_CHUNK = 256 * 1024;
/** Body bytes that may be under way on one direction of one stream. */
export const WINDOW = 256 * 1024;
/** Credit is returned in steps of at least this many bytes. */
export const CREDIT_STEP = 64 * 1024;
/** Most bytes of a CALL or RESULT payload. */
export const MAX_CALL_BYTES = 1024 * 1024;
/** Most calls that may be open at once, and bytes of their payloads. */
export const MAX_CALLS = 1000;
export const MAX_CALLS_BYTES = 16 * 1024 * 1024;
/** Most header pairs in a head. */
export const MAX_HEADER_PAIRS = 512;
/** The flag of a head whose body ends with its own frame. */
export const FLAG_FIN = 1;

/** The other end broke the protocol; the link cannot be used any longer. */
export class Violation extends Error {
  override name = "Violation";
}

/**
 * Called with one whole frame. The payload is `bytes[start..end)`; the buffer
 * is never written again, so it may be kept.
 */
export type FrameHandler = (type: number, stream: number, bytes: Buffer, start: number, end: number) => void;

/** Cuts what the supervisor sends into frames. */
export class FrameReader {
  /** Header of a frame of which not all nine bytes, or not the whole payload, have come yet. */
  readonly #header = Buffer.allocUnsafeSlow(HEADER_BYTES);
  #headerFill = 0;
  /** Payload of a frame that goes on in the next chunk. */
  #payload: Buffer | null = null;
  #payloadFill = 0;

  constructor(private readonly onFrame: FrameHandler) {}

  /** Takes the next bytes of the link; throws a {@link Violation} at a frame that cannot be. */
  push(chunk: Buffer): void {
    const size = chunk.length;
    let at = 0;
    while (at < size) {
      if (this.#payload !== null) {
        at = this.#fillPayload(this.#payload, chunk, at);
        continue;
      }
      if (this.#headerFill > 0 || size - at < HEADER_BYTES) {
        at = this.#fillHeader(chunk, at);
        continue;
      }
      const length = chunk.readUInt32BE(at);
      const type = chunk[at + 4]!;
      const stream = chunk.readUInt32BE(at + 5);
      checkHeader(type, stream, length);
      const start = at + HEADER_BYTES;
      if (length > size - start) {
        this.#header.set(chunk.subarray(at, start));
        this.#payload = Buffer.allocUnsafeSlow(length);
        at = start;
        continue;
      }
      at = start + length;
      this.onFrame(type, stream, chunk, start, at);
    }
  }

  /** Adds to a header that was split; the payload follows once it is whole. */
  #fillHeader(chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + HEADER_BYTES - this.#headerFill);
    this.#header.set(chunk.subarray(at, end), this.#headerFill);
    this.#headerFill += end - at;
    if (this.#headerFill === HEADER_BYTES) {
      this.#headerFill = 0;
      const length = this.#header.readUInt32BE(0);
      checkHeader(this.#header[4]!, this.#header.readUInt32BE(5), length);
      this.#payload = Buffer.allocUnsafeSlow(length);
      if (length === 0) this.#finish(this.#payload);
    }
    return end;
  }

  /** Adds to a payload that was split. */
  #fillPayload(payload: Buffer, chunk: Buffer, at: number): number {
    const end = Math.min(chunk.length, at + payload.length - this.#payloadFill);
    payload.set(chunk.subarray(at, end), this.#payloadFill);
    this.#payloadFill += end - at;
    if (this.#payloadFill === payload.length) this.#finish(payload);
    return end;
  }

  #finish(payload: Buffer): void {
    this.#payload = null;
    this.#payloadFill = 0;
    this.onFrame(this.#header[4]!, this.#header.readUInt32BE(5), payload, 0, payload.length);
  }
}

/** Refuses a frame by its header alone, before any of its payload is kept. */
function checkHeader(type: number, stream: number, length: number): void {
  let least = 0;
  let most: number;
  switch (type) {
    case FrameType.Request:
      most = 2 * MAX_HEAD_BYTES;
      break;
    case FrameType.Body:
      least = 1;
      most = MAX_BODY_CHUNK;
      break;
    case FrameType.End:
      most = MAX_BODY_CHUNK;
      break;
    case FrameType.Credit:
      least = most = 4;
      break;
    case FrameType.Ping:
      least = most = 8;
      break;
    case FrameType.Cancel:
    case FrameType.Hook:
      most = 64;
      break;
    case FrameType.Assign:
      most = 1024 * 1024;
      break;
    case FrameType.Result:
      most = MAX_CALL_BYTES;
      break;
    default:
      throw new Violation(`frame type 0x${type.toString(16).padStart(2, "0")} is not one that a worker receives`);
  }
  if (length < least || length > most) {
    throw new Violation(`frame type 0x${type.toString(16)}: a payload of ${length} bytes is not between ${least} and ${most}`);
  }
  const onLink = type === FrameType.Ping || type === FrameType.Hook || type === FrameType.Assign || type === FrameType.Result;
  if (onLink !== (stream === 0)) throw new Violation(`frame type 0x${type.toString(16)} cannot be on stream ${stream}`);
}
