// Writes to the link behind the shim's back. What it writes is the first segment of the path.
import fs from "node:fs";

const READY = 0x03, FAILED = 0x04, RESPONSE = 0x11, BODY = 0x12, END = 0x13, CREDIT = 0x14, CANCEL = 0x15, ERROR = 0x16, PONG = 0x21, HOOK_DONE = 0x31;
/** The number of the request: they are counted from 1 in each worker. */
let stream = 0;

function write(bytes: Uint8Array) {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += fs.writeSync(3, bytes, at);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EAGAIN") throw error;
      Bun.sleepSync(1);
    }
  }
}

function frame(type: number, stream: number, payload: ArrayLike<number> = [], length = payload.length) {
  const bytes = Buffer.alloc(9 + payload.length);
  bytes.writeUInt32BE(length, 0);
  bytes[4] = type;
  bytes.writeUInt32BE(stream, 5);
  bytes.set(payload, 9);
  return bytes;
}

/** `[flags, 200, nil, []]` */
const head = (flags = 0) => [0x94, flags, 0xcc, 200, 0xc0, 0x90];
const never = new Promise<never>(() => {});

const attacks: Record<string, () => void> = {
  "early": () => write(frame(RESPONSE, stream, head(1))),
  "garbage": () => write(Uint8Array.from({ length: 4096 }, (_, n) => (n * 197 + 31) ^ (n >> 3))),
  "text": () => write(Buffer.from("HTTP/1.1 200 OK\r\n\r\n")),
  "unknown-type": () => write(frame(0x7f, stream, [1, 2, 3])),
  "supervisors-type": () => write(frame(0x10, stream, head())),
  "endless": () => write(frame(BODY, stream, [], 0xffffffff)),
  "oversized": () => write(frame(RESPONSE, stream, head(), 512 * 1024 + 1)),
  "never-used": () => write(frame(RESPONSE, stream + 1000, head(1))),
  "on-the-link": () => write(frame(RESPONSE, 0, head(1))),
  "control-on-a-stream": () => write(frame(PONG, stream, new Uint8Array(8))),
  "two-heads": () => write(Buffer.concat([frame(RESPONSE, stream, head()), frame(RESPONSE, stream, head())])),
  "body-first": () => write(frame(BODY, stream, [1])),
  "empty-body": () => write(Buffer.concat([frame(RESPONSE, stream, head()), frame(BODY, stream)])),
  "after-the-end": () => write(Buffer.concat([frame(RESPONSE, stream, head()), frame(END, stream), frame(BODY, stream, [1])])),
  "error-after-head": () => write(Buffer.concat([frame(RESPONSE, stream, head()), frame(ERROR, stream, [0x94, 0xa0, 0xa0, 0xa0, 0xa0])])),
  "short-head": () => write(frame(RESPONSE, stream, head().slice(0, 3))),
  "map-for-a-head": () => write(frame(RESPONSE, stream, [0x81, 0xa1, 0x61, 0x01])),
  "long-array": () => write(frame(RESPONSE, stream, [0x94, 0, 0xcc, 200, 0xc0, 0xdd, 0xff, 0xff, 0xff, 0xfe])),
  "string-for-a-status": () => write(frame(RESPONSE, stream, [0x94, 0, 0xa3, 0x32, 0x30, 0x30, 0xc0, 0x90])),
  "short-credit": () => write(frame(CREDIT, stream, [0, 0, 1])),
  "too-much-credit": () => write(frame(CREDIT, stream, [0xff, 0xff, 0xff, 0xff])),
  "bad-cancel": () => write(frame(CANCEL, stream, [0x91, 99])),
  "bad-hook-done": () => write(frame(HOOK_DONE, 0, [0xc1])),
  "bad-hello": () => write(frame(0x01, 0, [0x93, 0xa1, 0x78, 0xa1, 0x78])),
  "bad-ready": () => write(frame(0x03, 0, [0x91, 0xa1, 0x78])),
  "hook-done-for-no-hook": () => write(frame(HOOK_DONE, 0, [0x92, 1, 0xc0])),
  "ready-again": () => write(frame(READY, 0, [0x92, 3, 0xc0])),
  "failed-after-ready": () => write(frame(FAILED, 0, [0x94, 0xa0, 0xa0, 0xa0, 0xa0])),
  // What the worker does right after it ends it, not the frame itself.
  "half-a-frame": () => (write(frame(RESPONSE, stream, head(), 100)), process.kill(process.pid, "SIGKILL")),
  "unasked-hook-done": () => write(frame(HOOK_DONE, 0, [0x92, 1, 0xc0])),
  "hello-again": () => write(frame(0x01, 0, [0x93, 0xa1, 0x78, 0xa1, 0x78, 0xc3])),
  "ready-again": () => write(frame(READY, 0, [0x92, 3, 0xc0])),
  "failed-late": () => write(frame(FAILED, 0, [0x94, 0xa0, 0xa0, 0xa0, 0xa0])),
};

export default {
  async fetch(request: Request) {
    stream += 1;
    const what = new URL(request.url).pathname.slice(1);
    if (what === "fine") return new Response("fine");
    // The shim's own READY, which the first request may be ahead of, is to be out by then.
    if (what !== "early") await Bun.sleep(1);
    // A head, then more body than anybody gave credit for.
    if (what === "beyond-credit") {
      write(frame(RESPONSE, stream, head()));
      const piece = frame(BODY, stream, new Uint8Array(256 * 1024));
      for (let n = 0; n < 400; n++) write(piece);
      return never;
    }
    // A head that is no HTTP: its request fails, the worker stays.
    if (what === "no-http") {
      write(frame(RESPONSE, stream, [0x94, 1, 0xcd, 0xff, 0xff, 0xc0, 0x90]));
      return never;
    }
    if (what === "header-injection") {
      write(frame(RESPONSE, stream, [0x94, 1, 0xcc, 200, 0xc0, 0x92, 0xa1, 0x78, 0xc4, 6, ...Buffer.from("a\r\nb:c")]));
      return never;
    }
    // Means nothing and harms nobody.
    if (what === "nothing") {
      write(frame(PONG, 0, new Uint8Array(8)));
      return new Response("fine");
    }
    attacks[what]!();
    return never;
  },
};
