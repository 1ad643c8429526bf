/** The warm-up of a spare, in a process of its own. */
import { expect, test } from "bun:test";
import path from "node:path";

const SOURCES = path.resolve(import.meta.dir, "../src");
const SCRIPT = `
import { installEnvironment } from "${SOURCES}/environment.ts";
import { installRequest } from "${SOURCES}/request.ts";
import { installResponse } from "${SOURCES}/response.ts";
import { warmUp } from "${SOURCES}/warm-up.ts";
installRequest(); installResponse(); installEnvironment();
const seen = () => JSON.stringify([
  Object.getOwnPropertyNames(globalThis), Object.getOwnPropertyNames(process), Object.keys(require.cache).sort(), process.eventNames(), process.cwd(), process.env,
  [Request, Response, Request.prototype, Response.prototype, Headers.prototype, Promise.prototype].map((one) => Reflect.ownKeys(one).map(String)),
]);
const before = seen();
let inside = 0;
const Native = Response;
globalThis.Response = new Proxy(Native, { construct(...all) { inside++; return Reflect.construct(...all) }, get(...all) { if (all[1] === "json") inside++; return Reflect.get(...all) } });
warmUp();
globalThis.Response = Native;
console.log(inside, seen() === before);
`;

test("answers its requests and leaves nothing that an app could see", () => {
  const { stdout, stderr } = Bun.spawnSync([process.execPath, "-e", SCRIPT], { cwd: import.meta.dir });
  expect([stdout.toString(), stderr.toString()]).toEqual(["2 true\n", ""]);
});
