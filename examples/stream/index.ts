// Answers whose bytes leave as they are made. `request.signal` aborts when the client goes away.
const encoder = new TextEncoder();

/** Waits, but no longer than the client stays. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}

export default {
  routes: {
    "/": new Response("Try /count (a stream of lines), /events (server-sent events) and /page (in a browser).\n"),

    // An async generator: each `yield` is sent at once.
    "/count": (request: Request) =>
      new Response(
        (async function* () {
          for (let i = 1; i <= 5 && !request.signal.aborted; i++) {
            yield `${i}\n`;
            await pause(500, request.signal);
          }
        })(),
        { headers: { "content-type": "text/plain" } },
      ),

    // Server-sent events from a ReadableStream, until the client leaves.
    "/events": (request: Request) => {
      let id = 0;
      const events = new ReadableStream<Uint8Array>({
        async pull(controller) {
          if (id > 0) await pause(1000, request.signal);
          if (request.signal.aborted) return controller.close();
          id += 1;
          controller.enqueue(encoder.encode(`id: ${id}\nevent: tick\ndata: ${new Date().toISOString()}\n\n`));
        },
        cancel() {
          console.log(`the client left after ${id} events`);
        },
      });
      return new Response(events, {
        headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
      });
    },

    "/page": () => new Response(Bun.file("page.html")),
  },

  fetch: () => new Response("Nothing here.\n", { status: 404 }),
};
