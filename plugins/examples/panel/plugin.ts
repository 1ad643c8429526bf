/** Hears of workers, keeps a count in a file, tells workers where it is, and gives its page what to show, as it changes. */
import { join } from "node:path";
import type { Context, Plugin, Socket } from "../../../worker-shim/types/plugin.d.ts";

let ctx: Context;
let file: string;
let counts = { started: 0, ended: 0 };

const sockets = new Set<Socket>();

async function save(): Promise<void> {
  const text = JSON.stringify(counts);
  for (const socket of sockets) socket.send(text);
  await Bun.write(file, text);
}

export default {
  async onInit(context) {
    ctx = context;
    // What is here is kept: over reloads, restarts and new versions.
    file = join(ctx.stateDir, "counts.json");
    if (await Bun.file(file).exists()) counts = await Bun.file(file).json();
  },

  async onServerStart({ url }) {
    // For workers that get their app from now on.
    await ctx.workerEnv.set("PANEL_URL", url + ctx.base);
  },

  async onWorkerSpawn(_worker, app) {
    counts.started += 1;
    await save();
    // An optional dependency need not be there: then the call fails, and nothing else.
    await ctx.get("counter").next(`started ${app.name}`).catch(() => {});
  },

  async onWorkerTerminate(worker, app, reason) {
    counts.ended += 1;
    ctx.log.info("a worker has ended", { worker: worker.id, app: app.name, reason });
    await save();
  },

  routes: {
    "/counts": () => Response.json(counts),
    "/workers": async (request, server) => {
      // Who has a key of the management API that permits it, or comes over the admin socket.
      if (!server.caller(request)?.may("workers:read")) return new Response("You may not.\n", { status: 403 });
      return Response.json(await ctx.pool.workers());
    },
    "/live": (request, server) => {
      if (!server.upgrade(request)) return new Response("Here is a WebSocket.\n", { status: 426 });
    },
  },

  websocket: {
    open(socket) {
      sockets.add(socket);
      socket.send(JSON.stringify(counts));
    },
    close: (socket) => void sockets.delete(socket),
  },
} satisfies Plugin;
