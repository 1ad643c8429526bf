/** A worker for tests: the committed bundle under a real `bun`, with this process as its supervisor. */
import { dlopen, FFIType, ptr } from "bun:ffi";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Socket, Subprocess } from "bun";
import { type Frame, frame, frames, pack, type Packed, T, unpack } from "./codec.ts";

const libc = dlopen("libc.so.6", { socketpair: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr], returns: FFIType.i32 } });
const AF_UNIX = 1;
const SOCK_STREAM = 1;

export const SHIM = path.resolve(import.meta.dir, "../dist/shim.js");
export const WINDOW = 256 * 1024;

export interface Answer {
  status: number;
  statusText: string | null;
  /** Names and Latin-1 values in the order they came. */
  headers: [string, string][];
  fin: boolean;
  body: Buffer;
  header(name: string): string | null;
  text(): string;
}

export interface RequestOptions {
  method?: string;
  url?: string;
  headers?: [string, string][];
  body?: string | Uint8Array;
  /** Whether the body ends with the REQUEST frame. */
  fin?: boolean;
  peer?: [string, number];
}

export class TestWorker {
  readonly received: Frame[] = [];
  /** Takes all frames instead of {@link received}; for benchmarks. */
  onFrames: ((frames: Frame[]) => void) | null = null;
  stderr = "";
  stdout = "";
  #next = 1;
  #waiters: { match: (frame: Frame) => boolean; resolve: (frame: Frame) => void; reject: (error: Error) => void }[] = [];
  #conditions: { condition: () => boolean; resolve: () => void; reject: (error: Error) => void }[] = [];
  #rest = Buffer.alloc(0);
  #out = Buffer.alloc(0);
  #ended = false;
  readonly #output: Promise<unknown>;

  private constructor(
    readonly process: Subprocess,
    readonly socket: Socket<undefined>,
    readonly page: string,
    readonly home: string,
  ) {
    this.#output = Promise.all([this.#collect("stdout"), this.#collect("stderr")]);
  }

  static async spawn(options: { env?: Record<string, string>; build?: string; script?: string; page?: boolean } = {}): Promise<TestWorker> {
    const home = fs.mkdtempSync(path.join(os.tmpdir(), "shim-test-"));
    const page = path.join(home, "page");
    fs.writeFileSync(page, Buffer.alloc(4096));
    const pageFd = fs.openSync(page, "r+");
    const pair = new Int32Array(2);
    if (libc.symbols.socketpair(AF_UNIX, SOCK_STREAM, 0, ptr(pair)) !== 0) throw new Error("socketpair failed");
    const withPage = options.page ?? true;
    let shim = options.script ?? SHIM;
    if (options.build !== undefined) {
      shim = path.join(home, `shim-${options.build}.js`);
      fs.writeFileSync(shim, fs.readFileSync(SHIM, "utf8").replace("__BUNTIME_BUILD__", options.build));
    }
    const child = Bun.spawn([process.execPath, "--no-install", "--no-env-file", shim], {
      cwd: home,
      env: options.env ?? { PATH: process.env.PATH ?? "", HOME: home, TMPDIR: home },
      stdio: ["ignore", "pipe", "pipe", pair[1]!, ...(withPage ? [pageFd] : [])],
    });
    fs.closeSync(pair[1]!);
    fs.closeSync(pageFd);
    let worker!: TestWorker;
    const early: Buffer[] = [];
    const socket = await Bun.connect({
      fd: pair[0]!,
      socket: {
        data(_socket: unknown, chunk: Buffer) {
          if (worker) worker.#data(chunk);
          else early.push(chunk);
        },
        drain() {
          worker.#flush();
        },
        close() {
          if (worker) void worker.#close();
        },
        error() {},
      },
    } as never);
    worker = new TestWorker(child, socket as never, page, home);
    for (const chunk of early) worker.#data(chunk);
    return worker;
  }

  /** Spawns a worker and gives it the app in `files` (the first is the entry). */
  static async start(files: string | Record<string, string>, assign: Record<string, Packed> = {}): Promise<TestWorker> {
    const worker = await TestWorker.spawn();
    await worker.take(T.HELLO);
    worker.assign(files, assign);
    const frame = await worker.take([T.READY, T.FAILED]);
    if (frame.type === T.FAILED) throw new Error("the app failed to load: " + String((unpack(frame.payload).value as Packed[])[3]));
    return worker;
  }

  /** Writes an app and sends ASSIGN for it, with `behind` in the same write. */
  assign(files: string | Record<string, string>, assign: Record<string, Packed> = {}, behind: Uint8Array = Buffer.alloc(0)): void {
    const dir = path.join(this.home, "app");
    const table = typeof files === "string" ? { "index.ts": files } : files;
    for (const [name, text] of Object.entries(table)) {
      fs.mkdirSync(path.dirname(path.join(dir, name)), { recursive: true });
      fs.writeFileSync(path.join(dir, name), text);
    }
    const payload = pack({
      dir,
      entry: path.join(dir, Object.keys(table)[0]!),
      name: "app",
      version: "1.0.0",
      workerId: "w1",
      mount: "/app",
      origin: "http://127.0.0.1:8000",
      dev: false,
      env: { PATH: process.env.PATH ?? "", HOME: this.home, TMPDIR: this.home },
      ...assign,
    });
    this.write(Buffer.concat([frame(T.ASSIGN, 0, payload), behind]));
  }

  send(type: number, stream: number, payload: Uint8Array): void {
    this.write(frame(type, stream, payload));
  }

  write(bytes: Uint8Array): void {
    this.#out = Buffer.concat([this.#out, bytes]);
    this.#flush();
  }

  /** Sends a REQUEST and returns its number. */
  request(pathname: string, options: RequestOptions = {}): number {
    const stream = this.#next++;
    this.write(requestFrame(stream, pathname, options));
    return stream;
  }

  /** Sends a request and collects the whole answer, granting credit as it comes. */
  async fetch(pathname: string, options: RequestOptions = {}): Promise<Answer> {
    return this.answer(this.request(pathname, options));
  }

  /** The whole answer on a stream. */
  async answer(stream: number): Promise<Answer> {
    const first = await this.take([T.RESPONSE, T.ERROR], stream);
    if (first.type === T.ERROR) throw new AppError(unpack(first.payload).value as string[]);
    const answer = readResponse(first.payload);
    const parts = [answer.body];
    let unpaid = answer.body.length;
    while (!answer.fin) {
      const next = await this.take([T.BODY, T.END, T.CANCEL], stream);
      if (next.type === T.CANCEL) throw new Error(`CANCEL ${JSON.stringify(unpack(next.payload).value)}`);
      parts.push(next.payload);
      unpaid += next.payload.length;
      if (next.type === T.END) break;
      if (unpaid >= WINDOW / 2) {
        this.credit(stream, unpaid);
        unpaid = 0;
      }
    }
    answer.body = Buffer.concat(parts);
    return answer;
  }

  credit(stream: number, bytes: number): void {
    const payload = Buffer.alloc(4);
    payload.writeUInt32BE(bytes);
    this.send(T.CREDIT, stream, payload);
  }

  cancel(stream: number, reason: number): void {
    this.send(T.CANCEL, stream, pack([reason]));
  }

  /** Resolves when the shim has handled everything sent so far and its event loop turned. */
  async ping(): Promise<void> {
    const token = crypto.getRandomValues(Buffer.alloc(8));
    this.send(T.PING, 0, token);
    await this.#wait((frame) => frame.type === T.PONG && frame.payload.equals(token));
  }

  /** Takes the next frame of one of these types (and stream) off what was received. */
  take(types: number | number[], stream?: number): Promise<Frame> {
    const wanted = ([] as number[]).concat(types);
    return this.#wait((frame) => wanted.includes(frame.type) && (stream === undefined || frame.stream === stream));
  }

  /** Frames received so far and not taken. */
  seen(type: number, stream?: number): Frame[] {
    return this.received.filter((frame) => frame.type === type && (stream === undefined || frame.stream === stream));
  }

  /** Resolves when `condition` holds after some frame has come. */
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    if (this.#ended) return Promise.reject(new Error(`the link is closed; stderr: ${this.stderr}`));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#conditions.push({ condition, resolve, reject });
    return promise;
  }

  /** Sends a body as the window allows, and END after it. */
  async sendBody(stream: number, body: Uint8Array): Promise<void> {
    let window = WINDOW;
    for (let at = 0; at < body.length; ) {
      if (window === 0) window += (await this.take(T.CREDIT, stream)).payload.readUInt32BE();
      const size = Math.min(window, 100_000, body.length - at);
      this.send(T.BODY, stream, body.subarray(at, at + size));
      at += size;
      window -= size;
    }
    this.send(T.END, stream, Buffer.alloc(0));
  }

  /** Resolves when all that was sent is in the kernel's hands. */
  async written(): Promise<void> {
    while (this.#out.length > 0) await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Reads nothing off the link until {@link resume}. */
  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  /** Word 1 of the progress page. */
  progress(): number {
    return fs.readFileSync(this.page).readUInt32LE(4);
  }

  /** Closes the link and waits for the exit status. */
  async stop(): Promise<number> {
    this.#ended = true;
    this.socket.end();
    return this.exited();
  }

  /** The exit status, once all output was read. */
  async exited(): Promise<number> {
    const status = await this.process.exited;
    await this.#output;
    fs.rmSync(this.home, { recursive: true, force: true });
    return status;
  }

  #wait(match: (frame: Frame) => boolean): Promise<Frame> {
    const index = this.received.findIndex(match);
    if (index >= 0) return Promise.resolve(this.received.splice(index, 1)[0]!);
    if (this.#ended) return Promise.reject(new Error(`the link is closed; stderr: ${this.stderr}`));
    const { promise, resolve, reject } = Promise.withResolvers<Frame>();
    this.#waiters.push({ match, resolve, reject });
    return promise;
  }

  #data(chunk: Buffer): void {
    const { frames: found, rest } = frames(this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk);
    this.#rest = rest as Buffer<ArrayBuffer>;
    if (this.onFrames !== null) {
      this.onFrames(found);
      return;
    }
    for (const one of found) {
      const index = this.#waiters.findIndex((waiter) => waiter.match(one));
      if (index >= 0) this.#waiters.splice(index, 1)[0]!.resolve(one);
      else this.received.push(one);
    }
    this.#conditions = this.#conditions.filter(({ condition, resolve }) => {
      if (!condition()) return true;
      resolve();
      return false;
    });
  }

  #flush(): void {
    if (this.#out.length === 0) return;
    const taken = this.socket.write(this.#out);
    if (taken > 0) this.#out = this.#out.subarray(taken);
  }

  async #close(): Promise<void> {
    this.#ended = true;
    await this.process.exited;
    for (const { reject } of [...this.#waiters.splice(0), ...this.#conditions.splice(0)]) reject(new Error(`the link is closed; stderr: ${this.stderr}`));
  }

  async #collect(name: "stdout" | "stderr"): Promise<void> {
    for await (const chunk of this.process[name] as ReadableStream<Uint8Array>) this[name] += Buffer.from(chunk).toString();
  }
}

/** The app's error as it came in an ERROR frame. */
export class AppError extends Error {
  readonly appName: string;
  readonly appStack: string;
  readonly inspect: string;

  constructor([name, message, stack, inspect]: string[]) {
    super(message);
    this.appName = name!;
    this.appStack = stack!;
    this.inspect = inspect!;
  }
}

export function requestFrame(stream: number, pathname: string, options: RequestOptions = {}): Buffer {
  const { method = "GET", headers = [], body = "", fin = true, peer = ["203.0.113.7", 40000] } = options;
  const url = options.url ?? `http://127.0.0.1:8000${pathname}`;
  const flat: Packed[] = headers.flatMap(([name, value]) => [name, Buffer.from(value, "latin1")]);
  const head = pack([fin ? 1 : 0, method, url, flat, peer[0], peer[1]]);
  return frame(T.REQUEST, stream, Buffer.concat([head, Buffer.from(body as string)]));
}

export function readResponse(payload: Buffer): Answer {
  const { value, size } = unpack(payload);
  const [flags, status, statusText, flat] = value as [number, number, string | null, Packed[]];
  const headers: [string, string][] = [];
  for (let i = 0; i < flat.length; i += 2) {
    if (!(flat[i + 1] instanceof Uint8Array)) throw new Error("a header value is not binary");
    headers.push([flat[i] as string, Buffer.from(flat[i + 1] as Uint8Array).toString("latin1")]);
  }
  return {
    status,
    statusText,
    headers,
    fin: (flags & 1) !== 0,
    body: payload.subarray(size),
    header: (name) => headers.filter(([one]) => one === name).map(([, one]) => one).join(", ") || null,
    text() {
      return this.body.toString();
    },
  };
}
