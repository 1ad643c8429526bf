/** Some lines, one after the other. */
export default {
  fetch(): Response {
    let n = 0;
    const body = new ReadableStream<string>({
      async pull(controller) {
        if (n === 20) return controller.close();
        controller.enqueue(`line ${n++}\n`);
        await Bun.sleep(10);
      },
    });
    return new Response(body);
  },
};
