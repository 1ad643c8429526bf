// The first version. /shop/ goes to the highest stable version; /shop@1/ keeps coming here.
const products = ["apple", "pear"];

export default {
  fetch(request: Request) {
    const { pathname } = new URL(request.url);
    if (pathname !== "/") return new Response("Nothing here.\n", { status: 404 });
    return Response.json({ version: process.env.APP_VERSION, products });
  },
};
