/** The WebSockets of a plugin: its handlers, the objects that it holds, and what they subscribe to. */
import type { Socket, WebSocketHandlers } from "../../types/plugin.d.ts";
import { LoadError } from "../errors.ts";
import type { Exchange } from "../exchange.ts";
import { frameMessage, Kind, type Listener, MAX_MESSAGE, ReadyState, type SocketStream } from "../websocket.ts";
import { isFunction } from "./guards.ts";
import { HINTS } from "./module.ts";

const HANDLERS = ["open", "message", "close", "drain", "ping", "pong"] as const;
/** As in Bun. */
const IDLE_SECONDS = 120;

export type Data = string | ArrayBuffer | SharedArrayBuffer | ArrayBufferView;

/** The `websocket` of a plugin, checked. */
export class Sockets {
  readonly topics = new Map<string, Set<PluginSocket>>();
  count = 0;
  #handlers: Partial<Record<(typeof HANDLERS)[number], (...args: unknown[]) => unknown>> | null = null;
  maxPayload = MAX_MESSAGE;
  idleSeconds = IDLE_SECONDS;
  backpressureLimit = MAX_MESSAGE;
  closeOnBackpressureLimit = false;
  publishToSelf = false;

  /** Whether there are any handlers. */
  get isThere(): boolean {
    return this.#handlers !== null;
  }

  /** @throws LoadError */
  configure(websocket: Record<string, unknown>): void {
    for (const name of HANDLERS) {
      if (websocket[name] !== undefined && !isFunction(websocket[name])) throw new LoadError(`The plugin's websocket.${name} is no function`, HINTS.websocket!);
    }
    this.maxPayload = numberOf(websocket, "maxPayloadLength", MAX_MESSAGE, MAX_MESSAGE);
    this.idleSeconds = numberOf(websocket, "idleTimeout", IDLE_SECONDS, 24 * 3600);
    this.backpressureLimit = numberOf(websocket, "backpressureLimit", MAX_MESSAGE, Number.MAX_SAFE_INTEGER);
    this.closeOnBackpressureLimit = websocket.closeOnBackpressureLimit === true;
    this.publishToSelf = websocket.publishToSelf === true;
    this.#handlers = websocket as WebSocketHandlers as never;
  }

  /** Calls a handler. What it throws is printed, as nobody waits for it. */
  call(name: (typeof HANDLERS)[number], socket: PluginSocket, ...args: unknown[]): void {
    try {
      const answer = this.#handlers?.[name]?.(socket, ...args);
      if (answer instanceof Promise) answer.catch((error: unknown) => console.error(error));
    } catch (error) {
      console.error(error);
    }
  }

  /** Sends to all who have subscribed but `except`. Returns the bytes that each gets, 0 where there is none. */
  publish(topic: string, kind: Kind, data: Data, except: PluginSocket | null): number {
    const subscribers = this.topics.get(topic);
    if (subscribers === undefined || subscribers.size === 0) return 0;
    const bytes = toPayload(data);
    const message = frameMessage(kind, bytes);
    let sent = 0;
    for (const socket of [...subscribers]) if (socket !== except && socket.sendFramed(message) !== 0) sent = message.length;
    return sent;
  }
}

/** What a plugin's handlers are given: Bun's `ServerWebSocket`, as far as it makes sense here. */
export class PluginSocket implements Socket<unknown>, Listener {
  data: unknown;
  binaryType: "nodebuffer" | "arraybuffer" | "uint8array" = "nodebuffer";
  readonly #sockets: Sockets;
  readonly #exchange: Exchange;
  readonly #topics = new Set<string>();
  #stream!: SocketStream;

  constructor(sockets: Sockets, exchange: Exchange, data: unknown) {
    this.#sockets = sockets;
    this.#exchange = exchange;
    this.data = data;
  }

  /** Begins it: `stream` hands on to this what it hears. */
  static begin(socket: PluginSocket, stream: SocketStream): void {
    socket.#stream = stream;
    socket.#sockets.count++;
    socket.#sockets.call("open", socket);
  }

  get readyState(): number {
    return this.#stream.readyState;
  }

  get remoteAddress(): string {
    return this.#exchange.peerAddress;
  }

  get subscriptions(): string[] {
    return [...this.#topics];
  }

  send(data: Data, _compress?: boolean): number {
    return this.sendFramed(frameMessage(kindOf(data), toPayload(data)));
  }

  sendText(data: string, _compress?: boolean): number {
    return this.sendFramed(frameMessage(Kind.Text, String(data)));
  }

  sendBinary(data: Exclude<Data, string>, _compress?: boolean): number {
    return this.sendFramed(frameMessage(Kind.Binary, toPayload(data)));
  }

  ping(data: Data = ""): number {
    return this.sendFramed(frameMessage(Kind.Ping, toPayload(data)));
  }

  pong(data: Data = ""): number {
    return this.sendFramed(frameMessage(Kind.Pong, toPayload(data)));
  }

  /** Bytes sent; -1: they wait for the client to take what is before them; 0: dropped. */
  sendFramed(message: Uint8Array): number {
    if (this.#stream.readyState !== ReadyState.Open) return 0;
    if (this.#stream.buffered > 0 && this.#stream.buffered + message.length > this.#sockets.backpressureLimit) {
      if (this.#sockets.closeOnBackpressureLimit) this.terminate();
      return 0;
    }
    return this.#stream.send(message) ? message.length : -1;
  }

  close(code = 1000, reason = ""): void {
    if (typeof code !== "number" || !(code >= 1000 && code < 5000)) throw new TypeError("A WebSocket is closed with a code of 1000 to 4999");
    this.#stream.close(code, String(reason));
  }

  terminate(): void {
    this.#stream.terminate();
  }

  getBufferedAmount(): number {
    return this.#stream.buffered;
  }

  /** Calls `callback` at once: what is sent in one turn goes in one piece anyway. */
  cork<T>(callback: (socket: this) => T): T {
    return callback(this);
  }

  subscribe(topic: string): void {
    if (this.#stream.readyState !== ReadyState.Open) return;
    const { topics } = this.#sockets;
    let subscribers = topics.get(topic);
    if (subscribers === undefined) topics.set(topic, (subscribers = new Set()));
    subscribers.add(this);
    this.#topics.add(topic);
  }

  unsubscribe(topic: string): void {
    this.#topics.delete(topic);
    const subscribers = this.#sockets.topics.get(topic);
    subscribers?.delete(this);
    if (subscribers?.size === 0) this.#sockets.topics.delete(topic);
  }

  isSubscribed(topic: string): boolean {
    return this.#topics.has(topic);
  }

  publish(topic: string, data: Data, _compress?: boolean): number {
    return this.#sockets.publish(topic, kindOf(data), data, this.#sockets.publishToSelf ? null : this);
  }

  publishText(topic: string, data: string, _compress?: boolean): number {
    return this.publish(topic, String(data));
  }

  publishBinary(topic: string, data: Exclude<Data, string>, _compress?: boolean): number {
    return this.publish(topic, data);
  }

  // What the stream hands on.

  message(kind: Kind, payload: Buffer): void {
    if (kind === Kind.Ping) this.#sockets.call("ping", this, this.#binary(payload));
    else if (kind === Kind.Pong) this.#sockets.call("pong", this, this.#binary(payload));
    else this.#sockets.call("message", this, kind === Kind.Text ? payload.toString() : this.#binary(payload));
  }

  drain(): void {
    this.#sockets.call("drain", this);
  }

  closed(code: number, reason: string): void {
    this.#sockets.count--;
    this.#sockets.call("close", this, code, reason);
    for (const topic of this.#topics) this.unsubscribe(topic);
  }

  #binary(payload: Buffer): Buffer | ArrayBuffer | Uint8Array {
    switch (this.binaryType) {
      case "arraybuffer":
        return payload.buffer as ArrayBuffer;
      case "uint8array":
        return new Uint8Array(payload.buffer);
      default:
        return payload;
    }
  }
}

export function kindOf(data: Data): Kind {
  return typeof data === "string" ? Kind.Text : Kind.Binary;
}

function toPayload(data: Data): string | Uint8Array {
  if (typeof data === "string" || data instanceof Uint8Array) return data;
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (data instanceof ArrayBuffer || data instanceof SharedArrayBuffer) return new Uint8Array(data);
  throw new TypeError(`A WebSocket takes strings and bytes, not ${Bun.inspect(data, { depth: 0 }).slice(0, 100)}`);
}

function numberOf(websocket: Record<string, unknown>, name: string, otherwise: number, most: number): number {
  const value = websocket[name];
  if (value === undefined) return otherwise;
  if (typeof value !== "number" || !(value >= 0 && value <= most)) throw new LoadError(`The plugin's websocket.${name} is ${Bun.inspect(value, { depth: 0 })}, no number from 0 to ${most}`, `${name}: ${otherwise}`);
  return Math.floor(value);
}
