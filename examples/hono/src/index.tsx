// An app made with Hono: its default export has `fetch`, so nothing else is needed. `package.json` names the
// entrypoint (`module`), `tsconfig.json` the JSX runtime and the `~/` path.
import { Hono } from "hono";
import { HTTPException } from "hono/http-exception";
import { books } from "~/books";

const app = new Hono();

app.get("/", (c) =>
  c.html(
    <html lang="en">
      <head>
        <title>Books</title>
      </head>
      <body>
        <h1>Books</h1>
        <ul>
          {books.map((book) => (
            <li>
              <a href={`books/${book.isbn}`}>{book.title}</a>
            </li>
          ))}
        </ul>
      </body>
    </html>,
  ),
);

app.get("/books", (c) => c.json(books));

app.get("/books/:isbn", (c) => {
  const book = books.find((book) => book.isbn === c.req.param("isbn"));
  if (!book) throw new HTTPException(404, { message: "there is no such book" });
  return c.json(book);
});

export default app;
