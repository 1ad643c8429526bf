/** What a thrown value looks like on the wire: `[name, message, stack, inspect]`. */

const MAX_NAME = 256;
const MAX_MESSAGE = 64 * 1024;
const MAX_STACK = 128 * 1024;
/** PROTOCOL.md: at most 64 KiB. */
const MAX_INSPECT = 64 * 1024;

export type WireError = [name: string, message: string, stack: string, inspect: string];

/** Describes anything that can be thrown. Never throws itself, whatever getters the value has. */
export function describeError(thrown: unknown): WireError {
  let name = "Error";
  let message = "";
  let stack = "";
  let inspect = "";
  try {
    inspect = Bun.inspect(thrown, { colors: false });
    if (thrown instanceof Error) {
      name = String(thrown.name);
      message = String(thrown.message);
      stack = String(thrown.stack ?? "");
    } else {
      name = "Thrown";
      message = inspect;
    }
  } catch {
    message ||= "The thrown value cannot be described";
  }
  return [cut(name, MAX_NAME), cut(message, MAX_MESSAGE), cut(stack, MAX_STACK), cut(inspect, MAX_INSPECT)];
}

/** At most `limit` bytes of UTF-8, ending with a whole character. */
function cut(text: string, limit: number): string {
  if (text.length * 3 <= limit) return text.toWellFormed();
  const bytes = Buffer.from(text);
  if (bytes.length <= limit) return text.toWellFormed();
  let end = limit;
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}

/** An error that the reader can act upon: what is wrong, and below it what to do. */
export class LoadError extends Error {
  override name = "LoadError";

  constructor(problem: string, hint: string, options?: ErrorOptions) {
    super(`${problem}\nhint: ${hint}`, options);
  }
}
