// Figures have the light colours; in dark mode this replaces them. `swap` maps light colours to dark
// ones.
const makePlotter = (swap) => {
  const narrow = matchMedia("(max-width: 640px)");
  const inDark = (value) => {
    if (typeof value === "string") return swap[value] || value;
    if (Array.isArray(value)) return value.map(inDark);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inDark(item)]));
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
    if (layout.xaxis.tickvals && layout.xaxis.ticktext) {
      const everySecond = (_, index) => index % 2 === 1;
      layout.xaxis.tickvals = layout.xaxis.tickvals.filter(everySecond);
      layout.xaxis.ticktext = layout.xaxis.ticktext.filter(everySecond);
    }
    data.filter((trace) => trace.meta === "labels").forEach((trace) => { trace.mode = "markers"; });
    layout.font.size = 12;
    return figure;
  };
  const draw = (element, figure, dark) => {
    const { data, layout } = fit(dark ? inDark(figure) : structuredClone(figure));
    Plotly.react(element, data, layout, { displayModeBar: false, responsive: true });
  };
  return { draw, narrow };
};
