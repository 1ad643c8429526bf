/** `GET ?bytes=N` streams N bytes in pieces of 64 KiB; `POST` reads a body as it comes and answers how long it was. */
const PIECE = new Uint8Array(64 * 1024);

function download(bytes: number): Response {
  let left = bytes;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = left < PIECE.length ? PIECE.subarray(0, left) : PIECE;
      if (piece.length > 0) controller.enqueue(piece);
      left -= piece.length;
      if (left === 0) controller.close();
    },
  });
  return new Response(body, { headers: { "content-type": "application/octet-stream" } });
}

async function upload(body: ReadableStream<Uint8Array> | null): Promise<Response> {
  let bytes = 0;
  if (body) for await (const piece of body) bytes += piece.length;
  return new Response(String(bytes));
}

export default {
  fetch(request: Request): Response | Promise<Response> {
    if (request.method === "POST") return upload(request.body);
    return download(Number(new URL(request.url).searchParams.get("bytes")));
  },
};
