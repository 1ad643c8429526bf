/** Makes `dist/shim.js`, the one file that the supervisor embeds. `bun build.ts` */
const result = await Bun.build({
  entrypoints: [`${import.meta.dir}/src/main.ts`],
  target: "bun",
  format: "esm",
  minify: { whitespace: true, syntax: true, identifiers: true },
});
if (!result.success) throw new AggregateError(result.logs, "the shim does not build");
const [output] = result.outputs;
export const bundle = await output!.text();
if (import.meta.main) {
  await Bun.write(`${import.meta.dir}/dist/shim.js`, bundle);
  console.log(`dist/shim.js: ${bundle.length} bytes`);
}
