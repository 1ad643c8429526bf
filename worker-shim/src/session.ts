/** The life of a worker as its frames tell it: spare, assigned, serving. */
import type { Served } from "./app.ts";
import { type Assignment, readAssignment } from "./assign.ts";
import { describeError } from "./errors.ts";
import { FrameType, Violation } from "./frames.ts";
import type { Link } from "./link.ts";
import { decodeNumber } from "./msgpack.ts";
import { Calls } from "./plugin/calls.ts";
import type { ProgressPage } from "./progress-page.ts";
import { Dispatcher } from "./serve.ts";
import { WorkerServer } from "./server.ts";

/** Taken before an app can replace it. */
const NativePromise = Promise;
/** HOOK_DONE has at most 64 KiB; a hook's error needs much less. */
const MAX_HOOK_ERROR = 16 * 1024;

/** A frame as the reader gave it. */
type Frame = [type: number, stream: number, bytes: Buffer, start: number, end: number];

export class Session {
  /** Whether ASSIGN has come: before it, this is a spare. */
  #assigned = false;
  /** What came on streams before the app could have it. */
  #held: Frame[] = [];
  /** The last of the requests among those that were cancelled. */
  #cancelled = 0;
  #app: Served | null = null;
  /** Those of a plugin. */
  #calls: Calls | null = null;
  #dispatcher: Dispatcher | null = null;

  constructor(
    private readonly link: Link,
    private readonly page: ProgressPage,
    private readonly loadApp: (assignment: Assignment, calls: Calls | null) => Served | Promise<Served>,
    /** Runs a turn of the link after the promise jobs that are there now. */
    private readonly soon: (turn: () => void) => void,
  ) {}

  get isSpare(): boolean {
    return !this.#assigned;
  }

  /** Takes one frame; throws a {@link Violation} at one that cannot be. */
  frame(type: number, stream: number, bytes: Buffer, start: number, end: number): void {
    const dispatcher = this.#dispatcher;
    if (type === FrameType.Request && dispatcher !== null) {
      dispatcher.request(stream, bytes, start, end);
      return;
    }
    switch (type) {
      case FrameType.Ping:
        this.link.frame(FrameType.Pong, 0, bytes.subarray(start, end));
        break;
      case FrameType.Assign:
        if (this.#assigned) throw new Violation("a second ASSIGN");
        this.#assigned = true;
        this.#load(readAssignment(bytes.subarray(start, end)));
        break;
      case FrameType.Result:
        if (this.#calls === null) throw new Violation("a RESULT for a worker that is no plugin's");
        this.#calls.result(bytes.subarray(start, end));
        break;
      case FrameType.Hook:
        void this.#runHook(readHook(bytes, start, end));
        break;
      default:
        if (!this.#assigned) throw new Violation(`frame type 0x${type.toString(16)} came before ASSIGN`);
        if (dispatcher === null) this.#hold(type, stream, bytes, start, end);
        else dispatcher.streamFrame(type, stream, bytes, start, end);
    }
  }

  /** Nobody has seen the request yet: one that is cancelled never was. */
  #hold(...frame: Frame): void {
    const [type, stream] = frame;
    if (type === FrameType.Cancel) {
      this.#held = this.#held.filter((held) => held[1] !== stream);
      this.#cancelled = Math.max(this.#cancelled, stream);
    } else this.#held.push(frame);
  }

  #load(assignment: Assignment): void {
    try {
      if (assignment.plugin !== null) this.#calls = new Calls(this.link);
      const app = this.loadApp(assignment, this.#calls);
      if (app instanceof NativePromise) void this.#loadLater(app, assignment);
      else this.#ready(app, assignment);
    } catch (error) {
      this.#failed(error);
    }
  }

  async #loadLater(app: Promise<Served>, assignment: Assignment): Promise<void> {
    try {
      this.#ready(await app, assignment);
    } catch (error) {
      this.#failed(error);
    }
  }

  #ready(app: Served, assignment: Assignment): void {
    const dispatcher = new Dispatcher(this.link, this.page, app);
    app.server = new WorkerServer(app, dispatcher, assignment);
    this.#app = app;
    // What the app's module has left to do at once comes before its first request. READY goes out with what that is answered: the
    // supervisor would take the processor to hear of it. If the app does not come back, the page tells.
    this.soon(() => {
      this.link.control(FrameType.Ready, 0, [app.hooks, app.maxRequestBodySize]);
      this.page.loaded(app.hooks, app.maxRequestBodySize);
      this.#dispatcher = dispatcher;
      for (const frame of this.#held) this.frame(...frame);
      this.#held = [];
      dispatcher.passOver(this.#cancelled);
    });
  }

  #failed(error: unknown): void {
    this.link.control(FrameType.Failed, 0, describeError(error));
  }

  async #runHook(kind: number): Promise<void> {
    let error: string | null = null;
    try {
      await this.#app?.runHook(kind);
    } catch (thrown) {
      error = describeError(thrown)[3].slice(0, MAX_HOOK_ERROR);
    }
    this.link.control(FrameType.HookDone, 0, [kind, error]);
  }
}

function readHook(bytes: Buffer, start: number, end: number): number {
  const kind = decodeNumber(bytes, start, end);
  if (kind !== 1 && kind !== 2) throw new Violation(`there is no HOOK ${kind}`);
  return kind;
}
