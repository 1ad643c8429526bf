/** Ends its process when it is asked to. */
export default {
  fetch(request: Request): Response {
    if (new URL(request.url).pathname === "/exit") process.exit(1);
    return new Response("crash");
  },
};
