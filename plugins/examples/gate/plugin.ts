/** Guards a path, adds a header, answers a route, and has another plugin count. */
import { timingSafeEqual } from "node:crypto";
import type { Context, Plugin, Service } from "../../../worker-shim/types/plugin.d.ts";

let ctx: Context;
let counter: Service;
let password: Buffer;

export default {
  onInit(context) {
    ctx = context;
    counter = ctx.get("counter");
    password = Buffer.from(`Bearer ${ctx.config.password}`);
  },

  async onRequest(request, app) {
    const given = Buffer.from(request.headers.get("authorization") ?? "");
    if (given.length === password.length && timingSafeEqual(given, password)) {
      await counter.next("admitted");
      return;
    }
    await counter.next("refused");
    ctx.log.info("refused", { app: app?.name, path: new URL(request.url).pathname });
    return new Response("You need the password.\n", { status: 401, headers: { "www-authenticate": "Bearer" } });
  },

  onResponse(response) {
    const answer = new Response(response.body, response);
    answer.headers.set("x-gate", "was here");
    return answer;
  },

  routes: {
    "/stats": async () => Response.json(await counter.all()),
  },
} satisfies Plugin;
