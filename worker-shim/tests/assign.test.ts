/** Which modules are loaded without waiting, and what an assignment may be. */
import { afterAll, expect, test } from "bun:test";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { requireModule } from "../src/assign.ts";

const dir = fs.mkdtempSync(path.join(os.tmpdir(), "shim-assign-"));
afterAll(() => fs.rmSync(dir, { recursive: true }));

const modules: Record<string, [name: string, source: string, atOnce: boolean]> = {
  "an ES module": ["a.ts", "export const other: number = 1; export default { word: 'es' }", true],
  "an ES module that has itself evaluated asynchronously": ["b.ts", "await 0; export default { word: 'later' }", false],
  "a CommonJS module": ["c.cjs", "module.exports = { word: 'cjs' }", false],
  "a CommonJS module that passes for an ES module": ["d.cjs", "exports.__esModule = true; exports.default = { word: 'cjs' }", false],
  "a module that throws": ["e.ts", "throw new Error('no'); export default {}", false],
};
for (const [name, [file, source, atOnce]] of Object.entries(modules)) {
  test(`${name} is ${atOnce ? "loaded at once" : "left to import()"}`, () => {
    const entry = path.join(dir, file);
    fs.writeFileSync(entry, source);
    const module = requireModule(entry);
    expect(module !== null).toBe(atOnce);
    if (module !== null) expect((module as { default: { word: string } }).default.word).toBe("es");
  });
}
