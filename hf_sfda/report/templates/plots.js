// The figures come in the light palette; draw them in the reader's, and again when it changes.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");
  const swap = (value) => {
    if (typeof value === "string") return dark.matches && SWAP[value] ? SWAP[value] : value;
    if (Array.isArray(value)) return value.map(swap);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, swap(item)]));
    }
    return value;
  };
  const shorten = (name, width) =>
    name.length <= width ? name : name.slice(0, 4) + "\u2026" + name.slice(name.length - width + 5);
  const fit = (figure) => {
    if (!narrow.matches) return figure;
    const { layout, data } = figure;
    if (layout.yaxis.ticktext) {
      layout.yaxis.ticktext = layout.yaxis.ticktext.map((name) => shorten(name, 15));
    }
    if (layout.xaxis.tickvals) {
      const everySecond = (_, index) => index % 2 === 1;
      layout.xaxis.tickvals = layout.xaxis.tickvals.filter(everySecond);
      layout.xaxis.ticktext = layout.xaxis.ticktext.filter(everySecond);
    }
    data.filter((trace) => trace.meta === "labels").forEach((trace) => { trace.mode = "markers"; });
    layout.font.size = 12;
    return figure;
  };
  const draw = () => {
    for (const [name, figure] of Object.entries(FIGURES)) {
      const { data, layout } = fit(swap(figure));
      Plotly.react("plot-" + name, data, layout, { displayModeBar: false, responsive: true });
    }
  };
  draw();
  dark.addEventListener("change", draw);
  narrow.addEventListener("change", draw);
})();
