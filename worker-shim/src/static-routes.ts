/** Routes that are no function: a `Response` or a file in the route table. */
import { LoadError } from "./errors.ts";
import { mentions } from "./request.ts";
import { type HeaderTable, TEXT } from "./response-head.ts";
import { BUFFERED, EMPTY, emptyResponse, isFile, sourceOf } from "./response.ts";
import type { Handler } from "./routes.ts";

/** Stands for "this route is not here": the app's `fetch` goes on. */
export const PASS = Symbol("pass");

const NO_BYTES = new Uint8Array(0);

/** An answer that is made once and sent often: what a `Response` comes down to. */
export class PreparedResponse {
  constructor(
    readonly status: number,
    readonly statusText: string,
    readonly headers: HeaderTable,
    readonly body: Uint8Array,
  ) {}
}

/** A `Response` in the table: read once, sent with a strong ETag as often as it is asked for. */
export function staticRoute(path: string, response: Response): Handler {
  const source = sourceOf(response);
  if (source instanceof Blob && isFile(source)) return fileRoute(source, response);
  const { status, statusText } = response;
  if (status < 200) throw new LoadError(`The Response of route "${path}" has status ${status}`, "use a status from 200 to 599");
  const body = status === 204 || status === 304 ? NO_BYTES : bodyOf(path, response);
  const headers = new Headers(response.headers);
  if (typeof source === "string" && body.length > 0 && !headers.has("content-type")) headers.set("content-type", TEXT);
  if (body.length > 0 && !headers.has("etag")) headers.set("etag", `"${Bun.hash.xxHash64(body).toString(16)}"`);
  const etag = headers.get("etag");
  const table = headers.toJSON() as HeaderTable;
  const whole = new PreparedResponse(status, statusText, table, body);
  if (etag === null || status !== 200) return () => whole;
  const unchanged = new PreparedResponse(304, "", table, NO_BYTES);
  return (request) => {
    if (!mentions(request, "if-none-match") || (request.method !== "GET" && request.method !== "HEAD")) return whole;
    return matches(request.headers.get("if-none-match"), etag) ? unchanged : whole;
  };
}

/** A file in the table: read when it is asked for; a missing one passes the request on to `fetch`. */
export function fileRoute(file: Blob, response?: Response): Handler {
  return async (request) => {
    const stat = await file.stat()?.catch(() => undefined);
    if (!stat?.isFile()) return PASS;
    const headers = new Headers(response?.headers);
    if (!headers.has("content-type")) headers.set("content-type", file.type);
    if (!headers.has("last-modified")) headers.set("last-modified", stat.mtime.toUTCString());
    const since = Date.parse(request.headers.get("if-modified-since") ?? "");
    const fresh = (request.method === "GET" || request.method === "HEAD") && Math.floor(stat.mtimeMs / 1000) * 1000 <= since;
    if (fresh) return emptyResponse({ status: 304, headers });
    return new Response(file, { status: response?.status ?? 200, headers });
  };
}

function bodyOf(path: string, response: Response): Uint8Array {
  const source = sourceOf(response);
  if (source === EMPTY) return NO_BYTES;
  if (response.bodyUsed) throw new LoadError(`The Response of route "${path}" was read already`, "give the route a Response of its own");
  if (typeof source === "string" || source === BUFFERED || source instanceof Blob) {
    const bytes = Bun.peek(response.clone().bytes());
    if (bytes instanceof Uint8Array) return bytes;
  }
  throw new LoadError(`The Response of route "${path}" has a streaming body`, "use a function that makes a new Response for each request");
}

/** RFC 9110 §13.1.2, with its weak comparison. */
function matches(header: string | null, etag: string): boolean {
  if (header === null) return false;
  if (header.trim() === "*") return true;
  const opaque = etag.replace(/^W\//, "");
  return header.split(",").some((one) => one.trim().replace(/^W\//, "") === opaque);
}
