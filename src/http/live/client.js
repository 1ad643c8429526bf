// Put into pages by `buntime dev`: reloads them when what they show has changed, and shows what keeps it from running.
(() => {
  const tag = document.currentScript;
  if (!tag || window.__buntime_dev__) return;
  const { app, fault, problem } = tag.dataset;
  window.__buntime_dev__ = { app };
  // A sandboxed frame has no origin, and may ask nobody. One in a page of the same app is reloaded with that.
  if (origin === "null" || isCovered()) return;
  let { boot } = tag.dataset;
  let seen = Number(tag.dataset.seen);
  let shown = fault === undefined ? undefined : Number(fault);
  // A page that says itself what is wrong needs nothing shown over it: when that changes, it is loaded again.
  const isProblem = problem !== undefined;

  // Where the browser shows a page from its cache after we had it reloaded, that page is older than what was told to it: without this
  // it would be reloaded for ever.
  const memory = "buntime-dev";
  try {
    const last = JSON.parse(sessionStorage.getItem(memory) ?? "null");
    if (last && last.at > Date.now() - 10_000 && (last.boot !== boot || last.seen > seen)) {
      ({ boot, seen } = last);
    }
  } catch {}

  let source;
  let overlay;
  // Milliseconds.
  let pause = 1000;

  function connect() {
    if (source || document.hidden) return;
    const query = new URLSearchParams({ seen, boot });
    if (app) query.set("app", app);
    if (shown !== undefined) query.set("fault", shown);
    source = new EventSource(`${location.origin}/.well-known/buntime/dev/events?${query}`);
    source.addEventListener("reload", (event) => reload(JSON.parse(event.data)));
    source.addEventListener("restyle", (event) => restyle(JSON.parse(event.data)));
    source.addEventListener("fault", (event) => show(JSON.parse(event.data)));
    source.addEventListener("clear", () => (isProblem ? reload({ seen, boot }) : hide()));
    // The browser tries again by itself, with the same address, unless it got another answer than a stream.
    source.onerror = () => {
      if (source?.readyState === EventSource.CLOSED) {
        disconnect();
        setTimeout(connect, pause);
        pause = Math.min(pause * 2, 30_000);
      }
    };
    source.onopen = () => (pause = 1000);
  }

  function disconnect() {
    source?.close();
    source = undefined;
  }

  function reload(told) {
    disconnect();
    try {
      sessionStorage.setItem(memory, JSON.stringify({ seen: told.seen, boot: told.boot, at: Date.now() }));
    } catch {}
    location.reload();
  }

  function isCovered() {
    try {
      for (let view = window; view !== view.parent; ) {
        view = view.parent;
        if (view.__buntime_dev__?.app === app && view.__buntime_dev__) return true;
      }
    } catch {
      // It is a page of another site.
    }
    return false;
  }

  // This one and those in its frames, as far as they are this site's.
  function documents(view = window) {
    try {
      return [view.document, ...Array.from({ length: view.length }, (_, nth) => documents(view[nth])).flat()];
    } catch {
      return [];
    }
  }

  // Exchanges the style sheets that changed; a page that has one of them in another way is reloaded.
  function restyle(told) {
    ({ seen, boot } = told);
    const links = documents().flatMap((page) => [...page.querySelectorAll('link[rel~="stylesheet"][href]')]);
    const ours = links.filter((link) => new URL(link.href).origin === location.origin);
    const of = (sheet) => ours.filter((link) => path(link).endsWith(`/${sheet.split("/").pop()}`));
    const found = told.sheets.map(of);
    if (found.some((links) => links.length === 0)) return reload(told);
    for (const link of new Set(found.flat())) {
      const fresh = link.cloneNode();
      const url = new URL(link.href);
      url.searchParams.set("buntime-dev", told.seen);
      fresh.href = url.href;
      fresh.onload = () => link.remove();
      fresh.onerror = () => reload(told);
      link.after(fresh);
    }
    if (overlay) hide();
  }

  function path(link) {
    const { pathname } = new URL(link.href);
    try {
      return decodeURI(pathname);
    } catch {
      return pathname; // it is in another charset
    }
  }

  function show(told) {
    if (isProblem) return reload({ seen, boot });
    shown = told.id;
    hide(told.id);
    overlay = document.createElement("buntime-error");
    const root = overlay.attachShadow({ mode: "open" });
    // A sheet that is made by a script needs no leave of the page's policy.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const box = element("div", "box");
    box.setAttribute("role", "alertdialog");
    box.setAttribute("aria-label", told.title);
    const close = element("button", "close", "×");
    close.title = "Close (Esc)";
    close.onclick = () => dismiss();
    box.append(close, element("p", "of", told.of || "plugins"), element("h1", "", told.title), element("p", "detail", told.detail));
    if (told.hint) box.append(element("p", "", `Hint: ${told.hint}`));
    if (told.excerpt) box.append(element("h2", "", place(told.excerpt)), excerpt(told.excerpt));
    if (told.stack) box.append(element("h2", "", "Stack"), element("pre", "", clean(told.stack)));
    if (told.output.length) box.append(element("h2", "", "Last lines on stderr"), element("pre", "", clean(told.output.join("\n"))));
    box.append(element("p", "soft", "Goes away when the file is saved without the error. Esc closes."));
    root.append(box);
    document.documentElement.append(overlay);
    document.addEventListener("keydown", onKey, true);
  }

  function excerpt({ first, lines, line, column }) {
    const code = element("pre", "code");
    const width = String(first + lines.length).length;
    lines.forEach((text, nth) => {
      const number = first + nth;
      const row = element("span", number === line ? "row at" : "row", `${String(number).padStart(width)} | ${text}\n`);
      code.append(row);
      if (number === line) {
        code.append(element("span", "row mark", `${" ".repeat(width)} | ${text.slice(0, column - 1).replace(/[^\t]/g, " ")}^\n`));
      }
    });
    return code;
  }

  const place = ({ file, line, column }) => `${file}:${line}:${column}`;
  // Colours of terminals.
  const clean = (text) => text.replace(/\x1b\[[0-9;]*[A-Za-z]/g, "");

  function element(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function dismiss() {
    overlay?.remove();
    overlay = undefined;
    document.removeEventListener("keydown", onKey, true);
  }

  function hide(next) {
    shown = next;
    dismiss();
  }

  function onKey(event) {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    dismiss();
  }

  const STYLE = `
    :host { all: initial; position: fixed; inset: 0; z-index: 2147483647; overflow: auto; background: rgb(0 0 0 / .6); color-scheme: light dark }
    .box { position: relative; box-sizing: border-box; max-width: 60rem; margin: 6vh auto; padding: 1.5rem 2rem; border-top: 4px solid #d93025; border-radius: .5rem; background: Canvas; color: CanvasText; font: 16px/1.5 system-ui, sans-serif }
    h1 { margin: 0; font-size: 1.4rem }
    h2 { margin: 1.5rem 0 .4rem; font-size: .85rem; font-weight: 600; opacity: .7 }
    p { margin: .5rem 0; overflow-wrap: anywhere }
    .of, .soft { font-size: .85rem; opacity: .7 }
    .detail { color: #d93025; white-space: pre-wrap }
    pre { margin: 0; padding: .8rem 1rem; overflow-x: auto; border: 1px solid rgb(128 128 128 / .4); border-radius: .4rem; font: 13px/1.5 ui-monospace, monospace; tab-size: 2 }
    .at { font-weight: 700 }
    .mark { color: #d93025 }
    .close { position: absolute; top: .8rem; right: 1rem; border: 0; background: none; color: inherit; font-size: 1.6rem; line-height: 1; cursor: pointer }
  `;

  // A browser has few connections for a host: pages that nobody sees leave theirs to others, and catch up.
  document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", connect);
  connect();
})();
