/** A plugin's WebSockets, as the supervisor hears and feeds them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { T, unpack } from "./codec.ts";
import { beginHook, read, runHook, startPlugin } from "./plugin.ts";
import { readResponse, TestWorker, WINDOW } from "./worker.ts";

const SOURCE = `
const told = [];
let last;
const tell = (what) => (socket, ...rest) => void told.push([what, socket.data, ...rest.map((one) => typeof one === "object" ? [...new Uint8Array(one.buffer ?? one)] : one)]);
export default {
  fetch: (request, server) => server.upgrade(request, { data: "fetch" }) ? undefined : new Response(null, { status: 404 }),
  routes: {
    "/echo": (request, server) => {
      if (server.upgrade(request, { data: new URL(request.url).search, headers: { a: "1", "x-buntime-idle": "7" } })) return;
      return new Response("no socket", { status: 400 });
    },
    "/twice": (request, server) => new Response([server.upgrade(request), server.upgrade(request)].join()),
    "/later": async (request, server) => { await 0; server.upgrade(request, { data: "later" }); },
    "/throws": (request, server) => { server.upgrade(request, { data: "throws" }); throw new Error("after it"); },
    "/told": () => Response.json(told.splice(0)),
    "/flood": (request, server) => { server.upgrade(request, { data: "flood" }); },
    "/topic": (request, server) => Response.json([server.publish("news", "all"), server.subscriberCount("news"), server.pendingWebSockets]),
    "/last": () => Response.json([last.readyState, last.getBufferedAmount(), last.send("x"), last.remoteAddress]),
    "/after": async (request, server) => { await request.text(); return new Response("read"); },
  },
  websocket: {
    maxPayloadLength: 1000,
    open(socket) {
      last = socket;
      told.push(["open", socket.data]);
      if (socket.data === "flood") told.push(["sent", socket.send(new Uint8Array(200_000)), socket.send(new Uint8Array(200_000)), socket.getBufferedAmount()]);
    },
    message(socket, message) {
      if (message === "close") socket.close(4001, "é".repeat(100));
      else if (message === "terminate") socket.terminate();
      else if (message === "throw") throw new Error("in a handler");
      else if (message === "subscribe") socket.subscribe("news");
      else if (message === "publish") socket.send(String(socket.publish("news", "from " + socket.data)));
      else if (message === "arraybuffer") socket.binaryType = message;
      else if (message === "large") { try { socket.send(new Uint8Array(16 * 1024 * 1024 + 1)); } catch (error) { socket.send(error.name); } }
      else if (message === "ping") { socket.ping("are you there"); socket.pong(new Uint8Array([1])); }
      else if (message instanceof ArrayBuffer) socket.send(new Uint16Array(message));
      else socket.send(message);
    },
    close: tell("close"),
    drain: tell("drain"),
    ping: tell("ping"),
    pong: tell("pong"),
  },
};
`;

let worker: TestWorker;
beforeAll(async () => void (worker = await startPlugin(SOURCE, { base: "/chat" })));
afterAll(async () => expect(await worker.stop()).toBe(0));

/** A message as it goes over the link. */
function message(kind: number, payload: string | Uint8Array = ""): Buffer {
  const bytes = Buffer.from(payload as string);
  const header = Buffer.alloc(5);
  header.writeUInt32BE(bytes.length);
  header[4] = kind;
  return Buffer.concat([header, bytes]);
}

function closeOf(code: number, reason = ""): Buffer {
  const payload = Buffer.alloc(2);
  payload.writeUInt16BE(code);
  return message(8, Buffer.concat([payload, Buffer.from(reason)]));
}

/** The supervisor's end of a socket. */
class Peer {
  #rest = Buffer.alloc(0);
  ended = false;

  private constructor(
    readonly stream: number,
    readonly headers: ReturnType<typeof read>,
  ) {}

  static async open(path: string, hook = "route", headers: Record<string, string> = {}): Promise<Peer> {
    const stream = beginHook(worker, hook, { url: `http://h${path}`, fin: false, headers: { _upgrade: "websocket", ...headers } });
    const answer = readResponse((await worker.take(T.RESPONSE, stream)).payload);
    expect([answer.status, answer.fin]).toEqual([200, false]);
    return new Peer(stream, read(answer));
  }

  send(bytes: Uint8Array): void {
    worker.send(T.BODY, this.stream, bytes);
  }

  end(bytes: Uint8Array): void {
    worker.send(T.END, this.stream, bytes);
  }

  /** The next message; null at the end. */
  async next(): Promise<[number, string] | null> {
    for (;;) {
      if (this.#rest.length >= 5) {
        const end = 5 + this.#rest.readUInt32BE(0);
        if (this.#rest.length >= end) {
          const found: [number, string] = [this.#rest[4]!, this.#rest.toString("latin1", 5, end)];
          this.#rest = this.#rest.subarray(end);
          return found;
        }
      }
      if (this.ended) return null;
      const frame = await worker.take([T.BODY, T.END], this.stream);
      this.ended = frame.type === T.END;
      this.#rest = Buffer.concat([this.#rest, frame.payload]);
    }
  }
}

async function told(): Promise<unknown[]> {
  return JSON.parse((await runHook(worker, "route", { url: "http://h/told" })).text());
}

describe("an upgrade", () => {
  test("is answered with the plugin's headers and limits", async () => {
    const peer = await Peer.open("/echo?1", "route", { "sec-websocket-protocol": "chat, super" });
    expect(peer.headers).toEqual({
      flow: { flow: "upgrade", "max-payload": "1000", idle: "120" },
      headers: { a: "1", "sec-websocket-protocol": "chat" },
    });
    peer.end(closeOf(1000, "bye"));
    expect(await peer.next()).toBeNull();
    expect(await told()).toEqual([["open", "?1"], ["close", "?1", 1000, "bye"]]);
  });

  test("may come of fetch, and later", async () => {
    for (const [path, hook] of [["/any", "fetch"], ["/later", "route"]] as const) (await Peer.open(path, hook)).end(closeOf(1001));
    expect(await told()).toEqual([["open", "fetch"], ["close", "fetch", 1001, ""], ["open", "later"], ["close", "later", 1001, ""]]);
  });

  test("is not to be had where the supervisor offers none, and only once", async () => {
    const answer = await runHook(worker, "route", { url: "http://h/echo", headers: { upgrade: "websocket" } });
    expect([answer.status, answer.text()]).toEqual([400, "no socket"]);
    const hook = await runHook(worker, "fetch", { url: "http://h/any" });
    expect(hook.status).toBe(404);
    const peer = await Peer.open("/twice");
    peer.end(closeOf(1000));
    expect(await peer.next()).toBeNull();
    await told();
  });

  test("that is not taken leaves an answer like any other", async () => {
    const stream = beginHook(worker, "route", { url: "http://h/after", fin: false, headers: { _upgrade: "websocket" } });
    expect((await worker.answer(stream)).text()).toBe("read");
  });

  test("is not undone by what the handler throws afterwards", async () => {
    const peer = await Peer.open("/throws");
    peer.send(message(1, "still there"));
    expect(await peer.next()).toEqual([1, "still there"]);
    peer.end(closeOf(1000));
    await told();
  });
});

describe("messages", () => {
  test("go both ways, however they are cut", async () => {
    const peer = await Peer.open("/echo");
    const row = Buffer.concat([message(1, "é"), message(2, Buffer.from([0, 255])), message(1), message(2, Buffer.alloc(300_000, 7))]);
    for (let at = 0; at < 20; at++) peer.send(row.subarray(at, at + 1));
    for (let at = 20; at < row.length; at += 100_000) peer.send(row.subarray(at, at + 100_000));
    expect(await peer.next()).toEqual([1, Buffer.from("é").toString("latin1")]);
    expect(await peer.next()).toEqual([2, "\0\xff"]);
    expect(await peer.next()).toEqual([1, ""]);
    const credit = (await worker.take(T.CREDIT, peer.stream)).payload.readUInt32BE();
    expect(credit).toBeGreaterThanOrEqual(64 * 1024);
    worker.credit(peer.stream, WINDOW / 2);
    const [kind, large] = (await peer.next())!;
    expect([kind, large.length]).toEqual([2, 300_000]);
    peer.send(Buffer.concat([message(1, "arraybuffer"), message(2, Buffer.from([1, 2]))]));
    expect(await peer.next()).toEqual([2, "\x01\x02"]);
    peer.end(closeOf(1000));
    await told();
  });

  test("may be pings and pongs", async () => {
    const peer = await Peer.open("/echo");
    peer.send(Buffer.concat([message(9, "a"), message(10), message(1, "ping")]));
    expect(await peer.next()).toEqual([9, "are you there"]);
    expect(await peer.next()).toEqual([10, "\x01"]);
    expect(await told()).toEqual([["open", ""], ["ping", "", [97]], ["pong", "", []]]);
    peer.end(closeOf(1000));
    await told();
  });

  test("wait for credit, and the plugin is told when they have gone", async () => {
    const peer = await Peer.open("/flood");
    expect(await told()).toEqual([["open", "flood"], ["sent", 200_005, -1, 400_010 - WINDOW]]);
    worker.credit(peer.stream, WINDOW);
    expect([(await peer.next())![1].length, (await peer.next())![1].length]).toEqual([200_000, 200_000]);
    expect(await told()).toEqual([["drain", "flood"]]);
    peer.end(closeOf(1000));
    await told();
  });

  test("that are too large cannot be sent", async () => {
    const peer = await Peer.open("/echo");
    peer.send(message(1, "large"));
    expect(await peer.next()).toEqual([1, "RangeError"]);
    peer.end(closeOf(1000));
    await told();
  });

  test("reach those who have subscribed", async () => {
    const [one, other] = [await Peer.open("/echo?one"), await Peer.open("/echo?other")];
    for (const peer of [one, other]) peer.send(message(1, "subscribe"));
    one.send(message(1, "publish"));
    expect(await one.next()).toEqual([1, "14"]);
    expect(await other.next()).toEqual([1, "from ?one"]);
    const [sent, subscribers, pending] = JSON.parse((await runHook(worker, "route", { url: "http://h/topic" })).text());
    expect([sent, subscribers, pending]).toEqual([8, 2, 2]);
    for (const peer of [one, other]) {
      expect(await peer.next()).toEqual([1, "all"]);
      peer.end(closeOf(1000));
      expect(await peer.next()).toBeNull();
    }
    expect(JSON.parse((await runHook(worker, "route", { url: "http://h/topic" })).text())).toEqual([0, 0, 0]);
    await told();
  });
});

describe("the end", () => {
  test("may be the plugin's, with a reason that fits", async () => {
    const peer = await Peer.open("/echo");
    peer.send(message(1, "close"));
    const [kind, payload] = (await peer.next())!;
    expect([kind, Buffer.from(payload, "latin1").readUInt16BE(), Buffer.from(payload, "latin1").toString("utf8", 2)]).toEqual([8, 4001, "é".repeat(61)]);
    expect(await peer.next()).toBeNull();
    // What was on its way is passed over.
    peer.send(message(1, "late"));
    await worker.ping();
    expect(await told()).toEqual([["open", ""], ["close", "", 4001, "é".repeat(100)]]);
    const [state, buffered, sent, address] = JSON.parse((await runHook(worker, "route", { url: "http://h/last" })).text());
    expect([state, buffered, sent, address]).toEqual([3, 0, 0, "203.0.113.7"]);
  });

  test("may be abrupt, of either side", async () => {
    const peer = await Peer.open("/echo");
    peer.send(message(1, "terminate"));
    expect(unpack((await worker.take(T.CANCEL, peer.stream)).payload).value).toEqual([3]);
    const other = await Peer.open("/echo");
    worker.cancel(other.stream, 1);
    const third = await Peer.open("/echo");
    third.end(Buffer.alloc(0));
    expect(await third.next()).toBeNull();
    expect(await told()).toEqual(Array(3).fill([["open", ""], ["close", "", 1006, ""]]).flat());
  });

  test("does not come of a handler that throws", async () => {
    const peer = await Peer.open("/echo");
    peer.send(Buffer.concat([message(1, "throw"), message(1, "on")]));
    expect(await peer.next()).toEqual([1, "on"]);
    peer.end(closeOf(1000));
    await told();
  });
});

describe("what cannot be", () => {
  test("ends the link", async () => {
    const long = Buffer.from([1, 0, 0, 1, 2]);
    for (const bad of [message(3), message(0), message(9, "x".repeat(126)), message(8), message(8, "x"), long]) {
      const worker = await startPlugin("export default { routes: { '/': (request, server) => void server.upgrade(request) }, websocket: {} }");
      const stream = beginHook(worker, "route", { url: "http://h/", fin: false, headers: { _upgrade: "websocket" } });
      await worker.take(T.RESPONSE, stream);
      worker.send(T.BODY, stream, bad);
      expect(await worker.exited()).toBe(70);
    }
  });

  test("is refused when the plugin is loaded", async () => {
    for (const [websocket, word] of [["{ message: 7 }", "websocket.message"], ["{ maxPayloadLength: 1e9 }", "maxPayloadLength"], ["{ idleTimeout: '1' }", "idleTimeout"]]) {
      expect(startPlugin(`export default { websocket: ${websocket} }`)).rejects.toThrow(word!);
    }
  });
});
