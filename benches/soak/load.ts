/** Clients of every kind. Each asks until it is told to stop. */
import { Aborted, Broken, Connection, type Answer, type Ask } from "./client.ts";
import type { Chance } from "./chance.ts";
import type { Ledger } from "./ledger.ts";
import type { Runtime } from "./runtime.ts";
import type { Shop } from "./shop.ts";

/** What the clients know. */
export interface Scene {
  runtime: Runtime;
  ledger: Ledger;
  shop: Shop;
  chance: Chance;
  /** Nothing is to be asked any more. */
  stopped: () => boolean;
  /** Whether the plugin with the WebSockets is off, or was a moment ago. */
  pluginOff: () => boolean;
}

/** A request, and what is wrong with an answer of status 200. */
interface Errand {
  app: string;
  ask: Ask;
  check: (answer: Answer, began: number) => boolean;
  /** Whether it may end like this: it is the app's own fault. */
  expects?: (how: string) => boolean;
}

const MIB = 1024 * 1024;
const MUCH = new Uint8Array(8 * MIB).fill(120);
const LITTLE = new TextEncoder().encode("a small body");
/** An app that ends itself, and backs off. */
const CRASHING = /^(502 worker_died|503 (back_off|start_failed))$/;

export function errands(scene: Scene): [weight: number, make: () => Errand][] {
  const is = (text: string) => (answer: Answer) => answer.body.toString("latin1") === text;
  const { chance, shop } = scene;
  const lines = Array.from({ length: 20 }, (_, n) => `line ${n}\n`).join("");
  return [
    [40, () => ({ app: "hello", ask: { path: "/hello/" }, check: (answer) => answer.body.includes('"app":"hello"') })],
    [
      20,
      () => ({
        app: "shop",
        ask: { path: "/shop/" },
        check: (answer, began) => shop.mayHave(answer.body.toString("latin1"), began, Date.now()),
      }),
    ],
    [10, () => ({ app: "site", ask: { path: "/site/" }, check: (answer) => answer.body.includes("<title>soak") })],
    [10, () => ({ app: "echo", ask: { method: "POST", path: "/echo/back", body: LITTLE }, check: is("a small body") })],
    [3, () => ({ app: "stream", ask: { path: "/stream/" }, check: is(lines) })],
    [3, () => ({ app: "slow", ask: { path: `/slow/${chance.below(200)}` }, check: is("slow") })],
    [2, () => ({ app: "once", ask: { path: "/once/" }, check: is("once") })],
    [2, () => ({ app: "crash", ask: { path: "/crash/" }, check: is("crash"), expects: (how) => CRASHING.test(how) })],
    [1, () => ({ app: "big", ask: { path: "/big/4" }, check: (answer) => answer.body.length === 4 * MIB })],
    [1, () => ({ app: "echo", ask: { method: "POST", path: "/echo/", body: MUCH }, check: is(String(MUCH.length)) })],
    [1, () => ({ app: "health", ask: { path: "/api/health" }, check: (answer) => answer.body.includes('"status":"ok"') })],
  ];
}

/** How an answer looks to whoever counts. */
export function describe(answer: Answer): string {
  if (answer.status === 200) return "200";
  const code = /"code":"([a-z_]+)"/.exec(answer.body.toString("latin1"))?.[1];
  return code === undefined ? `${answer.status}` : `${answer.status} ${code}`;
}

async function run(scene: Scene, connection: Connection, errand: Errand): Promise<void> {
  const { ledger } = scene;
  const began = Date.now();
  const again = connection.requests > 0;
  const failed = (how: string): void => ledger.failed(errand.app, began, how, errand.expects?.(how) ?? false);
  try {
    const answer = await connection.ask(errand.ask);
    const how = describe(answer);
    if (how !== "200") failed(how);
    else if (errand.check(answer, began)) ledger.count(`${errand.app}: 200`);
    else failed(`200 with a wrong body: ${JSON.stringify(answer.body.toString("latin1").slice(0, 80))} (${answer.body.length} bytes)`);
  } catch (error) {
    if (error instanceof Aborted) ledger.count(`${errand.app}: left by its client`);
    else if (error instanceof Broken && error.status !== undefined) failed(`broke off after ${error.status}: ${error.message}`);
    else if (error instanceof Broken) failed(`no answer (${again ? "open" : "new"} connection): ${error.message}`);
    else throw error;
  }
}

function pick(scene: Scene, all: readonly [number, () => Errand][]): Errand {
  let at = scene.chance.below(all.reduce((sum, [weight]) => sum + weight, 0));
  for (const [weight, make] of all) {
    if (at < weight) return make();
    at -= weight;
  }
  return all[0]![1]();
}

async function open(scene: Scene): Promise<Connection | undefined> {
  const began = Date.now();
  try {
    return await Connection.open(scene.runtime.port);
  } catch (error) {
    scene.ledger.failed("connect", began, (error as Error).message, false);
    await Bun.sleep(50);
    return undefined;
  }
}

/** Asks without a pause on one connection, for as long as that lasts. */
export async function busy(scene: Scene): Promise<void> {
  const all = errands(scene);
  let connection: Connection | undefined;
  while (!scene.stopped()) {
    if (connection === undefined || connection.closed || connection.requests > 500) {
      connection?.destroy();
      connection = await open(scene);
      continue;
    }
    await run(scene, connection, pick(scene, all));
  }
  connection?.destroy();
}

/** One request on each connection. */
export async function fresh(scene: Scene): Promise<void> {
  const all = errands(scene);
  while (!scene.stopped()) {
    const connection = await open(scene);
    if (connection === undefined) continue;
    await run(scene, connection, pick(scene, all));
    connection.destroy();
  }
}

/** Goes away before the answer is there, or in the middle of it. */
export async function fickle(scene: Scene): Promise<void> {
  while (!scene.stopped()) {
    const connection = await open(scene);
    if (connection === undefined) continue;
    const app = scene.chance.of(["slow", "big", "stream"]);
    const path = { slow: "/slow/300", big: "/big/32", stream: "/stream/" }[app]!;
    const ask = { path, abort: 1 + scene.chance.below(60) };
    await run(scene, connection, { app, ask, check: () => true });
    connection.destroy();
    await Bun.sleep(20);
  }
}

/** Takes a large answer at half a MiB a second. */
export async function slowReader(scene: Scene): Promise<void> {
  while (!scene.stopped()) {
    const connection = await open(scene);
    if (connection === undefined) continue;
    await run(scene, connection, {
      app: "big",
      ask: { path: "/big/3", slow: MIB / 2 },
      check: (answer) => answer.body.length === 3 * MIB,
    });
    connection.destroy();
  }
}

/** Sends a head that never ends, byte by byte, and is closed without an answer. */
export async function slowHead(scene: Scene): Promise<void> {
  while (!scene.stopped()) {
    const connection = await open(scene);
    if (connection === undefined) continue;
    connection.write("GET /hello/ HTTP/1.1\r\n");
    const drip = setInterval(() => connection.write("x"), 200);
    const limit = setTimeout(() => connection.destroy(), 20_000);
    const began = Date.now();
    const said = await connection.end().catch(() => "");
    clearInterval(drip);
    clearTimeout(limit);
    connection.destroy();
    const took = Date.now() - began;
    if (took >= 20_000) scene.ledger.failed("slow head", began, "is never closed", false);
    else if (said !== "") scene.ledger.failed("slow head", began, `was answered: ${said.slice(0, 60)}`, false);
    else scene.ledger.count("slow head: closed");
  }
}

/** Says with its request that nothing more will come. A server may take that for the end of the client. */
export async function halfClosed(scene: Scene): Promise<void> {
  while (!scene.stopped()) {
    const connection = await open(scene);
    if (connection === undefined) continue;
    await run(scene, connection, {
      app: "hello",
      ask: { path: "/hello/", half: true },
      check: (answer) => answer.body.includes('"app":"hello"'),
      expects: (how) => how.startsWith("no answer"),
    });
    connection.destroy();
    await Bun.sleep(100);
  }
}

/**
 * Whether a WebSocket may end like this. `blow`: the plugin was replaced, the runtime handed over, or its process was killed while
 * it was open, which its end tells. `off`: the plugin was not there, so that it could not be opened. Nothing excuses other data than
 * were sent, silence, or an end that says nothing.
 */
export function socketMayEnd(how: string, blow: boolean, off: boolean): boolean {
  return (how === REFUSED && off) || (/^was closed with (1001|1011|1012)$/.test(how) && blow);
}

/** What a WebSocket that was never opened is closed with: 1006, as one that breaks off. */
const REFUSED = "was not opened (1006)";

/** Speaks to the plugin by WebSockets, which gives everything back. */
export async function socket(scene: Scene): Promise<void> {
  const { ledger, chance, runtime } = scene;
  while (!scene.stopped()) {
    const began = Date.now();
    const how = await new Promise<string>((resolve) => {
      const socket = new WebSocket(`ws://127.0.0.1:${runtime.port}/soak/live`);
      let left = 1 + chance.below(40);
      let last = "";
      let opened = false;
      const say = (): void => socket.send((last = `${left} ${"x".repeat(chance.below(4096))}`));
      const timer = setTimeout(() => (resolve("is silent"), socket.close()), 20_000);
      const over = (how: string): void => (clearTimeout(timer), resolve(how));
      socket.onopen = () => ((opened = true), say());
      socket.onmessage = ({ data }) => {
        if (data !== last) return (over("gives something else back"), socket.close());
        left -= 1;
        if (left > 0) setTimeout(say, 20);
        else (over("said all"), socket.close());
      };
      socket.onclose = ({ code }) => over(opened ? `was closed with ${code}` : `was not opened (${code})`);
      socket.onerror = () => {}; // it closes
    });
    if (how === "said all") ledger.count("socket: said all");
    else {
      const blow = ledger.blows.some(({ at, app }) => app === "soak" && at >= began - 3_000);
      ledger.failed("socket", began, how, socketMayEnd(how, blow, scene.pluginOff()));
      await Bun.sleep(50);
    }
  }
}
