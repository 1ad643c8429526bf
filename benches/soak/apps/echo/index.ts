/** Gives a body back as it comes, or says how long it was. */
export default {
  async fetch(request: Request): Promise<Response> {
    if (new URL(request.url).pathname === "/back") return new Response(request.body);
    let bytes = 0;
    for await (const piece of request.body ?? []) bytes += piece.byteLength;
    return new Response(String(bytes));
  },
};
