// Notes in a SQLite database. APP_DATA_DIR is this app's own directory: writable, and it survives new versions.
import { Database } from "bun:sqlite";
import { join } from "node:path";

type Note = { id: number; text: string };

const db = new Database(join(process.env.APP_DATA_DIR ?? ".", "notes.sqlite"), { create: true, strict: true });
db.run("PRAGMA journal_mode = WAL");
db.run("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)");

const all = db.query<Note, []>("SELECT id, text FROM notes ORDER BY id");
const one = db.query<Note, { id: number }>("SELECT id, text FROM notes WHERE id = $id");
const add = db.query<Note, { text: string }>("INSERT INTO notes (text) VALUES ($text) RETURNING id, text");
const remove = db.query<Note, { id: number }>("DELETE FROM notes WHERE id = $id RETURNING id, text");

const missing = () => Response.json({ error: "there is no such note" }, { status: 404 });

export default {
  routes: {
    "/": () => Response.json({ greeting: process.env.NOTES_GREETING, notes: all.all().length }),

    "/notes": {
      GET: () => Response.json(all.all()),
      // curl -d 'buy milk' localhost:8000/notes/notes
      async POST(request: Request) {
        const text = (await request.text()).trim();
        if (text === "") return Response.json({ error: "the note is empty" }, { status: 422 });
        return Response.json(add.get({ text }), { status: 201 });
      },
    },

    "/notes/:id": {
      GET(request: Bun.BunRequest<"/notes/:id">) {
        const note = one.get({ id: Number(request.params.id) });
        return note ? Response.json(note) : missing();
      },
      DELETE(request: Bun.BunRequest<"/notes/:id">) {
        const note = remove.get({ id: Number(request.params.id) });
        return note ? Response.json(note) : missing();
      },
    },
  },

  fetch: () => new Response("Nothing here.\n", { status: 404 }),

  // Called once when the worker is about to end: the last chance to put things in order.
  onTerminate() {
    db.close();
  },
};
