/** `Range` (RFC 9110 §14.2) for whole files, answered as `Bun.serve` answers it. */
import type { Exchange } from "./exchange.ts";
import { readHeaders } from "./request-head.ts";
import type { HeaderTable, ResponseHead } from "./response-head.ts";

/** One range of bytes. Numbers that no file has are no range. */
const RANGE = /^bytes[ \t]*=[ \t]*(\d{0,19})[ \t]*-[ \t]*(\d{0,19})[ \t]*$/i;

/** The head of a 206 with `start` and `end` of the body, or of a 416. */
export interface Range extends ResponseHead {
  header: string;
  start: number;
  end: number;
}

/**
 * What is asked for of a file of `size` bytes; undefined: all of it. So it is for several ranges, for an If-Range that
 * does not hold, and where the app has chosen a status or a range itself.
 */
export function rangeFor(exchange: Exchange, response: ResponseHead, headers: HeaderTable, size: number): Range | undefined {
  if (exchange.method !== "GET" || !exchange.headText.includes("range") || response.status !== 200 || headers["content-range"] !== undefined) return undefined;
  const asked = new Headers();
  readHeaders(exchange.headText, exchange.headersAt, exchange.headerCount, asked);
  const value = asked.get("range");
  if (value === null || !isCurrent(asked.get("if-range"), headers)) return undefined;
  const [, first, last] = RANGE.exec(value) ?? ["", "", ""];
  if (first === "" && last === "") return undefined;
  if (first !== "" && last !== "" && Number(first) > Number(last)) return undefined;
  if (first === "" && size === 0 && Number(last) > 0) return undefined;
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size : Math.min(size, Number(last) + 1);
  if (start >= size) return { status: 416, statusText: "", header: `bytes */${size}`, start: 0, end: 0 };
  return { status: 206, statusText: "", header: `bytes ${start}-${end - 1}/${size}`, start, end };
}

/** Whether If-Range (RFC 9110 §13.1.5), where there is one, is a strong validator that the app has given. */
function isCurrent(condition: string | null, headers: HeaderTable): boolean {
  if (condition === null) return true;
  if (condition.startsWith('"')) return condition === headers.etag;
  return !condition.startsWith("W/") && condition === headers["last-modified"];
}
