export default {
  fetch: () => new Response("hello from a guest\n"),
};
