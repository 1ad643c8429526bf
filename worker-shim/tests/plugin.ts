/** A worker that runs a script plugin, and the supervisor's side of its hooks and calls. */
import { type Packed, pack, T, unpack } from "./codec.ts";
import { type Answer, type RequestOptions, TestWorker } from "./worker.ts";

export interface Seat {
  base?: string | null;
  config?: Packed;
  server?: string | null;
  apiBase?: string | null;
}

export function seatOf(seat: Seat = {}): Buffer {
  return pack({ name: "@team/guard", version: "1.2.3", base: null, config: {}, stateDir: "/state", server: null, apiBase: null, ...seat } as Packed);
}

/** Spawns a worker and has it load a plugin; returns before it says READY. */
export async function loadPlugin(source: string | Record<string, string>, seat: Seat = {}): Promise<TestWorker> {
  const worker = await TestWorker.spawn();
  await worker.take(T.HELLO);
  worker.assign(typeof source === "string" ? { "plugin.ts": source } : source, { plugin: seatOf(seat) });
  // A plugin names its services before all else.
  if (typeof source === "string" && source.includes("services: {\n")) {
    const call = await takeCall(worker);
    if (call.service !== "core:services") throw new Error(`the first call is ${call.service}.${call.method}`);
    answerCall(worker, call.id, null);
  }
  return worker;
}

export async function startPlugin(source: string | Record<string, string>, seat: Seat = {}): Promise<TestWorker> {
  const worker = await loadPlugin(source, seat);
  const frame = await worker.take([T.READY, T.FAILED]);
  if (frame.type === T.FAILED) throw new Error("the plugin failed to load: " + String((unpack(frame.payload).value as Packed[])[3]));
  return worker;
}

export interface HookOptions extends Omit<RequestOptions, "headers"> {
  headers?: Record<string, string>;
}

/** Begins a hook; `headers` with an underscore in front get the supervisor's prefix in its place. */
export function beginHook(worker: TestWorker, hook: string, { headers = {}, ...options }: HookOptions = {}): number {
  const pairs = Object.entries({ _hook: hook, ...headers }).map(([name, value]): [string, string] => [name.replace(/^_/, "x-buntime-"), value]);
  return worker.request("/", { url: "https://example.org/a?b=c", ...options, headers: pairs });
}

export async function runHook(worker: TestWorker, hook: string, options: HookOptions = {}): Promise<Answer> {
  return worker.answer(beginHook(worker, hook, options));
}

/** What an answer says in the supervisor's own headers, and the rest of them. */
export function read(answer: Answer): { flow: Record<string, string>; headers: Record<string, string> } {
  const flow: Record<string, string> = {};
  const headers: Record<string, string> = {};
  for (const [name, value] of answer.headers) {
    if (name.startsWith("x-buntime-")) flow[name.slice("x-buntime-".length)] = value;
    else headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  return { flow, headers };
}

/** The body of a `response` hook, without what follows of the response's. */
export function responseHead(status: number, headers: [string, string][] = [], statusText = ""): Buffer {
  const head = pack([status, statusText, headers.flatMap(([name, value]): Packed[] => [name, Buffer.from(value, "latin1")])]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(head.length);
  return Buffer.concat([length, head]);
}

/** The next CALL. */
export async function takeCall(worker: TestWorker): Promise<{ id: number; service: string; method: string; args: Packed[] }> {
  const [id, service, method, args] = unpack((await worker.take(T.CALL)).payload).value as [number, string, string, Packed[]];
  return { id, service, method, args };
}

export function answerCall(worker: TestWorker, id: number, value: Packed, error: [string, string] | null = null): void {
  worker.send(T.RESULT, 0, pack([id, error, value]));
}
