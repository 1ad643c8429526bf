/**
 * The program that runs in every worker: connects to the supervisor, says HELLO,
 * and does what its frames ask for. See PROTOCOL.md.
 */
import { loadApp } from "./assign.ts";
import { installEnvironment } from "./environment.ts";
import { FrameReader, FrameType, Violation } from "./frames.ts";
import { Link, LINK_FD } from "./link.ts";
import { ProgressPage } from "./progress-page.ts";
import { installRequest } from "./request.ts";
import { installResponse } from "./response.ts";
import { Session } from "./session.ts";
import { isWorker } from "./standalone.ts";
import { warmUp } from "./warm-up.ts";

/** Replaced by the supervisor when it writes this file, so that both ends are of one build. */
const BUILD = "__BUNTIME_BUILD__";
/** Likewise: the path of the `bun` that runs the workers. */
const BUN = "__BUNTIME_BUN__";
/** `EX_SOFTWARE` of sysexits(3): the protocol was broken. */
const EXIT_VIOLATION = 70;
/** How long a spare stays as it is. */
const WARM_UP_MS = 60;

installRequest();
installResponse();
installEnvironment();

let link: Link;
let session: Session;
const reader = new FrameReader((type, stream, bytes, start, end) => session.frame(type, stream, bytes, start, end));
const read = (chunk: Buffer) => reader.push(chunk);
const run = (turn: () => void) => turn();
/** Taken before an app can replace it. */
const { setImmediate } = globalThis;
const soon = (turn: () => void) => void setImmediate(guard, run, turn);

// Once the main module has run, Bun collects garbage if anything keeps the process alive, on a thread that is made for it:
// a tenth of a start. So nothing does before this.
if (isWorker(BUN, BUILD)) process.once("beforeExit", connect);

function connect(): void {
  const { page, mapped } = ProgressPage.map();
  void Bun.connect({
    fd: LINK_FD,
    socket: {
      open(socket) {
        link = new Link(socket);
        session = new Session(link, page, loadApp, soon);
        process.on("exit", () => link.flushAtExit());
        link.control(FrameType.Hello, 0, [BUILD, Bun.version, mapped]);
        // A worker that is needed at once gets its ASSIGN before.
        void Bun.sleep(WARM_UP_MS).then(() => session.isSpare && warmUp()).catch(() => {});
      },
      data(_socket, chunk) {
        guard(read, chunk);
      },
      drain() {
        link.drain();
      },
      close() {
        process.exit(0);
      },
      error(_socket, error) {
        fail(error);
      },
    },
  });
}

function guard<T>(turn: (input: T) => void, input: T): void {
  try {
    link.turn(turn, input);
  } catch (error) {
    fail(error);
  }
}

function fail(error: unknown): never {
  const text = error instanceof Violation ? error.message : Bun.inspect(error).replaceAll("\n", " | ");
  console.error(`buntime worker: ${text}`);
  process.exit(EXIT_VIOLATION);
}
