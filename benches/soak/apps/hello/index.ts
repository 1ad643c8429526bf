/** Answers at once, with who it is. */
export default { fetch: () => Response.json({ app: "hello", pid: process.pid }) };
