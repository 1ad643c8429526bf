/** `/N`: a body of N MiB, made as it is asked for. */
const piece = new Uint8Array(64 * 1024).fill(120);

export default {
  fetch(request: Request): Response {
    let left = Number(new URL(request.url).pathname.slice(1)) * 16;
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          if (left-- > 0) controller.enqueue(piece);
          else controller.close();
        },
      },
      { highWaterMark: 0 },
    );
    return new Response(body);
  },
};
