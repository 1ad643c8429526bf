/**
 * Writes the corpus: what a supervisor sends, well-formed and not, one file a
 * conversation. `bun tests/corpus/make.ts` after a change to the protocol.
 */
import path from "node:path";
import { frame, pack, type Packed, T } from "../codec.ts";
import { seatOf } from "../plugin.ts";
import { requestFrame } from "../worker.ts";

const bytes = (...list: number[]) => Buffer.from(list);
const u32 = (value: number) => {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return payload;
};
const request = (fields: Packed[], stream = 1) => frame(T.REQUEST, stream, pack(fields));
const header = (length: number, type: number, stream: number) => frame(type, stream, Buffer.alloc(0)).fill(u32(length), 0, 4);

const conversations: Record<string, Uint8Array[]> = {
  "get": [requestFrame(1, "/")],
  "get-headers": [requestFrame(1, "/headers", { headers: [["host", "a"], ["x", "\xff"], ["cookie", "a=b"]] })],
  "many": Array.from({ length: 20 }, (_, i) => requestFrame(i + 1, i % 2 === 0 ? "/" : "/stream")),
  "post-fin": [requestFrame(1, "/read", { method: "POST", body: "hello" })],
  "post-frames": [requestFrame(1, "/read", { method: "POST", fin: false, body: "a" }), frame(T.BODY, 1, bytes(1, 2)), frame(T.END, 1, bytes(3))],
  "post-cancelled": [requestFrame(1, "/read", { method: "PUT", fin: false }), frame(T.BODY, 1, bytes(1)), frame(T.CANCEL, 1, pack([1])), frame(T.BODY, 1, bytes(2))],
  "get-unfinished": [requestFrame(1, "/", { fin: false }), frame(T.BODY, 1, bytes(1))],
  "stream-credit": [requestFrame(1, "/stream"), frame(T.CREDIT, 1, u32(100_000)), frame(T.CREDIT, 1, u32(0xffff_ffff))],
  "stream-cancelled": [requestFrame(1, "/stream"), frame(T.CANCEL, 1, pack([2]))],
  "wait-signal": [requestFrame(1, "/wait"), frame(T.CANCEL, 1, pack([4]))],
  "large-head": [requestFrame(1, "/headers", { headers: [["big", "v".repeat(9000)]] })],
  "wide-integers": [frame(T.REQUEST, 1, Buffer.concat([bytes(0x96, 0xcc, 1), pack("GET"), pack("http://a/"), bytes(0xdd, 0, 0, 0, 0), bytes(0xdb, 0, 0, 0, 0), bytes(0xce, 0, 0, 1, 0)]))],
  "ping": [frame(T.PING, 0, bytes(1, 2, 3, 4, 5, 6, 7, 8))],
  "hooks": [frame(T.HOOK, 0, pack([1])), frame(T.HOOK, 0, pack([2]))],
  "assign": [frame(T.ASSIGN, 0, pack({ dir: "/a", entry: "/a/b.ts", name: "n", version: "v", workerId: "w", mount: "/m", origin: "", dev: true, env: { A: "b", C: "" } }))],
  "throw": [requestFrame(1, "/throw"), requestFrame(2, "/reject")],
  "odd-url": [requestFrame(1, "", { url: "::" }), requestFrame(2, "/", { method: "TRACE" })],
  "plugin-results": [frame(T.RESULT, 0, pack([2, null, { a: [1, "b", Buffer.of(3), null, true, 1.5] }])), frame(T.RESULT, 0, pack([1, ["TypeError", "no"], null])), requestFrame(1, "/"), frame(T.RESULT, 0, pack([3, null, [[[]]]]))],
  "plugin-assign": [frame(T.ASSIGN, 0, pack({ dir: "/a", entry: "/a/b.ts", name: "n", version: "v", workerId: "w", mount: "/m", origin: "", dev: true, env: { A: "b" }, plugin: seatOf({ config: { a: 1, b: [true], c: { d: null } } }) }))],
  "bad-plugin-result": [frame(T.RESULT, 0, pack([7, null, 1]))],
  "bad-plugin-nested": [frame(T.RESULT, 0, Buffer.concat([bytes(0x93, 1, 0xc0), Buffer.alloc(70, 0x91), bytes(0xc0)]))],
  "bad-plugin-length": [frame(T.RESULT, 0, bytes(0x93, 1, 0xc0, 0xdd, 0xff, 0xff, 0xff, 0xff))],
  "bad-plugin-assign": [frame(T.ASSIGN, 0, pack({ dir: "/a", entry: "/a/b.ts", name: "n", version: "v", workerId: "w", mount: "/m", origin: "", dev: true, env: {}, plugin: pack({ name: "n" }) }))],
  "bad-result": [frame(T.RESULT, 0, pack([1, null, 1]))],
  "bad-empty-head": [frame(T.REQUEST, 1, Buffer.alloc(0))],
  "bad-head-types": [request([1, 2, 3, 4, 5, 6])],
  "bad-head-nested": [request([1, "GET", "http://a/", [["a"], [Buffer.from("b")]], "", 0])],
  "bad-head-count": [frame(T.REQUEST, 1, Buffer.concat([bytes(0x96, 1), pack("GET"), pack("/"), bytes(0xdd, 0xff, 0xff, 0xff, 0xff)]))],
  "bad-head-length": [frame(T.REQUEST, 1, bytes(0x96, 1, 0xdb, 0xff, 0xff, 0xff, 0xff))],
  "bad-reused": [requestFrame(2, "/wait"), requestFrame(2, "/wait")],
  "bad-unused": [frame(T.BODY, 3, bytes(1))],
  "bad-window": [requestFrame(1, "/wait", { method: "POST", fin: false }), ...Array.from({ length: 5 }, () => frame(T.BODY, 1, Buffer.alloc(60_000)))],
  "bad-type": [frame(0x99, 0, Buffer.alloc(3))],
  "bad-length": [header(0xffff_ffff, T.BODY, 1)],
  "bad-cancel": [requestFrame(1, "/wait"), frame(T.CANCEL, 1, bytes(0x91))],
  "bad-hook": [frame(T.HOOK, 0, pack([[[[1]]]]))],
  "bad-assign": [frame(T.ASSIGN, 0, bytes(0xdf, 0xff, 0xff, 0xff, 0xff))],
};

for (const [name, frames] of Object.entries(conversations)) await Bun.write(path.join(import.meta.dir, `${name}.bin`), Buffer.concat(frames));
