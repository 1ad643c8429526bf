// The second version: prices. Both versions run side by side, each in workers of its own.
const products = [
  { name: "apple", price: 0.4 },
  { name: "pear", price: 0.5 },
];

export default {
  fetch(request: Request) {
    const { pathname } = new URL(request.url);
    if (pathname !== "/") return new Response("Nothing here.\n", { status: 404 });
    return Response.json({ version: process.env.APP_VERSION, products });
  },
};
