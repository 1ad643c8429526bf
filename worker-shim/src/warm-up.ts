/**
 * Runs a worker's whole path once, while it waits for its app: JavaScript is compiled when it
 * is first called, and the first request of a cold app should not wait for that.
 */
import { App } from "./app.ts";
import { FrameReader, FrameType, HEADER_BYTES } from "./frames.ts";
import { Link } from "./link.ts";
import type { ProgressPage } from "./progress-page.ts";
import { Session } from "./session.ts";

/** Every field of ASSIGN, empty. */
const ASSIGN = "\x89\xa3dir\xa0\xa5entry\xa0\xa4name\xa0\xa7version\xa0\xa8workerId\xa0\xa5mount\xa0\xa6origin\xa0\xa3dev\xc2\xa3env\x80";
/** GET http://a/ with a host header. */
const REQUEST = "\x96\x01\xa3GET\xa9http://a/\x92\xa4host\xc4\x01a\xa0\x00";

/** Gives a session of its own an app that says nothing, and asks it for a page. */
export async function warmUp(): Promise<void> {
  const link = new Link({ write: (_data: unknown, _offset?: number, length?: number) => length ?? 0 });
  const page = { started() {} } as unknown as ProgressPage;
  const app = new App({ default: { fetch: (request: Request) => new Response(request.headers.get("host")) } });
  const session = new Session(link, page, async () => app);
  const reader = new FrameReader((type, stream, bytes, start, end) => session.frame(type, stream, bytes, start, end));
  reader.push(frame(FrameType.Assign, 0, ASSIGN));
  await session.loaded;
  link.turn((chunk) => reader.push(chunk), frame(FrameType.Request, 1, REQUEST));
}

function frame(type: FrameType, stream: number, payload: string): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  bytes.writeUInt32BE(payload.length, 0);
  bytes[4] = type;
  bytes.writeUInt32BE(stream, 5);
  bytes.latin1Write(payload, HEADER_BYTES);
  return bytes;
}
