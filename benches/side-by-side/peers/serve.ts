/** An app of `../apps` on a bare `Bun.serve`: `bun serve.ts FILE PORT` or `bun serve.ts FILE /path/of.sock`. */
const [file, place] = process.argv.slice(2);
const { fetch } = (await import(file!)).default;
const maxRequestBodySize = 2 * 1024 ** 3;

if (place!.startsWith("/")) Bun.serve({ unix: place!, fetch, maxRequestBodySize });
else Bun.serve({ hostname: "127.0.0.1", port: Number(place), fetch, maxRequestBodySize });
