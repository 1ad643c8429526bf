/** What a thrown value looks like on the wire: `[name, message, stack, inspect]`. */

const MAX_NAME = 256;
const MAX_MESSAGE = 64 * 1024;
const MAX_STACK = 128 * 1024;
/** PROTOCOL.md: at most 64 KiB. */
const MAX_INSPECT = 64 * 1024;
/** The bundle: its own frames tell an app's author nothing. */
const SHIM = Bun.main;

export type WireError = [name: string, message: string, stack: string, inspect: string];

/** An app that cannot be run, in words for its author: what is wrong, and below it what to do. */
export class LoadError extends Error {
  override name = "LoadError";

  constructor(problem: string, hint: string) {
    super(`${problem}\nhint: ${hint}`);
  }
}

/** Describes anything that can be thrown. Never throws itself, whatever getters the value has. */
export function describeError(thrown: unknown): WireError {
  let name = "Error";
  let message = "";
  let stack = "";
  let inspect = "";
  try {
    if (thrown instanceof Error) {
      name = String(thrown.name);
      message = String(thrown.message);
      stack = withoutShim(String(thrown.stack ?? ""));
    } else {
      name = "Thrown";
    }
    inspect = thrown instanceof LoadError ? message : withoutShim(Bun.inspect(thrown, { colors: false }));
  } catch {
    // What could be read stands.
  }
  if (name === "Thrown") message = typeof thrown === "string" ? thrown : inspect;
  return [cut(name, MAX_NAME), cut(message, MAX_MESSAGE), cut(stack, MAX_STACK), cut(inspect, MAX_INSPECT)];
}

/** Leaves out the stack frames of the bundle, and the source excerpt if it is of the bundle. */
function withoutShim(text: string): string {
  const lines = text.split("\n");
  const firstFrame = lines.find((line) => /^\s+at /.test(line));
  const ofShim = firstFrame?.includes(SHIM) ?? false;
  return lines
    .filter((line) => !(/^\s+at /.test(line) && line.includes(SHIM)) && !(ofShim && /^\s*(\d+ \| |\^\s*$)/.test(line)))
    .join("\n")
    .trim();
}

/** At most `limit` bytes of UTF-8, ending with a whole character. */
function cut(text: string, limit: number): string {
  if (text.length * 3 <= limit) return text;
  const bytes = Buffer.from(text);
  if (bytes.length <= limit) return text;
  let end = limit;
  while ((bytes[end]! & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end);
}
