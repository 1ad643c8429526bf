// Says what reached it. `/seen` lists every request so far, itself not included.
const seen: string[] = [];
let failure: (what: string) => void;
const failed = new Promise<string>((resolve) => (failure = resolve));

export default {
  async fetch(request: Request, server: { requestIP(request: Request): { address: string } | null }) {
    const url = new URL(request.url);
    if (url.pathname === "/seen") return Response.json(seen);
    // How reading the body of `/read` failed.
    if (url.pathname === "/failure") return new Response(await failed);
    seen.push(`${request.method} ${url.pathname}${url.search}`);
    if (url.pathname === "/read") return read(request);
    return Response.json({
      method: request.method,
      url: request.url,
      headers: [...request.headers],
      body: await request.text(),
      address: server?.requestIP(request)?.address,
    });
  },
};

/** Logs each piece of the body as it comes. */
async function read(request: Request) {
  let size = 0;
  try {
    for await (const piece of request.body!) console.log(`read ${(size += piece.length)}`);
  } catch (error) {
    failure((error as Error).name);
    throw error;
  }
  return Response.json({ size });
}
