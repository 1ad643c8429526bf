/**
 * Runs the path of a request once in a spare, with what it sends thrown away: code that never ran is read from disk,
 * parsed and slow, and this time would otherwise be the first request's. Nothing of it is to be seen by an app.
 */
import { App } from "./app.ts";
import type { Assignment } from "./assign.ts";
import { FrameReader } from "./frames.ts";
import { Link } from "./link.ts";
import { decodeMap } from "./msgpack.ts";
import { ProgressPage } from "./progress-page.ts";
import { Dispatcher } from "./serve.ts";
import { WorkerServer } from "./server.ts";

/** A REQUEST on stream 1 and one on 2: `GET http://localhost/` with an `accept` header. */
const request = (stream: number) => `\0\0\0\x27\x10\0\0\0${String.fromCharCode(stream)}\x96\x01\xa3GET\xb1http://localhost/\x92\xa6accept\xc4\x03*/*\xa0\0`;
const ASSIGNMENT: Assignment = { dir: "/", entry: "/", name: "", version: "", workerId: "", mount: "/", origin: "http://localhost", dev: false, env: new Map(), plugin: null };
/** An app cannot find it, other than by importing the very same. */
const MODULE = "data:text/javascript,export default {} // buntime";

/** One with an answer at once, one with a later one. More would have code compiled, which the first request would wait for. */
const REQUESTS = 2;

export function warmUp(): void {
  decodeMap(Buffer.from("\x82\xa1a\xa1b\xa1c\x80", "latin1"));
  const link = new Link({ write: (_bytes: unknown, _at?: number, length = 0) => length });
  let first = true;
  const fetch = (request: Request) => {
    if (!first) return answerLater(request);
    first = false;
    return new Response("warm");
  };
  const app = new App({ default: { fetch } });
  const dispatcher = new Dispatcher(link, ProgressPage.scratch(), app);
  app.server = new WorkerServer(app, dispatcher, ASSIGNMENT);
  const reader = new FrameReader((_type, stream, bytes, start, end) => dispatcher.request(stream, bytes, start, end));
  const push = (chunk: Buffer) => reader.push(chunk);
  for (let stream = 1; stream <= REQUESTS; stream++) link.turn(push, Buffer.from(request(stream), "latin1"));
  require(MODULE);
  delete require.cache[MODULE];
  try {
    // Reads the directories above, as a `bun` that is started here does: the app's path begins with some of them.
    Bun.resolveSync("./nothing", process.cwd());
  } catch {
    // There is nothing.
  }
}

async function answerLater(request: Request): Promise<Response> {
  await undefined;
  return Response.json(request.headers.get("accept"));
}
