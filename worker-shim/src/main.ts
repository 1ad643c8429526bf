/**
 * The program that runs in every worker: connects to the supervisor, waits for
 * an app, loads it, and hands requests to it. See PROTOCOL.md.
 */
import { App } from "./app.ts";
import { type Assignment, readAssignment } from "./assign.ts";
import { installEnvironment, replaceEnvironment } from "./environment.ts";
import { describeError } from "./errors.ts";
import { FrameReader, FrameType, Violation } from "./frames.ts";
import { Link } from "./link.ts";
import { decode } from "./msgpack.ts";
import { ProgressPage } from "./progress-page.ts";
import { installRequest } from "./request.ts";
import { installResponse } from "./response.ts";
import { Dispatcher } from "./serve.ts";
import { WorkerServer } from "./server.ts";

/** Replaced by the supervisor when it writes this file, so that both ends are of one build. */
const BUILD = "__BUNTIME_BUILD__";
const LINK_FD = 3;
/** `EX_SOFTWARE` of sysexits(3): the protocol was broken. */
const EXIT_VIOLATION = 70;

let link: Link;
let assigned = false;
let app: App | null = null;
let dispatcher: Dispatcher | null = null;

const { page, mapped } = ProgressPage.map();
const reader = new FrameReader(onFrame);
const push = (chunk: Buffer) => reader.push(chunk);

installRequest();
installResponse();
installEnvironment();
void Bun.connect({
  fd: LINK_FD,
  socket: {
    open(socket) {
      link = new Link(socket);
      process.on("exit", () => link.flushAtExit());
      link.control(FrameType.Hello, 0, [BUILD, Bun.version, mapped]);
      link.flush();
    },
    data(_socket, chunk) {
      try {
        link.turn(push, chunk);
      } catch (error) {
        end(error);
      }
    },
    drain() {
      link.drain();
    },
    close() {
      process.exit(0);
    },
    error(_socket, error) {
      end(error);
    },
  },
});

function onFrame(type: number, stream: number, bytes: Buffer, start: number, end: number): void {
  switch (type) {
    case FrameType.Request:
      if (dispatcher === null) throw new Violation("a request came before READY");
      dispatcher.request(stream, bytes, start, end);
      break;
    case FrameType.Ping:
      link.frame(FrameType.Pong, 0, bytes.subarray(start, end));
      break;
    case FrameType.Assign:
      if (assigned) throw new Violation("a second ASSIGN");
      assigned = true;
      void load(readAssignment(bytes.subarray(start, end)));
      break;
    case FrameType.Hook:
      void runHook(readHook(bytes.subarray(start, end)));
      break;
    default:
      if (dispatcher === null) throw new Violation(`frame type 0x${type.toString(16)} came before READY`);
      dispatcher.streamFrame(type, stream, bytes, start, end);
  }
}

async function load(assignment: Assignment): Promise<void> {
  try {
    replaceEnvironment(assignment.env);
    process.chdir(assignment.dir);
    const before = performance.now();
    const module = (await import(Bun.pathToFileURL(assignment.entry).href)) as object;
    app = new App(module);
    dispatcher = new Dispatcher(link, page, app);
    app.server = new WorkerServer(app, dispatcher, assignment);
    link.control(FrameType.Ready, 0, [performance.now() - before, app.hooks, app.maxRequestBodySize]);
  } catch (error) {
    link.control(FrameType.Failed, 0, describeError(error));
  }
}

function readHook(payload: Uint8Array): number {
  const value = decode(payload);
  if (!Array.isArray(value) || value.length !== 1 || (value[0] !== 1 && value[0] !== 2)) throw new Violation("a HOOK is no array of one kind");
  return value[0];
}

async function runHook(kind: number): Promise<void> {
  let error: string | null = null;
  try {
    await app?.runHook(kind);
  } catch (thrown) {
    error = describeError(thrown)[3].slice(0, 16 * 1024);
  }
  link.control(FrameType.HookDone, 0, [kind, error]);
}

function end(error: unknown): never {
  const text = error instanceof Violation ? error.message : Bun.inspect(error).replaceAll("\n", " | ");
  console.error(`buntime worker: ${text}`);
  process.exit(EXIT_VIOLATION);
}
