/** Writes response heads, and answers that fit into one frame, straight into the link's buffer. */
import type { Exchange } from "./exchange.ts";
import { FLAG_FIN, FrameType, HEADER_BYTES, MAX_HEAD_BYTES, MAX_HEADER_PAIRS } from "./frames.ts";
import type { Link } from "./link.ts";

/** Bytes of a head beside its headers: array, flags, status, lengths. */
const FIXED_BYTES = 32;
/** Bytes of a header beside its name and value. */
const PAIR_BYTES = 10;
/** What Bun says of a body that is a string, and of one that is bytes. */
export const TEXT = "text/plain;charset=utf-8";
export const OCTETS = "application/octet-stream";

/** The length of a body is not known. */
export const NO_LENGTH = -1;

/** A body that fits into the head's frame: nothing, text (at most {@link MAX_SMALL} units) or bytes. */
export type InlineBody = string | Uint8Array | null;
/** A body up to this size, in bytes or UTF-16 units, goes out with its head even where the link has no room for more. */
export const MAX_SMALL = 16 * 1024;

/** What a head says beside its headers. */
export type ResponseHead = Pick<Response, "status" | "statusText">;

/** Header values by name; only `set-cookie` has several. */
export type HeaderTable = Record<string, string | string[]>;

export function headersOf(response: Response): HeaderTable {
  return response.headers.toJSON() as HeaderTable;
}

/**
 * Appends a RESPONSE frame.
 *
 * @param type   content-type where the app has given none; null: none
 * @param length bytes of the whole body, or {@link NO_LENGTH}. It becomes a content-length header only where the
 *               supervisor cannot count for itself: on HEAD, and where body frames follow. There it replaces the
 *               app's; an app that answers HEAD without a body may say what GET would have had.
 */
export function writeResponse(
  link: Link,
  exchange: Exchange,
  response: ResponseHead,
  headers: HeaderTable,
  type: string | null,
  length: number,
  fin: boolean,
  body: InlineBody,
): void {
  const { statusText } = response;
  const cookies = exchange.cookies === null ? NO_COOKIES : exchange.cookies.toSetCookieHeaders();
  const lengthText = contentLength(exchange, response, headers, length, fin);
  let size = FIXED_BYTES + statusText.length;
  let pairs = 0;
  for (const name in headers) {
    if (isHopByHop(name)) continue;
    const value = headers[name]!;
    if (typeof value === "string") {
      size += PAIR_BYTES + name.length + value.length;
      pairs++;
    } else {
      for (const one of value) size += PAIR_BYTES + name.length + one.length;
      pairs += value.length;
    }
  }
  const addedType = type !== null && headers["content-type"] === undefined ? type : null;
  if (addedType !== null) {
    size += PAIR_BYTES + "content-type".length + addedType.length;
    pairs++;
  }
  if (lengthText !== null) {
    size += PAIR_BYTES + "content-length".length + lengthText.length;
    pairs++;
  }
  for (const cookie of cookies) {
    size += PAIR_BYTES + "set-cookie".length + cookie.length;
    pairs++;
  }
  if (size > MAX_HEAD_BYTES || pairs > MAX_HEADER_PAIRS) {
    throw new RangeError(`The response has ${pairs} headers of ${size} bytes; at most ${MAX_HEADER_PAIRS} of ${MAX_HEAD_BYTES} bytes can be sent`);
  }

  link.reserve(HEADER_BYTES + size + (body === null ? 0 : typeof body === "string" ? 3 * body.length : body.length));
  const start = link.fill;
  const out = (bytes = link.out);
  at = start + HEADER_BYTES;
  const { status } = response;
  out[at++] = 0x94;
  out[at++] = fin ? FLAG_FIN : 0;
  out[at++] = 0xcd;
  out[at++] = status >>> 8;
  out[at++] = status;
  if (statusText === "" || !isPlain(statusText)) out[at++] = 0xc0;
  else {
    writeLength(0xd9, 0xda, 0xdb, statusText.length);
    writeLatin1(statusText);
  }
  out[at++] = 0xdc;
  out[at++] = (2 * pairs) >>> 8;
  out[at++] = 2 * pairs;
  for (const name in headers) {
    if (isHopByHop(name)) continue;
    const value = headers[name]!;
    if (typeof value === "string") writePair(name, value);
    else for (const one of value) writePair(name, one);
  }
  if (addedType !== null) writePair("content-type", addedType);
  if (lengthText !== null) writePair("content-length", lengthText);
  for (const cookie of cookies) writePair("set-cookie", cookie);
  if (typeof body === "string") at += out.utf8Write(body, at);
  else if (body !== null) {
    out.set(body, at);
    at += body.length;
  }
  link.header(FrameType.Response, exchange.stream, at - start - HEADER_BYTES);
  link.fill = at;
  link.written();
}

/** The content-length header to send, null for none. */
function contentLength(exchange: Exchange, response: ResponseHead, headers: HeaderTable, length: number, fin: boolean): string | null {
  if (length === NO_LENGTH || (fin && !exchange.isHead)) return null;
  if (response.status === 204 || response.status === 304) return null;
  const own = headers["content-length"];
  return length === 0 && typeof own === "string" && /^\d{1,15}$/.test(own) ? own : String(length);
}

const NO_COOKIES: readonly string[] = [];

let bytes: Buffer;
let at = 0;

function writePair(name: string, value: string): void {
  const length = name.length;
  if (length < 32) bytes[at++] = 0xa0 | length;
  else writeLength(0xd9, 0xda, 0xdb, length);
  writeLatin1(name);
  writeLength(0xc4, 0xc5, 0xc6, value.length);
  writeLatin1(value);
}

function writeLength(tag8: number, tag16: number, tag32: number, length: number): void {
  if (length < 0x100) {
    bytes[at++] = tag8;
  } else if (length < 0x10000) {
    bytes[at++] = tag16;
    bytes[at++] = length >>> 8;
  } else {
    bytes[at++] = tag32;
    bytes[at++] = length >>> 24;
    bytes[at++] = length >>> 16;
    bytes[at++] = length >>> 8;
  }
  bytes[at++] = length;
}

function writeLatin1(text: string): void {
  bytes.latin1Write(text, at);
  at += text.length;
}

/** Visible ASCII and spaces: of anything else a status line has no agreed encoding (RFC 9112 §4). */
function isPlain(text: string): boolean {
  return /^[\x20-\x7e]*$/.test(text);
}

/** Headers about the connection, and the length, which the shim and the supervisor know better. */
function isHopByHop(name: string): boolean {
  switch (name) {
    case "connection":
    case "content-length":
    case "keep-alive":
    case "proxy-connection":
    case "transfer-encoding":
    case "upgrade":
      return true;
    default:
      return false;
  }
}
