// Bun's `routes`. What no route matches goes to `fetch`; what a handler throws goes to `error`.
type User = { id: number; name: string };

const users = new Map<number, User>([
  [1, { id: 1, name: "Ada" }],
  [7, { id: 7, name: "Grace" }],
]);

export default {
  routes: {
    // The same response each time.
    "/": new Response("Try /users, /users/7, /files/a/b and /ping.\n"),
    "/ping": Response.json({ pong: true }),

    // One handler a method; other methods fall through to `fetch`.
    "/users": {
      GET: () => Response.json([...users.values()]),
      async POST(request: Request) {
        const { name } = (await request.json()) as { name?: unknown };
        if (typeof name !== "string" || name === "") return Response.json({ error: "name is missing" }, { status: 422 });
        const user = { id: Math.max(...users.keys()) + 1, name };
        users.set(user.id, user);
        // A relative reference: the app need not know where it is mounted.
        return Response.json(user, { status: 201, headers: { location: `users/${user.id}` } });
      },
    },

    // A parameter.
    "/users/:id": (request: Bun.BunRequest<"/users/:id">) => {
      const user = users.get(Number(request.params.id));
      return user ? Response.json(user) : Response.json({ error: "there is no such user" }, { status: 404 });
    },

    // A wildcard.
    "/files/*": (request: Request) => new Response(`The path is ${new URL(request.url).pathname}\n`),
  },

  fetch() {
    return new Response("Nothing here.\n", { status: 404 });
  },

  error(error: Error) {
    return new Response(`That went wrong: ${error.message}\n`, { status: 500 });
  },
};
