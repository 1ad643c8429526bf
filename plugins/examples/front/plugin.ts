/** Another request, a body that is read, an answer whose body is replaced, and one before all routes. */
import type { Plugin } from "../../../worker-shim/types/plugin.d.ts";

let maxWords = 0;

export default {
  onInit({ config }) {
    maxWords = config.maxWords;
  },

  async onRequest(request, _app, { phase }) {
    if (phase === "preflight") {
      // `/old/x` goes on as `/hello/x`, with all else as it was.
      const url = new URL(request.url);
      url.pathname = url.pathname.replace(/^\/old(?=\/|$)/, "/hello");
      return new Request(url, request);
    }
    // The body goes on: what is read here is a copy.
    const words = (await request.clone().text()).trim().split(/\s+/);
    if (words.length > maxWords) return new Response(`A note has at most ${maxWords} words.\n`, { status: 422 });
  },

  async onResponse(response) {
    if (response.status !== 200) return;
    const text = await response.text();
    return new Response(text.toUpperCase(), response);
  },

  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname !== "/robots.txt") return new Response(null, { status: 404 });
    return new Response("User-agent: *\nDisallow: /hello/secret\n");
  },
} satisfies Plugin;
