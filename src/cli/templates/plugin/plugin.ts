import type { Context, Plugin } from "./buntime.d.ts";

let greeting = "";
let blocked = new Set<string>();

function greet(name: string): string {
  return `${greeting}, ${name}`;
}

export default {
  /** Once, before anything else. Where it throws, the plugin stays out. */
  onInit(context: Context) {
    greeting = context.config.greeting;
    blocked = new Set(context.config.blocked);
    context.log.info("ready", { blocked: blocked.size });
  },

  /** Every request that the manifest's `hooks` let through: an answer, another request, or nothing. */
  onRequest(request) {
    if (blocked.has(new URL(request.url).pathname)) {
      return new Response("This path is blocked.\n", { status: 403 });
    }
    const headers = new Headers(request.headers);
    headers.set("x-greeting", greeting);
    return new Request(request, { headers });
  },

  /** Every answer of an app. */
  onResponse(response) {
    const headers = new Headers(response.headers);
    headers.set("x-greeted-by", "{{name}}");
    return new Response(null, { status: response.status, statusText: response.statusText, headers });
  },

  /** Under the manifest's `base`. */
  routes: {
    "/": () => new Response(greet("world") + "\n"),
    "/:name": (request) => Response.json({ says: greet(request.params.name) }),
  },

  /** What other plugins may call: `await context.get("greeter").greet("you")`. */
  services: {
    greeter: { greet },
  },
} satisfies Plugin;
