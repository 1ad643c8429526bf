export default {
  async fetch(request: Request) {
    await Bun.sleep(Number(new URL(request.url).searchParams.get("ms")));
    return new Response("hello from a guest\n");
  },
};
