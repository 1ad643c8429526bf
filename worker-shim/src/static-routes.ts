/** Routes that are no function: a `Response` or a file in the route table. */
import { LoadError } from "./errors.ts";
import { BUFFERED, bufferedResponse, EMPTY, emptyResponse, isFile, sourceOf } from "./response.ts";
import type { Handler } from "./routes.ts";

/** Stands for "this route is not here": the app's `fetch` goes on. */
export const PASS = Symbol("pass");

/** A `Response` in the table: read once, sent with a strong ETag as often as it is asked for. */
export function staticRoute(path: string, response: Response): Handler {
  const source = sourceOf(response);
  if (source instanceof Blob && isFile(source)) return fileRoute(source, response);
  const body = bodyOf(path, response);
  const { status, statusText } = response;
  const headers = new Headers(response.headers);
  if (typeof source === "string" && source !== "" && !headers.has("content-type")) headers.set("content-type", "text/plain;charset=utf-8");
  if (body.length > 0 && !headers.has("etag")) headers.set("etag", `"${Bun.hash.xxHash64(body).toString(16)}"`);
  const etag = headers.get("etag");
  return (request) => {
    const { method } = request;
    if (etag !== null && status === 200 && (method === "GET" || method === "HEAD") && matches(request.headers.get("if-none-match"), etag)) {
      return emptyResponse({ status: 304, headers });
    }
    return bufferedResponse(body, { status, statusText, headers });
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

function bodyOf(path: string, response: Response): Uint8Array<ArrayBuffer> {
  const source = sourceOf(response);
  if (source === EMPTY) return new Uint8Array(0);
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
