/**
 * Does what a test asks for by the path. A request that is to last opens with a line in the log ("begun /hold?n=1") and
 * ends when the file named by `gate` is there.
 */
import { existsSync } from "node:fs";

const MEBI = 1024 * 1024;
/** Kept, so that the process really holds the memory. */
const ballast: Buffer[] = [];

export default {
  async fetch(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const what = url.pathname + url.search;
    const number = (name: string) => Number(url.searchParams.get(name));
    const gate = url.searchParams.get("gate") ?? "";
    const begun = () => {
      console.log(`begun ${what}`);
      request.signal.addEventListener("abort", () => console.log(`aborted ${what}`));
    };
    switch (url.pathname) {
      case "/":
        return Response.json({ pid: process.pid, worker: process.env.WORKER_ID });
      case "/hold":
        begun();
        await opened(gate);
        return new Response(`${process.pid}`);
      case "/stream":
        begun();
        return new Response(held(gate));
      case "/spin":
        begun();
        for (;;);
      case "/exit":
        process.exit(3);
      case "/throw":
        throw new TypeError("thrown on purpose");
      case "/download":
        return new Response(zeros(number("mib"), what));
      case "/upload": {
        let bytes = 0;
        for await (const piece of request.body ?? []) bytes += piece.byteLength;
        return new Response(`${process.pid} ${bytes}`);
      }
      case "/echo":
        return new Response(request.body);
      case "/grow":
        ballast.push(Buffer.alloc(number("mib") * MEBI, 1));
        return new Response(`${process.pid}`);
      default:
        return new Response(null, { status: 404 });
    }
  },
  onIdle() {
    console.log("onIdle");
  },
  onTerminate() {
    console.log("onTerminate");
  },
};

async function opened(gate: string): Promise<void> {
  while (!existsSync(gate)) await Bun.sleep(10);
}

/** One piece at once, the last one when the gate opens. */
function held(gate: string): ReadableStream {
  return new ReadableStream({
    async start(controller) {
      controller.enqueue("first,");
      await opened(gate);
      controller.enqueue("last");
      controller.close();
    },
  });
}

/** Made as it is asked for; tells when it is no longer wanted and how much of it was made. */
function zeros(mib: number, what: string): ReadableStream {
  const piece = new Uint8Array(256 * 1024);
  let left = mib * 4;
  return new ReadableStream(
    {
      pull(controller) {
        if (left-- > 0) controller.enqueue(piece);
        else controller.close();
      },
      cancel() {
        console.log(`cancelled ${what} after ${mib * 4 - left} pieces`);
      },
    },
    { highWaterMark: 0 },
  );
}
