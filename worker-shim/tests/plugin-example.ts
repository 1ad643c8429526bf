/** A plugin as its author writes it, against the published types. */
import type { Context, Plugin } from "../types/plugin.d.ts";

let context: Context;

export default {
  onInit(given) {
    context = given;
  },
  onRequest(request, app, { phase }) {
    const who = request.headers.get(String(context.config.header));
    if (who === null || phase !== "permit") return new Response(`not ${app?.name ?? "this"}`, { status: 401 });
    const headers = new Headers(request.headers);
    headers.set("who", who);
    return new Request(request, { headers });
  },
  async onResponse(response) {
    if (response.status === 200) return undefined;
    const lines = await context.get("journal").lines(response.status);
    return new Response(JSON.stringify(lines), response);
  },
  onWorkerSpawn: (worker, app) => context.log.info("a worker", { id: worker.id, app: app.name }),
  async onWorkerTerminate(_worker, app, reason) {
    if (reason === "crash") await context.pool.restart(app.name);
  },
  async onServerStart({ url }) {
    await context.workerEnv.set("GUARD_URL", url);
  },
  fetch: () => new Response(null, { status: 404 }),
  routes: {
    "/items/:id": (request) => new Response(request.params.id),
    "/fixed": new Response("fixed"),
    "/chat": (request, server) => {
      if (!server.upgrade(request, { data: { name: "guest" } })) return new Response("a WebSocket, please", { status: 426 });
    },
    "/both": { GET: () => new Response("got"), POST: async (request) => new Response(await request.text()) },
  },
  websocket: {
    open: (socket) => socket.subscribe("room"),
    message: (socket, message) => void socket.publish("room", `${socket.data.name}: ${message}`),
    idleTimeout: 60,
  },
  services: {
    counter: { next: (by: number) => by + 1 },
  },
} satisfies Plugin;
