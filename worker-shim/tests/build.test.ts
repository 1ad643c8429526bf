/** The committed bundle. */
import { expect, test } from "bun:test";
import { isBuiltin } from "node:module";
import { bundle } from "../build.ts";
import { SHIM } from "./worker.ts";

test("dist/shim.js is what the sources build to", async () => {
  expect((await Bun.file(SHIM).text()) === bundle).toBe(true);
});

test("the bundle has the place for the build id once", () => {
  expect(bundle.split("__BUNTIME_BUILD__").length).toBe(2);
});

test("the bundle imports nothing but what Bun has built in", () => {
  const imports = [...bundle.matchAll(/\bfrom\s*["']([^"']+)["']/g)].map(([, name]) => name);
  expect(imports.filter((name) => !isBuiltin(name!))).toEqual([]);
});
