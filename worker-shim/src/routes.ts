/**
 * The `routes` of a default export, matched as Bun matches them: at every
 * segment a literal goes before a parameter, and that before a wildcard; a
 * route that does not serve the method is as good as not there.
 */
import { LoadError } from "./errors.ts";
import { NativeResponse } from "./natives.ts";
import { isFile } from "./response.ts";
import { fileRoute, staticRoute } from "./static-routes.ts";

/** `this` is the app. */
export type Handler = (this: unknown, request: Request, server: unknown) => unknown;

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT", "TRACE"]);

/** A route's handlers: one for all methods, or by method. */
class Route {
  constructor(
    readonly names: readonly string[],
    private readonly any: Handler | null,
    private readonly methods: ReadonlyMap<string, Handler> | null,
  ) {}

  handler(method: string): Handler | undefined {
    if (this.methods === null) return this.any!;
    return this.methods.get(method) ?? (method === "HEAD" ? this.methods.get("GET") : undefined);
  }
}

/** One segment of the paths that share it. */
class Node {
  readonly literals = new Map<string, Node>();
  parameter: Node | null = null;
  /** Routes that end here, the last declared first. */
  readonly routes: Route[] = [];
  /** Routes that end with a wildcard below here, the last declared first. */
  readonly wildcards: Route[] = [];
}

export interface Match {
  handler: Handler;
  params: Record<string, string>;
}

export class Router {
  /** Routes without parameter or wildcard, which need no walk. */
  readonly #exact = new Map<string, Route>();
  readonly #root = new Node();

  constructor(routes: Record<string, unknown>) {
    for (const [path, value] of Object.entries(routes)) {
      const names = checkPath(path);
      const route = makeRoute(path, names, value);
      if (route !== null) this.#add(path, route);
    }
  }

  #add(path: string, route: Route): void {
    const segments = path.slice(1).split("/");
    const starAt = segments.findIndex((segment) => segment.startsWith("*"));
    // A wildcard is the end of a path; Bun takes one before the end and never matches it.
    if (starAt >= 0 && starAt < segments.length - 1) return;
    let node = this.#root;
    for (const segment of segments) {
      if (segment.startsWith("*")) {
        node.wildcards.unshift(route);
        return;
      }
      if (segment.startsWith(":")) node = node.parameter ??= new Node();
      else {
        let next = node.literals.get(segment);
        if (next === undefined) node.literals.set(segment, (next = new Node()));
        node = next;
      }
    }
    node.routes.unshift(route);
    if (route.names.length === 0) this.#exact.set(path, route);
  }

  /** The handler for an absolute URL as it came: neither decoded nor with its dots resolved. */
  find(method: string, url: string): Match | undefined {
    const path = pathOf(url);
    const handler = this.#exact.get(path)?.handler(method);
    if (handler !== undefined) return { handler, params: {} };
    return walk(this.#root, method, path, 1, []);
  }
}

/** The path of an absolute URL, encoded as it came and without its query. */
function pathOf(url: string): string {
  const start = url.indexOf("/", url.indexOf("//") + 2);
  const query = url.indexOf("?", start);
  return query < 0 ? url.slice(start) : url.slice(start, query);
}

function walk(node: Node, method: string, path: string, at: number, values: string[]): Match | undefined {
  const slash = path.indexOf("/", at);
  const end = slash < 0 ? path.length : slash;
  const segment = path.slice(at, end);
  const literal = node.literals.get(segment);
  if (literal !== undefined) {
    const found = slash < 0 ? pick(literal.routes, method, values) : walk(literal, method, path, end + 1, values);
    if (found !== undefined) return found;
  }
  if (node.parameter !== null && segment !== "") {
    values.push(segment);
    const found = slash < 0 ? pick(node.parameter.routes, method, values) : walk(node.parameter, method, path, end + 1, values);
    if (found !== undefined) return found;
    values.pop();
  }
  return pick(node.wildcards, method, values);
}

function pick(routes: Route[], method: string, values: string[]): Match | undefined {
  for (const route of routes) {
    const handler = route.handler(method);
    if (handler === undefined) continue;
    const params: Record<string, string> = {};
    route.names.forEach((name, i) => {
      if (name !== "") params[name] = decode(values[i]!);
    });
    return { handler, params };
  }
  return undefined;
}

/** Percent-decodes a parameter; what is not UTF-8 becomes U+FFFD, as in Bun. */
function decode(text: string): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    const bytes: number[] = [];
    const raw = Buffer.from(text);
    for (let i = 0; i < raw.length; i++) {
      if (raw[i] !== 0x25) bytes.push(raw[i]!);
      else if (i + 2 >= raw.length) bytes.push(0xef, 0xbf, 0xbd);
      else {
        const hex = raw.toString("latin1", i + 1, i + 3);
        if (/^[0-9a-f]{2}$/i.test(hex)) bytes.push(Number.parseInt(hex, 16));
        else bytes.push(0xef, 0xbf, 0xbd);
        i += 2;
      }
    }
    return Buffer.from(bytes).toString();
  }
}

/** Refuses paths that Bun refuses; returns the names of the parameters. */
function checkPath(path: string): string[] {
  if (path !== "" && !path.startsWith("/")) throw new LoadError(`The route "${path}" does not begin with /`, `write "/${path}"`);
  if (/[^\x00-\x7f]/.test(path)) throw new LoadError(`The route "${path}" has characters outside ASCII`, `write "${encodeURI(path)}"`);
  const names = path
    .split("/")
    .filter((segment) => segment.startsWith(":"))
    .map((segment) => segment.slice(1));
  for (const name of names) if (/^[0-9]/.test(name)) throw new LoadError(`The route "${path}" has a parameter that begins with a digit`, "begin the name with a letter");
  if (new Set(names).size < names.length) throw new LoadError(`The route "${path}" has the same parameter twice`, "give each parameter its own name");
  return names;
}

/** The handlers for what stands in the table; null where Bun ignores it. */
function makeRoute(path: string, names: string[], value: unknown): Route | null {
  if (value === false || value === undefined) return null;
  const handler = makeHandler(path, value);
  if (handler !== null) return new Route(names, handler, null);
  const methods = new Map<string, Handler>();
  let known = false;
  if (typeof value === "object" && value !== null) {
    for (const [method, one] of Object.entries(value)) {
      if (!METHODS.has(method)) continue;
      known = true;
      const handler = makeHandler(path, one);
      if (handler !== null) methods.set(method, handler);
    }
  }
  if (!known) {
    throw new LoadError(
      `The route "${path}" is ${Bun.inspect(value, { depth: 0 })}, which is no handler`,
      "use a function, a Response, a Bun.file, or an object with upper-case methods: { GET: request => new Response() }",
    );
  }
  return new Route(names, null, methods);
}

function makeHandler(path: string, value: unknown): Handler | null {
  if (typeof value === "function") return value as Handler;
  if (value instanceof NativeResponse) return staticRoute(path, value);
  if (value instanceof Blob && isFile(value)) return fileRoute(value);
  if (Bun.inspect(value).startsWith("HTMLBundle")) {
    throw new LoadError(
      `The route "${path}" is an HTML import, which workers do not bundle`,
      "bundle the page with `bun build` and serve the result with Bun.file, or deploy it as a static app",
    );
  }
  return null;
}
