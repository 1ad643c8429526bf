import type { Plugin } from "../../../worker-shim/types/plugin.d.ts";

export default {
  routes: {
    "/live": (request, server) => {
      if (!server.upgrade(request)) return new Response("Here is a WebSocket.\n", { status: 426 });
    },
  },
  websocket: {
    message: (socket, text) => void socket.send(text),
  },
} satisfies Plugin;
