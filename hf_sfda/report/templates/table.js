// Sort the ranked rows by the clicked column; rows without a value always come last.
(() => {
  const body = document.getElementById("ranked");
  const heads = [...body.closest("table").querySelectorAll("thead th")];
  const opposite = { ascending: "descending", descending: "ascending" };
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const order = opposite[head.ariaSort] || button.dataset.first || "ascending";
      const sign = order === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return sign * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
      };
      body.append(...[...body.rows].sort(compare));
      heads.forEach((other) => { other.ariaSort = null; });
      head.ariaSort = order;
    });
  });
})();
