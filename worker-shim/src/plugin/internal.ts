/** The headers in which supervisor and shim speak of hooks, which a plugin neither sees nor sets. See PROTOCOL.md. */
import { NativeResponse } from "../natives.ts";
import { emptyResponse } from "../response.ts";
import type { HeaderTable } from "../response-head.ts";
import { PreparedResponse } from "../static-routes.ts";

const PREFIX = "x-buntime-";
const FLOW = "x-buntime-flow";
const BODY = "x-buntime-body";

export type Flow = "continue" | "replace" | "respond" | "pass";

/** Takes them out of `headers`; the keys of what is returned are without their prefix. */
export function takeInternal(headers: Headers): Map<string, string> {
  const taken = new Map<string, string>();
  for (const [name, value] of headers) if (name.startsWith(PREFIX)) taken.set(name.slice(PREFIX.length), value);
  for (const name of taken.keys()) headers.delete(PREFIX + name);
  return taken;
}

/** Go on. */
export const CONTINUE = new PreparedResponse(204, "", { [FLOW]: "continue" }, new Uint8Array(0));
/** Go on; here is the body that was not touched. */
export function continueWith(body: ReadableStream): Response {
  return new NativeResponse(body, { headers: { [FLOW]: "continue", [BODY]: "replace" } });
}

/** Not here. */
export const PASS_ON = new PreparedResponse(404, "", { [FLOW]: "pass" }, new Uint8Array(0));

/** The headers of an answer that opens a WebSocket. */
export function upgradeBy(given: HeadersInit | undefined, asked: Headers, maxPayload: number, idleSeconds: number): HeaderTable {
  const headers = new Headers(given);
  takeInternal(headers);
  // As Bun does: the one that the client likes best.
  const protocol = asked.get("sec-websocket-protocol")?.split(",", 1)[0]!.trim();
  if (protocol && !headers.has("sec-websocket-protocol")) headers.set("sec-websocket-protocol", protocol);
  headers.set(FLOW, "upgrade");
  headers.set("x-buntime-max-payload", String(maxPayload));
  headers.set("x-buntime-idle", String(idleSeconds));
  return headers.toJSON() as HeaderTable;
}

/** Go on with another request. `body`: null keeps the one that there was. */
export function replaceBy(method: string, url: string, from: Headers, body: ReadableStream | null, keep: boolean): Response {
  const headers = new Headers(from);
  takeInternal(headers);
  // Of the request as it was; the supervisor sees how long it is now.
  headers.delete("content-length");
  headers.set(FLOW, "replace");
  headers.set("x-buntime-method", method);
  headers.set("x-buntime-url", url);
  headers.set(BODY, keep ? "keep" : "replace");
  return body === null ? emptyResponse({ headers }) : new NativeResponse(body, { headers });
}

/** A plugin's answer, marked with what it means; with `body` also what its body means. */
export function mark(answer: Response, flow: Flow | null, body: "keep" | "replace" | null = null): Response {
  const { headers } = answer;
  takeInternal(headers);
  if (flow !== null) headers.set(FLOW, flow);
  if (body !== null) headers.set(BODY, body);
  return answer;
}

/** The same of a response in the route table, which is sent as often as it is asked for. */
export function withoutInternal(answer: PreparedResponse): PreparedResponse {
  const names = Object.keys(answer.headers);
  if (!names.some((name) => name.startsWith(PREFIX))) return answer;
  const headers = Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !name.startsWith(PREFIX))) as HeaderTable;
  return new PreparedResponse(answer.status, answer.statusText, headers, answer.body);
}
