/** The hello of `../hello`, from a fresh process for every request. */
export default {
  fetch: () => new Response("Hello, world!\n"),
};
