// The least that is an app: a module whose default export has `fetch`, as under `bun run`.
export default {
  fetch(request: Request) {
    const { pathname, searchParams } = new URL(request.url);
    const name = searchParams.get("name") ?? "world";
    return new Response(`Hello, ${name}! You asked for ${pathname}.\n`);
  },
};
