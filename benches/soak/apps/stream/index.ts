/** Some lines, one after the other. */
export default {
  fetch(): Response {
    async function* lines(): AsyncGenerator<string> {
      for (let n = 0; n < 20; n++) {
        yield `line ${n}\n`;
        await Bun.sleep(10);
      }
    }
    return new Response(lines());
  },
};
