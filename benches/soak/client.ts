/** A connection that speaks HTTP/1.1 and hides nothing: no retries, no pool. */
import net from "node:net";

export interface Ask {
  method?: string;
  path: string;
  body?: Uint8Array;
  /** The client takes the answer at about so many bytes a second. */
  slow?: number;
  /** The client sends the end of its side with the request. */
  half?: boolean;
  /** The connection is broken off by the client after so many ms. */
  abort?: number;
}

export interface Answer {
  status: number;
  headers: Map<string, string>;
  body: Buffer;
}

/** Why there is no answer. */
export class Broken extends Error {
  constructor(
    message: string,
    /** Of the answer that has begun. */
    readonly status: number | undefined,
    /** Whether anything came on this connection after the request. */
    readonly begun: boolean,
  ) {
    super(message);
  }
}

/** The client itself has gone. */
export class Aborted extends Error {}

/** What a request may take in all, in ms. */
const LIMIT = 60_000;
/** A body that a server surely has when it answers, in bytes. */
const LITTLE = 64 * 1024;

export class Connection {
  readonly #socket: net.Socket;
  #chunks: Buffer[] = [];
  #length = 0;
  #wake: (() => void) | undefined;
  #ended = false;
  #error: Error | undefined;
  #slow = 0;
  requests = 0;
  /** It takes no further request. */
  closed = false;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (data: Buffer) => {
      this.#chunks.push(data);
      this.#length += data.length;
      if (this.#slow > 0) {
        socket.pause();
        setTimeout(() => socket.resume(), (data.length / this.#slow) * 1000);
      }
      this.#rouse();
    });
    const over = (error?: Error): void => {
      this.#error ??= error;
      this.#ended = true;
      this.closed = true;
      this.#rouse();
    };
    socket.on("end", () => over());
    socket.on("close", () => over());
    socket.on("error", over);
  }

  static open(port: number): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      const refused = (error: Error): void => reject(new Broken(`no connection: ${error.message}`, undefined, false));
      socket.once("error", refused);
      socket.once("connect", () => {
        socket.off("error", refused);
        resolve(new Connection(socket));
      });
    });
  }

  get #reason(): string {
    return this.#error?.message ?? "the connection was closed";
  }

  async ask({ method = "GET", path, body, slow = 0, half = false, abort }: Ask): Promise<Answer> {
    this.requests += 1;
    this.#slow = slow;
    let status: number | undefined;
    let begun = false;
    let aborted = false;
    const timer = setTimeout(() => {
      this.#error = new Error(`no whole answer after ${LIMIT} ms`);
      this.destroy();
    }, LIMIT);
    const leaving =
      abort === undefined
        ? undefined
        : setTimeout(() => {
            aborted = true;
            this.destroy();
          }, abort);
    try {
      const length = body === undefined ? "" : `content-length: ${body.length}\r\n`;
      this.#socket.write(`${method} ${path} HTTP/1.1\r\nhost: soak\r\n${length}\r\n`);
      if (body !== undefined) this.#socket.write(body);
      if (half) this.#socket.end();
      await this.#has(1);
      begun = true;
      const head = await this.#until("\r\n\r\n");
      const lines = head.toString("latin1").split("\r\n");
      status = Number(/^HTTP\/1\.1 (\d{3})/.exec(lines[0]!)?.[1]);
      if (!(status >= 200)) throw new Broken(`no answer in HTTP: ${JSON.stringify(lines[0])}`, undefined, true);
      const headers = new Map<string, string>();
      for (const line of lines.slice(1)) {
        const colon = line.indexOf(":");
        if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
      }
      const answer = { status, headers, body: await this.#body(headers) };
      // An answer that came before all of the body was taken ends the connection (RFC 9112 §9.3).
      const early = status >= 400 && (body?.length ?? 0) > LITTLE;
      if (half || early || headers.get("connection")?.toLowerCase() === "close") this.destroy();
      return answer;
    } catch (error) {
      this.destroy();
      if (aborted) throw new Aborted("the client went away");
      if (error instanceof Broken) throw error;
      throw new Broken((error as Error).message, status, begun);
    } finally {
      clearTimeout(timer);
      clearTimeout(leaving);
    }
  }

  /** Writes without asking anything. */
  write(text: string): void {
    this.#socket.write(text);
  }

  /** Until the server closes; what it said before. */
  async end(): Promise<string> {
    while (!this.#ended) await this.#more();
    return Buffer.concat(this.#chunks).toString("latin1");
  }

  destroy(): void {
    this.closed = true;
    this.#ended = true;
    this.#socket.destroy();
    this.#rouse();
  }

  async #body(headers: Map<string, string>): Promise<Buffer> {
    if (headers.get("transfer-encoding") !== "chunked") return this.#take(Number(headers.get("content-length") ?? 0));
    const pieces: Buffer[] = [];
    for (;;) {
      const size = parseInt((await this.#until("\r\n")).toString("latin1"), 16);
      const piece = await this.#take(size + 2);
      if (size === 0) return Buffer.concat(pieces);
      pieces.push(piece.subarray(0, size));
    }
  }

  async #until(mark: string): Promise<Buffer> {
    for (;;) {
      const all = this.#joined();
      const at = all.indexOf(mark);
      if (at >= 0) {
        const found = all.subarray(0, at);
        this.#put(all.subarray(at + mark.length));
        return found;
      }
      await this.#more();
    }
  }

  async #take(length: number): Promise<Buffer> {
    await this.#has(length);
    const all = this.#joined();
    this.#put(all.subarray(length));
    return all.subarray(0, length);
  }

  async #has(length: number): Promise<void> {
    while (this.#length < length) await this.#more();
  }

  #joined(): Buffer {
    if (this.#chunks.length !== 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }

  #put(rest: Buffer): void {
    this.#chunks = [rest];
    this.#length = rest.length;
  }

  async #more(): Promise<void> {
    if (this.#ended) throw new Error(this.#reason);
    await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  #rouse(): void {
    this.#wake?.();
    this.#wake = undefined;
  }
}
