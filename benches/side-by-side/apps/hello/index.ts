/** The smallest answer: what is measured is the way to it. */
export default {
  fetch: () => new Response("Hello, world!\n"),
};
