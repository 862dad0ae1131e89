// -- filters: they run in the page, because a request to the server for each key press is slow ----

const boards = () => [...document.querySelectorAll(".sfda.board")];
const fields = (board) => [...board.querySelectorAll("[data-filter]")];
const boxes = (menu) => [...menu.querySelectorAll("input")];

const read = (field) => field.matches("details")
  ? boxes(field).filter((box) => box.checked).map((box) => box.value)
  : field.value.trim();

const write = (field, value) => {
  if (field.matches("details")) {
    const wanted = new Set([].concat(value));
    boxes(field).forEach((box) => { box.checked = wanted.has(box.value); });
  } else {
    field.value = value;
  }
};

// Matching rows far below stay hidden until the reader scrolls there: a browser needs seconds to lay
// out a thousand rows.
const filter = (board, most_shown = FIRST) => {
  const table = board.querySelector("table.ranking");
  const output = board.querySelector("output");
  if (!table || !output) return;
  const column = (name) => table.querySelector(`thead [data-column="${name}"]`).cellIndex;
  const at = { model: column("model"), params: column("params"), licence: column("licence"), library: column("library") };
  const wanted = Object.fromEntries(fields(board).map((field) => [field.dataset.filter, read(field)]));
  const words = (wanted.q || "").toLowerCase().split(/\s+/).filter(Boolean);
  const most = wanted.size ? 1e6 * wanted.size : Infinity;
  const rows = [...table.tBodies[0].rows];
  let found = 0;
  for (const row of rows) {
    const value = (name) => row.cells[at[name]].dataset.value;
    const model = value("model").toLowerCase();
    const params = value("params");
    const keep = words.every((word) => model.includes(word))
      && (most === Infinity || (params !== "" && +params <= most))
      && ["licence", "library"].every((name) => !wanted[name]?.length || wanted[name].includes(value(name)));
    found += keep;
    row.hidden = !keep || found > most_shown;
  }
  board.dataset.shown = Math.min(found, most_shown);
  board.dataset.found = found;
  const active = found < rows.length || Object.values(wanted).some((value) => value.length);
  output.textContent = active ? `${found} of ${rows.length} models` : `${rows.length} models`;
  board.querySelector("[data-act=clear]").hidden = !active;
  board.querySelectorAll("details.menu").forEach((menu) => {
    const n = read(menu).length;
    menu.querySelector("summary b").textContent = n ? ` (${n})` : "";
  });
};

// -- the page's address contains the current view, so that a link restores it --------------------

const LISTS = ["licence", "library"];
const tab = () => [...document.querySelectorAll("[role=tabpanel][id^=tab-]")]
  .find((panel) => panel.offsetParent)?.id.slice("tab-".length);

const view = () => {
  const board = boards()[0];
  const view = new URLSearchParams();
  if (!board) return view;
  if (board.dataset.own === "no") {
    view.set("board", board.dataset.board);
    view.set("metric", board.dataset.metric);
  }
  if (tab() && tab() !== "leaderboard") view.set("tab", tab());
  for (const field of fields(board)) {
    const value = read(field);
    if (value.length) view.set(field.dataset.filter, [].concat(value).map(encodeURIComponent).join(","));
  }
  const sorted = board.querySelector(".ranking th[aria-sort]");
  if (sorted && sorted.cellIndex > 0) {
    view.set("sort", `${sorted.textContent.trim()}:${sorted.ariaSort}`);
  }
  return view;
};

let told; // the tab that the address names
const remember = () => {
  told = tab();
  const query = view().toString();
  const theme = new URLSearchParams(location.search).get("__theme");
  const full = query + (theme ? `${query ? "&" : ""}__theme=${theme}` : "");
  history.replaceState(null, "", full ? `?${full}` : location.pathname);
  // On the Hub this page is inside a frame; the outer page has the address that the reader sees.
  if (parent !== window) parent.postMessage({ queryString: query }, "https://huggingface.co");
};

let opened = new URLSearchParams(location.search);
const restore = (board) => {
  for (const field of fields(board)) {
    const value = opened.get(field.dataset.filter);
    if (value === null) continue;
    const parts = value.split(",").map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
    write(field, LISTS.includes(field.dataset.filter) ? parts : parts.join(","));
  }
  const [name, order] = (opened.get("sort") || "").split(/:(?=ascending$|descending$)/);
  const head = [...board.querySelectorAll(".ranking thead th")].find((th) => th.textContent.trim() === name);
  const button = head?.querySelector("button");
  if (button && order) for (let i = 0; i < 2 && head.ariaSort !== order; i++) button.click();
};

// -- sign in and out: gradio's redirect keeps only the first parameter of the address -------------

document.addEventListener("click", (event) => {
  const button = event.target.closest?.("#sign-in");
  if (!button) return;
  event.stopPropagation();
  const way = /^\s*sign in/i.test(button.textContent) ? "login/huggingface" : "logout";
  const back = encodeURIComponent(`/${location.search}`);
  parent.postMessage({ type: "SET_SCROLLING", enabled: true }, "*"); // as gradio does, for the Hub's frame
  location.assign(`/${way}?_target_url=${back}`);
}, true);

// -- plots: drawn when they become visible; the library is loaded for the first one --------------

const { draw, narrow } = makePlotter(SWAP);
const dark = () => document.body.classList.contains("dark");
let library;
const plotly = () => library ??= new Promise((resolve, reject) => {
  const script = document.createElement("script");
  const root = (window.gradio_config?.root || "").replace(/\/$/, "");
  script.src = `${root}/gradio_api/file=${PLOTLY}`;
  script.onload = resolve;
  script.onerror = () => { library = undefined; reject(new Error("the plot library did not load")); };
  document.head.append(script);
});
const drawOne = (plot) => plotly().then(() => {
  draw(plot, JSON.parse(plot.dataset.figure), dark());
  plot.dataset.drawn = dark() ? "dark" : "light";
}).catch((error) => { plot.textContent = `This plot could not be drawn: ${error.message}.`; });
const sight = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting && !target.dataset.drawn) { target.dataset.drawn = "yes"; drawOne(target); }
  }
}, { rootMargin: "200px" });
const redraw = () => document.querySelectorAll(".sfda .plot[data-drawn]").forEach(drawOne);
narrow.addEventListener("change", redraw);
new MutationObserver(redraw).observe(document.body, { attributeFilter: ["class"] });

// -- the server replaces parts of the page; set up each new part once -----------------------------

const settle = () => {
  for (const board of boards()) {
    if (board.dataset.ready) continue;
    board.dataset.ready = "yes";
    if (board !== boards()[0]) { filter(board); continue; }
    if (opened) {
      restore(board);
      opened = undefined;
      setTimeout(remember, 500); // the tab opens later
      filter(board);
    } else {
      filter(board);
      remember();
    }
  }
  document.querySelectorAll(".sfda .plot:not([data-seen])").forEach((plot) => {
    plot.dataset.seen = "yes";
    sight.observe(plot);
  });
};
new MutationObserver(settle).observe(document.body, { childList: true, subtree: true });
settle();

document.addEventListener("sorted", ({ target }) => {
  const board = target.closest(".sfda.board");
  if (board) filter(board);
});

document.addEventListener("scroll", ({ target }) => {
  const board = target.closest?.(".sfda.board");
  const { shown, found } = board?.dataset || {};
  if (!board || +shown >= +found || !target.matches(".scroll:has(> .ranking)")) return;
  if (target.scrollHeight - target.scrollTop - target.clientHeight < 2 * target.clientHeight) {
    filter(board, 2 * shown);
  }
}, { capture: true, passive: true });

document.addEventListener("input", ({ target }) => {
  const board = target.closest?.(".sfda.board");
  if (board && target.closest("[data-filter]")) { filter(board); remember(); }
});

document.addEventListener("click", async ({ target }) => {
  const inside = target.closest?.("details.menu");
  document.querySelectorAll(".sfda details.menu[open]").forEach((menu) => { if (menu !== inside) menu.open = false; });
  const board = target.closest?.(".sfda.board");
  if (board && target.closest(".ranking thead button")) remember();
  setTimeout(() => { if (tab() !== told) remember(); }, 100);
  const button = target.closest?.(".sfda [data-act]");
  if (!button) return;
  if (button.dataset.act === "clear") {
    fields(board).forEach((field) => write(field, field.matches("details") ? [] : ""));
    filter(board);
    remember();
    board.querySelector("input[type=search]").focus();
  }
  if (button.dataset.act === "link") {
    remember();
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(location.href);
      button.textContent = "Link copied";
    } catch {
      button.textContent = "Copy it from the address bar";
    }
    setTimeout(() => { button.textContent = words; }, 2000);
  }
});

document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && event.target.closest?.("details.menu[open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); }
});
