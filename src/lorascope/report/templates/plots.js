// Plots: each is data (report/plots/on_page.py) and a few things to choose, drawn by plotly when a reader comes to it.
// What is chosen holds for all plots that know it, and stands in the address.
let library;
const plotly = () => library ??= unpacked(document.getElementById("plotly")).then((text) => {
  const script = document.createElement("script");
  script.textContent = text;
  document.head.append(script);
});
const chosen = new Map(new URLSearchParams(location.hash.split(";").slice(1).join("&")));
const listeners = new Set();
const choose = (name, value) => {
  if (value === null) chosen.delete(name); else chosen.set(name, value);
  const place = location.hash.split(";")[0] || "#finding";
  const state = [...chosen].map(([key, text]) => `${encodeURIComponent(key)}=${encodeURIComponent(text)}`);
  history.replaceState(null, "", [place, ...state].join(";"));
  listeners.forEach((listener) => listener(name));
};
const colours = () => {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  const found = Object.fromEntries(["blue", "orange", "green", "vermillion", "purple", "sky", "yellow", "ink", "muted"].map((name) => [name, read(`--c-${name}`)]));
  return { ...found, text: read("--text"), grid: read("--grid"), page: read("--page"), mark: read("--link"), low: read("--map-low"), mid: read("--map-mid"), high: read("--map-high") };
};
const faded = (hex, alpha) => `rgba(${[1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)).join(",")},${alpha})`;
const told = (value) => value === null || value === undefined ? "–" : typeof value === "number" ? String(Number(value.toPrecision(3))).replace("-", "−") : value;
const isLayer = (axis) => axis.kind === "layer" || axis.kind === "depth";

// Stretches of points that have an interval, each filled by itself: nothing is filled across a gap.
const stretches = (x, low, high) => {
  const found = [];
  let open = null;
  x.forEach((at, index) => {
    if (low[index] === null || high[index] === null) { open = null; return; }
    if (!open) found.push(open = []);
    open.push([at, low[index], high[index]]);
  });
  return found;
};
const filled = (points, colour, axes, name, legendgroup) => ({
  x: [...points.map(([at]) => at), ...points.map(([at]) => at).reverse()], y: [...points.map(([, , top]) => top), ...points.map(([, low]) => low).reverse()],
  mode: "lines", line: { width: points.length > 1 ? 0 : 5, color: faded(colour, 0.3) }, fill: "toself", fillcolor: faded(colour, 0.14), hoverinfo: "skip", showlegend: false, name, legendgroup, ...axes,
});

const tracesOf = (panel, axes, paint, hidden) => {
  const traces = [];
  for (const band of panel.bands ?? []) {
    if (hidden.has(band.name)) continue;
    for (const points of stretches(band.x, band.low, band.high)) traces.push(filled(points, paint[band.colour], axes, band.name));
  }
  const shown = (panel.curves ?? []).filter((curve) => !hidden.has(curve.name));
  const names = panel.x.names ?? panel.y.names;
  // beside each other where several stand at one name
  const place = (values, kind, number) => kind === "names" ? values.map((name) => names.indexOf(name) + (number - (shown.length - 1) / 2) * Math.min(0.16, 0.7 / shown.length)) : values;
  shown.forEach((curve, number) => {
    const [colourName, dash, symbol, width] = curve.look;
    const colour = paint[colourName];
    const x = place(curve.x, panel.x.kind, number), y = place(curve.y, panel.y.kind, number);
    for (const [unit, xs, ys] of curve.behind ?? []) traces.push({ x: xs, y: ys, mode: "lines", line: { color: colour, width: 0.9 }, opacity: 0.45, hovertemplate: `${curve.name}, ${unit}<br>%{y:.4g}<extra></extra>`, ...axes });
    if (curve.low && !curve.marks && !curve.quiet) for (const points of stretches(x, curve.low, curve.high)) traces.push(filled(points, colour, axes, curve.name));
    const interval = curve.low ? curve.x.map((_, at) => curve.low[at] === null ? "" : ` [${told(curve.low[at])}, ${told(curve.high[at])}]`) : curve.x.map(() => "");
    const value = curve.sideways ? "%{x:.4g}" : "%{y:.4g}";
    const where = isLayer(panel.x) ? `${panel.x.kind} %{x}: ` : "";
    const trace = {
      x, y, name: curve.name, mode: curve.marks ? "markers" : "lines+markers", connectgaps: false, line: { color: colour, dash, width },
      marker: { symbol, size: curve.marks ? 9 : 6, color: curve.empty ? curve.empty.map((empty) => empty ? paint.page : colour) : colour, line: { color: colour, width: curve.empty ? 1.6 : 0 } },
      text: curve.words ?? interval, customdata: curve.clips,
      hovertemplate: curve.words ? "%{text}<extra></extra>" : `<b>${curve.name}</b><br>${where}${value}%{text}<extra></extra>`, ...axes,
    };
    if (curve.low && curve.marks) {
      const middle = curve.sideways ? curve.x : curve.y;
      const bars = { type: "data", symmetric: false, thickness: 1.2, width: 0, color: colour, array: middle.map((at, index) => (curve.high[index] ?? at) - at), arrayminus: middle.map((at, index) => at - (curve.low[index] ?? at)) };
      trace[curve.sideways ? "error_x" : "error_y"] = bars;
    }
    traces.push(trace);
  });
  if (panel.map) {
    const { x, y, z, signed, label, ends, text, marks } = panel.map;
    const most = Math.max(...z.flat().filter((value) => value !== null).map(Math.abs)) || 1;
    traces.push({
      type: "heatmap", x, y, z, zmin: ends ? ends[0] : signed ? -most : 0, zmax: ends ? ends[1] : most, xgap: 1, ygap: 1, text: text ?? undefined, texttemplate: text ? "%{text}" : undefined, textfont: { size: 11 },
      colorscale: signed ? [[0, paint.low], [0.5, paint.mid], [1, paint.high]] : [[0, paint.mid], [1, paint.low]], showscale: false, hovertemplate: `%{y}, %{x}<br>${label} %{z:.4g}<extra></extra>`, ...axes,
    });
    if (marks.length) traces.push({ x: marks.map(([at]) => at), y: marks.map(([, at]) => at), mode: "markers", marker: { color: paint.text, size: 5 }, hoverinfo: "skip", showlegend: false, ...axes });
  }
  return traces;
};

const axisOf = (axis, paint, panel, other) => {
  const found = { title: { text: axis.label, standoff: 6 }, gridcolor: paint.grid, linecolor: paint.muted, zeroline: false, automargin: true, ticks: "" };
  if (isLayer(axis)) {
    const last = Math.max(0, ...(panel.curves ?? []).flatMap((curve) => curve.x));
    Object.assign(found, { tick0: 0, dtick: Math.max(1, Math.ceil(last / 12)), range: [-0.4, last + 0.4] });
  } else if (axis.kind === "share" || axis.kind === "log") {
    found.type = "log";
    if (axis.kind === "share") {
      const shares = [...new Set((panel.curves ?? []).flatMap((curve) => curve.x))].sort((a, b) => a - b);
      Object.assign(found, { tickvals: shares, ticktext: shares.map((share) => told(100 * share)) });
    } else Object.assign(found, { dtick: other ? undefined : Math.log10(2), tickformat: "~r" });
  } else if (axis.kind === "names") {
    Object.assign(found, { tickvals: axis.names.map((_, at) => at), ticktext: axis.names, range: [-0.6, axis.names.length - 0.4], showgrid: false });
  } else if (axis.kind === "none") {
    Object.assign(found, { showgrid: false, showticklabels: false, showline: true, mirror: true });
  } else if (panel.map) {
    Object.assign(found, { showgrid: false, dtick: typeof panel.map.x[0] === "number" ? Math.max(1, Math.ceil(Math.max(...panel.map.x, 0) / 8)) : undefined });
  }
  if (axis.ends && found.type !== "log") found.range = axis.ends;
  return found;
};

// Rows of panels as plotly's domains, in pixels of the place there is: beside each other where it is wide.
const layoutOf = (rows, width, paint, hidden) => {
  const wide = width >= 640;
  const grid = wide ? rows : rows.flat().map((panel) => [panel]);
  const margin = { l: 64, r: 12, t: 12, b: 52 };
  const tall = (row) => row.some((panel) => panel.map) ? 300 : row.some((panel) => panel.x.kind === "none") ? 400 : row.some((panel) => panel.y.names) ? 90 + 26 * Math.max(...row.map((panel) => panel.y.names?.length ?? 0)) : 230;
  const heights = grid.map(tall), gap = 84, title = 22;
  const inner = heights.reduce((sum, height) => sum + height + title, 0) + gap * (grid.length - 1);
  const total = inner + margin.t + margin.b;
  const across = width - margin.l - margin.r;
  const layout = { width, height: total, margin, font: { color: paint.text, size: 12 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
    hoverlabel: { bgcolor: paint.page, bordercolor: paint.muted, font: { color: paint.text }, align: "left" }, modebar: { bgcolor: "rgba(0,0,0,0)", color: paint.muted, activecolor: paint.text }, annotations: [], shapes: [], dragmode: "zoom" };
  const traces = [], panels = [];
  let top = 0, number = 0;
  grid.forEach((row, line) => {
    top += title;
    const names = row.some((panel) => panel.y.names) ? 0 : 1;
    const space = 74, each = (across - space * (row.length - 1)) / row.length;
    row.forEach((panel, column) => {
      number += 1;
      const key = number === 1 ? "" : number;
      const left = column * (each + space);
      const domain = { x: [left / across, Math.min(1, (left + each) / across)], y: [Math.max(0, 1 - (top + heights[line]) / inner), 1 - top / inner] };
      const shared = !names && wide && column > 0;
      layout[`xaxis${key}`] = { ...axisOf(panel.x, paint, panel, false), domain: domain.x, anchor: `y${key}` };
      layout[`yaxis${key}`] = { ...axisOf(panel.y, paint, panel, true), domain: domain.y, anchor: `x${key}`, ...(shared ? { showticklabels: false } : {}) };
      if (panel.x.kind === "none") layout[`yaxis${key}`].scaleanchor = `x${key}`;
      const axes = { xaxis: `x${key}`, yaxis: `y${key}` };
      traces.push(...tracesOf(panel, axes, paint, hidden));
      if (panel.title) layout.annotations.push({ text: panel.title, xref: "paper", yref: "paper", x: domain.x[0], y: domain.y[1], xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 13 } });
      for (const [turn, [at, name, upright]] of (panel.levels ?? []).entries()) {
        const log = (upright ? layout[`xaxis${key}`] : layout[`yaxis${key}`]).type === "log";
        const lies = log ? Math.log10(at) : at;
        const [across1, along] = upright ? [{ x0: at, x1: at, y0: 0, y1: 1 }, { xref: `x${key}`, yref: `y${key} domain` }] : [{ y0: at, y1: at, x0: 0, x1: 1 }, { xref: `x${key} domain`, yref: `y${key}` }];
        layout.shapes.push({ type: "line", ...across1, ...along, line: { color: paint.muted, width: 1, dash: name ? "dot" : "solid" }, layer: "below" });
        if (name) layout.annotations.push(upright ? { text: name, x: lies, y: 1, ...along, xanchor: "left", yanchor: "top", showarrow: false, font: { size: 11, color: paint.muted } } : { text: name, x: turn % 2, y: lies, ...along, xanchor: turn % 2 ? "right" : "left", yanchor: "bottom", showarrow: false, font: { size: 11, color: paint.muted } });
      }
      const layer = Number(chosen.get("layer"));
      if (chosen.has("layer") && isLayer(panel.x)) {
        const at = layer + (panel.x.kind === "depth" ? 1 : 0);
        layout.shapes.push({ type: "rect", x0: at - 0.5, x1: at + 0.5, y0: 0, y1: 1, xref: `x${key}`, yref: `y${key} domain`, fillcolor: faded(paint.mark, 0.12), line: { width: 0 }, layer: "below" });
      }
      panels.push({ panel, axes });
    });
    top += heights[line] + gap;
  });
  return { traces, layout, panels };
};

// The names of a view's curves, each a button that hides it; in grey prints and screen readers too.
const legendOf = (rows, hidden, paint, turn) => {
  const entries = new Map();
  for (const panel of rows.flat()) {
    for (const curve of panel.curves ?? []) entries.set(curve.name, [...curve.look.slice(0, 3), curve.marks]);
    for (const band of panel.bands ?? []) entries.set(band.name, [band.colour, "band"]);
  }
  if (entries.size < 2) return [];
  const strokes = { solid: "", dash: "6 3", dot: "2 3", dashdot: "6 3 2 3", longdashdot: "9 3 2 3" };
  const shapes = { circle: "M11 1a4 4 0 1 0 .01 0z", square: "M7 1h8v8H7z", "triangle-up": "M11 1l5 8H6z", diamond: "M11 0l5 5-5 5-5-5z", "triangle-down": "M6 1h10l-5 8z", cross: "M9.5 0h3v3.5H16v3h-3.5V10h-3V6.5H6v-3h3.5z", x: "M7 0l4 3.5L15 0l1.5 1.5L13 5l3.5 3.5L15 10l-4-3.5L7 10 5.5 8.5 9 5 5.5 1.5z" };
  return [...entries].map(([name, [colour, dash, symbol, marks]]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", String(!hidden.has(name)));
    button.innerHTML = dash === "band" ? `<svg width="22" height="10" aria-hidden="true"><rect width="22" height="10" fill="${paint[colour]}" opacity=".25"/></svg>`
      : marks ? `<svg width="22" height="10" aria-hidden="true"><path d="${shapes[symbol]}" fill="${paint[colour]}"/></svg>`
      : `<svg width="22" height="10" aria-hidden="true"><line x2="22" y1="5" y2="5" stroke="${paint[colour]}" stroke-width="2.5" stroke-dasharray="${strokes[dash]}"/></svg>`;
    const text = document.createElement("span");
    text.innerHTML = name; // escaped where it was made
    button.append(text);
    button.addEventListener("click", () => turn(name));
    return button;
  });
};

// What all curves are at the chosen layer, as a table: what hovering would tell one by one.
const valuesOf = (rows, words) => {
  if (!chosen.has("layer")) return "";
  const layer = Number(chosen.get("layer"));
  const panels = rows.flat().filter((panel) => isLayer(panel.x) && panel.curves);
  const names = [...new Set(panels.flatMap((panel) => panel.curves.map((curve) => curve.name)))];
  if (!panels.length || !names.length) return "";
  const cell = (panel, name) => {
    const curve = panel.curves.find((one) => one.name === name);
    const at = curve ? curve.x.indexOf(layer + (panel.x.kind === "depth" ? 1 : 0)) : -1;
    if (at < 0 || curve.y[at] === null) return "–";
    return told(curve.y[at]) + (curve.low && curve.low[at] !== null ? ` [${told(curve.low[at])}, ${told(curve.high[at])}]` : "");
  };
  const heads = panels.map((panel) => [panel.title, panel.y.label].filter(Boolean).join(": "));
  return `<div class="scroll" tabindex="0" role="region" aria-label="${words} at layer ${layer}"><table><caption>At layer ${layer}</caption><thead><tr><td></td>${heads.map((head) => `<th scope="col" class="n">${head}</th>`).join("")}</tr></thead><tbody>`
    + names.map((name) => `<tr><th scope="row">${name}</th>${panels.map((panel) => `<td class="n">${cell(panel, name)}</td>`).join("")}</tr>`).join("") + "</tbody></table></div>";
};

const setUp = async (element) => {
  const data = JSON.parse(await unpacked(element.querySelector("script")));
  const find = (selector) => element.querySelector(selector);
  const [controls, about, legend, place, values] = [".facets", ".about", ".legend", ".plot", ".values"].map(find);
  const hidden = new Set();
  const current = () => data.facets.map(({ name, options }) => options.find(([key]) => key === chosen.get(name))?.[0] ?? options[0][0]);
  const fields = data.facets.filter(({ options }) => options.length > 1).map((facet) => {
    const label = document.createElement("label");
    const select = document.createElement("select");
    label.append(`${facet.words} `, select);
    facet.options.forEach(([key, words]) => select.add(new Option(words, key)));
    select.addEventListener("change", () => choose(facet.name, select.value));
    controls.append(label);
    return { facet, select };
  });
  const layers = Object.values(data.views)[0]?.flat().filter((panel) => isLayer(panel.x)) ?? [];
  if (layers.length && !data.facets.some(({ name }) => name === "layer")) {
    const last = Math.max(...layers.flatMap((panel) => (panel.curves ?? []).flatMap((curve) => curve.x))) - (layers.every((panel) => panel.x.kind === "depth") ? 1 : 0);
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.add(new Option("none", ""));
    for (let layer = 0; layer <= last; layer += 1) select.add(new Option(String(layer), String(layer)));
    select.addEventListener("change", () => choose("layer", select.value === "" ? null : select.value));
    label.append("Mark layer ", select);
    controls.append(label);
    fields.push({ facet: { name: "layer", mark: true }, select });
  }
  const draw = async () => {
    try {
      await plotly();
    } catch (error) {
      element.classList.add("failed");
      place.textContent = `This browser cannot unpack the plotting library (${error}).`;
      return;
    }
    const options = current();
    fields.forEach(({ facet, select }) => { select.value = facet.mark ? chosen.get("layer") ?? "" : options[data.facets.indexOf(facet)]; });
    const rows = data.views[options.join("|")];
    about.textContent = data.facets.map(({ options: all }, at) => all.find(([key]) => key === options[at])?.[2]).filter(Boolean).join(" ");
    if (!rows) {
      Plotly.purge(place);
      place.textContent = "Nothing was measured for this choice.";
      legend.replaceChildren(); values.innerHTML = "";
      return;
    }
    if (!place.classList.contains("js-plotly-plot")) place.textContent = "";
    const paint = colours();
    const { traces, layout, panels } = layoutOf(rows, place.clientWidth, paint, hidden);
    await Plotly.react(place, traces, layout, { displaylogo: false, showSendToCloud: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"], displayModeBar: "hover" });
    legend.replaceChildren(...legendOf(rows, hidden, paint, (name) => { if (hidden.has(name)) hidden.delete(name); else hidden.add(name); draw(); }));
    values.innerHTML = valuesOf(rows, element.dataset.words);
    place.removeAllListeners("plotly_click");
    place.on("plotly_click", ({ points: [point] }) => {
      if (point.customdata !== undefined) { document.dispatchEvent(new CustomEvent("clip", { detail: point.customdata })); return; }
      const there = panels.find(({ axes }) => axes.xaxis === (point.data.xaxis ?? "x"));
      if (there && isLayer(there.panel.x)) choose("layer", String(Math.max(0, Math.round(point.x) - (there.panel.x.kind === "depth" ? 1 : 0))));
    });
  };
  listeners.add((name) => { if (name === "layer" || data.facets.some((facet) => facet.name === name)) draw(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let width = place.clientWidth;
  new ResizeObserver(() => { if (place.clientWidth && place.clientWidth !== width) { width = place.clientWidth; draw(); } }).observe(place);
  await draw();
};
document.querySelectorAll(".panel").forEach((element) => new IntersectionObserver((entries, observer) => {
  if (entries.some((entry) => entry.isIntersecting)) { observer.disconnect(); setUp(element); }
}, { rootMargin: "300px" }).observe(element));
