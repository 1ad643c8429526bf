/** The hello of `../apps/hello` in one file, for what starts a process for it: `bun hello.ts PORT`. */
Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch: () => new Response("Hello, world!\n"),
});
