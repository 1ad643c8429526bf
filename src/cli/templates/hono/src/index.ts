import { Hono } from "hono";

const app = new Hono();

app.get("/", (c) => c.text("Hello from {{name}}\n"));
app.get("/greet/:who", (c) => c.json({ hello: c.req.param("who") }));

// Its `fetch` is what Buntime calls.
export default app;
