/**
 * A client that blocks: connect(2), send(2) and recv(2) called directly, on the thread that reads the clock. An event
 * loop would add its own turns, and their noise, to latencies of some tens of µs.
 */
import { dlopen, FFIType, ptr, read, type Pointer } from "bun:ffi";
import { Failure } from "./failure.ts";

const { symbols: libc } = dlopen("libc.so.6", {
  socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  connect: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  setsockopt: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  send: { args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32], returns: FFIType.i64_fast },
  recv: { args: [FFIType.i32, FFIType.ptr, FFIType.u64, FFIType.i32], returns: FFIType.i64_fast },
  close: { args: [FFIType.i32], returns: FFIType.i32 },
  usleep: { args: [FFIType.u32], returns: FFIType.i32 },
  __errno_location: { args: [], returns: FFIType.ptr },
});

const AF_INET = 2;
const SOCK_STREAM = 1;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const MSG_NOSIGNAL = 0x4000;
const EINTR = 4;
/** Longest wait for an answer, in seconds. */
const LIMIT = 15;
/** Between two attempts to connect, in µs. */
const RETRY = 100;

const OK = Buffer.from("HTTP/1.1 200 ");

/** One keep-alive connection to 127.0.0.1. */
export class Connection {
  readonly #fd: number;
  readonly #answer = Buffer.allocUnsafeSlow(64 * 1024);
  readonly #answerAt = ptr(this.#answer) as number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Nothing if nobody listens there. */
  static open(port: number): Connection | undefined {
    const fd = libc.socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) throw new Failure(`socket(2): errno ${errno()}`);
    const limit = new BigInt64Array([BigInt(LIMIT), 0n]);
    libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, ptr(limit), limit.byteLength);
    const address = new Uint8Array([AF_INET, 0, port >> 8, port & 0xff, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    if (libc.connect(fd, ptr(address), address.length) === 0) return new Connection(fd);
    libc.close(fd);
    return undefined;
  }

  /** Tries until somebody listens there, for 15 s at most. */
  static openSoon(port: number): Connection {
    const deadline = Bun.nanoseconds() + LIMIT * 1e9;
    for (;;) {
      const connection = Connection.open(port);
      if (connection) return connection;
      if (Bun.nanoseconds() > deadline) throw new Failure(`nobody listens on 127.0.0.1:${port} after ${LIMIT} s`);
      libc.usleep(RETRY);
    }
  }

  /**
   * Sends a request and returns when the answer has come.
   *
   * @throws Failure unless the answer begins with 200 and ends, unchunked, with `body`.
   */
  exchange(request: Uint8Array, body: Uint8Array): void {
    if (libc.send(this.#fd, ptr(request), request.length, MSG_NOSIGNAL) !== request.length) {
      throw new Failure(`send(2): errno ${errno()}`);
    }
    let fill = 0;
    while (!this.#endsWith(fill, body)) {
      const got = libc.recv(this.#fd, (this.#answerAt + fill) as Pointer, this.#answer.length - fill, 0) as number;
      if (got > 0) fill += got;
      else if (got === 0 || errno() !== EINTR) {
        const why = got === 0 ? "the connection was closed" : `recv(2): errno ${errno()}`;
        throw new Failure(`${why}, after: ${this.#answer.toString("latin1", 0, fill)}`);
      }
    }
    if (this.#answer.compare(OK, 0, OK.length, 0, OK.length) !== 0) {
      throw new Failure(`not 200: ${this.#answer.toString("latin1", 0, fill)}`);
    }
  }

  close(): void {
    libc.close(this.#fd);
  }

  #endsWith(fill: number, body: Uint8Array): boolean {
    return fill > body.length && this.#answer.compare(body, 0, body.length, fill - body.length, fill) === 0;
  }
}

export function get(path: string): Buffer {
  return Buffer.from(`GET ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`);
}

function errno(): number {
  return read.i32(libc.__errno_location()!);
}
