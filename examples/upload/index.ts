// A form with files. Two ways: `formData()` for forms, and reading the body as it arrives for one large file.
const page = `<!doctype html>
<html lang="en">
  <head><meta charset="utf-8"><title>Upload</title></head>
  <body>
    <h1>Upload</h1>
    <form method="post" enctype="multipart/form-data">
      <p><label>Note <input name="note"></label></p>
      <p><label>Files <input type="file" name="file" multiple></label></p>
      <button>Send</button>
    </form>
  </body>
</html>
`;

export default {
  routes: {
    "/": {
      GET: () => new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } }),

      // curl -F note=hi -F file=@a.txt -F file=@b.txt localhost:8000/upload/
      async POST(request: Request) {
        const form = await request.formData();
        const files = form.getAll("file").filter((entry) => entry instanceof File);
        return Response.json({
          note: form.get("note"),
          files: files.map((file) => ({ name: file.name, type: file.type, size: file.size })),
        });
      },
    },

    // curl -T big.bin localhost:8000/upload/raw
    "/raw": {
      async PUT(request: Request) {
        const hasher = new Bun.CryptoHasher("sha256");
        let size = 0;
        for await (const chunk of request.body ?? []) {
          hasher.update(chunk);
          size += chunk.byteLength;
        }
        return Response.json({ size, sha256: hasher.digest("hex") });
      },
    },
  },

  fetch: () => new Response("Nothing here.\n", { status: 404 }),
};
