/** Makes `dist/shim.js`, the one file that the supervisor embeds. `bun build.ts` */
const result = await Bun.build({
  entrypoints: [`${import.meta.dir}/src/main.ts`],
  target: "bun",
  format: "cjs",
  minify: { whitespace: true, syntax: true, identifiers: true },
});
if (!result.success) throw new AggregateError(result.logs, "the shim does not build");
const [output] = result.outputs;
const wrapped = /^\/\/ @bun @bun-cjs\n\(function\(exports, require, module, __filename, __dirname\) \{(.*)\}\)\s*$/s.exec(await output!.text());
if (wrapped === null) throw new Error("the bundle is not wrapped as CommonJS");
/**
 * CommonJS, as the supervisor compiles it to bytecode, and without its wrapper, which `bun build` would take for a
 * module that is compiled already.
 */
export const bundle = wrapped[1]!;
if (import.meta.main) {
  await Bun.write(`${import.meta.dir}/dist/shim.js`, bundle);
  console.log(`dist/shim.js: ${bundle.length} bytes`);
}
