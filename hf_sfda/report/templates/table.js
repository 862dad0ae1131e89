// Sort a ranking by the clicked column; rows without a value always come last. One listener for
// the whole page, because the Space replaces its tables.
document.addEventListener("click", (event) => {
  const button = event.target.closest(".ranking thead button");
  if (!button) return;
  const head = button.closest("th");
  const heads = [...head.parentElement.cells];
  const opposite = { ascending: "descending", descending: "ascending" };
  const order = opposite[head.ariaSort] || button.dataset.first || "ascending";
  const sign = order === "ascending" ? 1 : -1;
  const collator = new Intl.Collator();
  const body = head.closest("table").tBodies[0];
  const keyed = [...body.rows].map((row) => [row.cells[head.cellIndex].dataset.value, row]);
  const compare = ([x], [y]) => {
    if (x === "" || y === "") return (x === "") - (y === "");
    return sign * (isNaN(x) || isNaN(y) ? collator.compare(x, y) : x - y);
  };
  body.append(...keyed.sort(compare).map(([, row]) => row));
  heads.forEach((other) => { other.ariaSort = null; });
  head.ariaSort = order;
  head.dispatchEvent(new Event("sorted", { bubbles: true }));
});
