/** `/MS`: answers after so long. */
export default {
  async fetch(request: Request): Promise<Response> {
    await Bun.sleep(Number(new URL(request.url).pathname.slice(1)));
    return new Response("slow");
  },
};
