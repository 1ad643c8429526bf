// Client-side routes. A link changes the page without a request; a reload asks the server for the same path, and the
// server answers with index.html.
const mount = new URL(document.baseURI).pathname;
const title = window.__env__?.PUBLIC_TITLE ?? "no title";

const views = [
  [/^$/, () => `Welcome to “${title}”, mounted at ${mount}`],
  [/^about$/, () => "This page has no server code: its files come straight from the supervisor."],
  [/^items\/(\d+)$/, (id) => `This is item ${id}.`],
];

function show() {
  const path = location.pathname.slice(mount.length);
  const found = views.map(([pattern, view]) => [pattern.exec(path), view]).find(([match]) => match);
  document.querySelector("main").textContent = found ? found[1](...found[0].slice(1)) : "There is no such page.";
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  show();
});
addEventListener("popstate", show);
show();
