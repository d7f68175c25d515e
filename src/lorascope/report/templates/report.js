"use strict";
// Tables: a click on a head sorts by its column, a second click turns the order round.
document.querySelectorAll("table.sortable").forEach((table) => {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent;
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const numeric = Number(x) - Number(y);
      return sign * (Number.isNaN(numeric) ? x.localeCompare(y) : numeric);
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
  }));
});
// Contents: mark the part being read.
const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const reader = new IntersectionObserver((entries) => entries.forEach((entry) => {
  if (!entry.isIntersecting) return;
  links.forEach((link) => link.removeAttribute("aria-current"));
  links.get(entry.target.id)?.setAttribute("aria-current", "true");
}), { rootMargin: "-10% 0px -80% 0px" });
document.querySelectorAll("main section[id]").forEach((section) => reader.observe(section));
// Panels: the plotting library travels compressed and is unpacked when the first panel comes into view.
let library;
const unpack = () => library ??= (async () => {
  const packed = document.getElementById("plotly").textContent.trim();
  const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
  const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  const script = document.createElement("script");
  script.textContent = text;
  document.head.append(script);
})();
const theme = () => {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["text", "muted", "grid"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
};
const show = async (panel) => {
  try {
    await unpack();
  } catch (error) {
    panel.plot.textContent = `This browser cannot unpack the plotting library (${error}); the figure above shows the same numbers.`;
    return;
  }
  const view = panel.views[panel.select.value];
  const { text, muted, grid } = theme();
  const axis = { gridcolor: grid, zerolinecolor: muted, linecolor: muted, automargin: true };
  // Layers are whole: no tick between two of them.
  const last = Math.max(...view.traces.flatMap((trace) => trace.x));
  const ticks = view.bare ? { title: { text: view.x } } : { title: { text: view.x }, tick0: 0, dtick: Math.max(1, Math.ceil(last / 16)), zeroline: false };
  const bare = view.bare ? { showgrid: false, zeroline: false, showticklabels: false, showline: false } : {};
  const layout = {
    font: { color: text, size: 12 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 60, r: 10, t: 10, b: 45 },
    xaxis: { ...axis, ...bare, ...ticks }, yaxis: { ...axis, ...bare, title: { text: view.y }, ...(view.bare ? { scaleanchor: "x" } : {}) },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: muted, activecolor: text },
    legend: { orientation: "h", y: -0.22 }, hovermode: view.bare ? "closest" : "x unified", hoverlabel: { bgcolor: "rgba(30,34,41,0.92)", font: { color: "#fff" } },
  };
  panel.plot.replaceChildren();
  panel.plot.classList.toggle("square", Boolean(view.bare));
  Plotly.newPlot(panel.plot, structuredClone(view.traces), layout, { responsive: true, displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] });
};
document.querySelectorAll(".panel").forEach((element) => {
  const { views } = JSON.parse(element.querySelector("script").textContent);
  const panel = { views, select: element.querySelector("select"), plot: element.querySelector(".plot") };
  views.forEach((view, index) => panel.select.add(new Option(view.label, index)));
  panel.select.addEventListener("change", () => show(panel));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => panel.plot.childElementCount && show(panel));
  new IntersectionObserver((entries, observer) => {
    if (entries.some((entry) => entry.isIntersecting)) { observer.disconnect(); show(panel); }
  }, { rootMargin: "200px" }).observe(panel.plot);
});
