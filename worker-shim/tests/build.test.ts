/** The committed bundle, as it is and as the supervisor compiles it. */
import { expect, test } from "bun:test";
import fs from "node:fs";
import { isBuiltin } from "node:module";
import os from "node:os";
import path from "node:path";
import { bundle } from "../build.ts";
import { T, unpack } from "./codec.ts";
import { AppError, SHIM, TestWorker } from "./worker.ts";

test("dist/shim.js is what the sources build to", async () => {
  expect((await Bun.file(SHIM).text()) === bundle).toBe(true);
});

test("the bundle has the place for the build id once", () => {
  expect(bundle.split("__BUNTIME_BUILD__").length).toBe(2);
});

test("the bundle requires nothing but what Bun has built in, and knows no path of this machine", () => {
  const names = [...bundle.matchAll(/\b(?:require|getBuiltinModule)\(["']([^"']+)["']\)/g)].map(([, name]) => name!);
  expect(names).toContain("bun:jsc");
  expect(names.filter((name) => !isBuiltin(name))).toEqual([]);
  expect(bundle).not.toContain(path.dirname(import.meta.dir));
});

test("compiled to bytecode it serves an app, and its frames are left out of the app's errors", async () => {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "shim-compiled-"));
  const compile = Bun.spawnSync([process.execPath, "build", "--target=bun", "--format=cjs", "--bytecode", "--outdir", dir, SHIM]);
  expect(compile.exitCode).toBe(0);
  expect(fs.readdirSync(dir).sort()).toEqual(["shim.js", "shim.js.jsc"]);
  const worker = await TestWorker.spawn({ script: path.join(dir, "shim.js") });
  expect((unpack((await worker.take(T.HELLO)).payload).value as unknown[])[0]).toBe("__BUNTIME_BUILD__");
  worker.assign("export default { fetch(request) { if (request.url.endsWith('/throw')) throw new Error('no'); return new Response('hi') } }");
  await worker.take(T.READY);
  expect((await worker.fetch("/")).text()).toBe("hi");
  const error = (await worker.fetch("/throw").catch((error: unknown) => error)) as AppError;
  expect(error.appStack).toContain("index.ts");
  expect(error.appStack + error.inspect).not.toContain("shim.js");
  expect(await worker.stop()).toBe(0);
  fs.rmSync(dir, { recursive: true });
});
