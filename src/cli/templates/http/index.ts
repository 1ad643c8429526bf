// An app is a module whose default export has `fetch`. It sees paths without the name it is mounted at.
export default {
  fetch(request: Request): Response {
    const { pathname } = new URL(request.url);
    if (pathname === "/") return new Response("Hello from {{name}}\n");
    return new Response("There is nothing here\n", { status: 404 });
  },
};
