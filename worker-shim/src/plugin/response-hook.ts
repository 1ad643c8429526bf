/** Reads what `onResponse` is asked about: a response's head, and what follows it of its body. */
import { MAX_HEAD_BYTES, Violation } from "../frames.ts";
import { NativeResponse } from "../natives.ts";
import { decode } from "./values.ts";

const LENGTH_BYTES = 4;

/** `whole`: all of the hook's body has come, so a body of the response that is not there was not asked for or is empty. */
export async function readResponse(request: Request, whole: boolean): Promise<Response> {
  const reader = request.body?.getReader() as ReadableStreamDefaultReader<Uint8Array> | undefined;
  let bytes = Buffer.alloc(0);
  const more = async (wanted: number): Promise<void> => {
    while (bytes.length < wanted) {
      const next = await reader?.read();
      if (next === undefined || next.done) throw new Violation("the head of a response hook is truncated");
      bytes = bytes.length === 0 ? Buffer.from(next.value) : Buffer.concat([bytes, next.value]);
    }
  };
  await more(LENGTH_BYTES);
  const size = bytes.readUInt32BE(0);
  if (size > MAX_HEAD_BYTES) throw new Violation(`the head of a response hook has ${size} bytes`);
  const end = LENGTH_BYTES + size;
  await more(end);
  const { status, statusText, headers } = readHead(bytes.subarray(LENGTH_BYTES, end));
  const rest = bytes.subarray(end);
  const none = status < 200 || status === 204 || status === 205 || status === 304 || (whole && rest.length === 0);
  if (none) void reader?.cancel();
  return new NativeResponse(none ? null : whole ? rest : follow(rest, reader!), { status, statusText, headers });
}

function readHead(bytes: Buffer): { status: number; statusText: string; headers: Headers } {
  const fields = decode(bytes);
  if (!Array.isArray(fields)) throw new Violation("the head of a response hook is no array");
  const [status, statusText, pairs] = fields as unknown[];
  if (typeof status !== "number" || typeof statusText !== "string" || !Array.isArray(pairs)) throw new Violation("the head of a response hook has a field of another type");
  const headers = new Headers();
  for (let i = 0; i < pairs.length; i += 2) {
    const [name, value] = [pairs[i] as unknown, pairs[i + 1] as unknown];
    if (typeof name !== "string" || !(value instanceof Uint8Array)) throw new Violation("the head of a response hook has a header of another type");
    headers.append(name, Buffer.from(value.buffer).latin1Slice(0, value.length));
  }
  return { status, statusText, headers };
}

/** `first`, and what else `reader` gives, no sooner than it is wanted. */
function follow(first: Buffer, reader: ReadableStreamDefaultReader<Uint8Array>): ReadableStream<Uint8Array> {
  let rest: Buffer | null = first.length > 0 ? first : null;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (rest !== null) {
          controller.enqueue(rest);
          rest = null;
          return;
        }
        const { done, value } = await reader.read();
        if (done) controller.close();
        else controller.enqueue(value);
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}
