/** One process for each request. */
export default { fetch: () => new Response("once") };
