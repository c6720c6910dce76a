// Elements, architectures and curves.
import { edges } from "./graphs.js";

const SVG = "http://www.w3.org/2000/svg";

/** el("p", {class: "note"}, "words", child); names that SVG knows make SVG. */
export function el(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "rect", "text", "circle", "line", "title", "tspan"].includes(
    tag,
  );
  const made = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined)
      made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** An accuracy in percent, or a score of one's own as it was given. */
export const percent = (x, digits = 1) =>
  FACTS.shares
    ? `${(100 * x).toFixed(digits)} %`
    : String(Number((FACTS.sign * x).toPrecision(digits + 3)));
export const within = (deviation) =>
  FACTS.shares ? (196 * deviation).toFixed(1) : (1.96 * deviation).toPrecision(2);
export const WORD = FACTS.shares ? "accuracy" : "score";
export const colourOf = (type) => FACTS.palette[type % FACTS.palette.length];
export const inkOn = (colour) => (FACTS.dark.includes(colour) ? "#fff" : "#111");
const name = (type) => FACTS.space.types[type] ?? "?";

/** In words: operations in order, and the skips. */
export function said(graph) {
  const skips = edges(graph).filter(([u, v]) => v > u + 1 || !FACTS.space.chain);
  return (
    `${graph.ops.map(name).join(" → ")}; ${skips.length} ` +
    (FACTS.space.chain ? `skip connection${skips.length === 1 ? "" : "s"}` : "edges")
  );
}

/** Nodes from top to bottom, skips at the sides. `before`: what differs from it is marked. */
export function drawing(graph, { before = null, small = false } = {}) {
  const step = small ? 26 : 42,
    high = small ? 18 : 26,
    wide = small ? 84 : 118,
    size = small ? 10 : 12;
  const side = small ? 34 : 52,
    width = wide + 2 * side,
    x = width / 2,
    at = (v) => high / 2 + 4 + step * v;
  const parts = edges(graph).map(([u, v]) => {
    const isNew = before && ((before.adj[v] >> u) & 1) === 0;
    const attributes = { class: isNew ? "edge new" : "edge" };
    if (v === u + 1)
      return el("path", { ...attributes, d: `M${x} ${at(u) + high / 2}V${at(v) - high / 2}` });
    const right = (u + v) % 2 ? 1 : -1,
      edge = x + (right * wide) / 2;
    const bend =
      edge + right * (side / 6 + ((side - side / 4) * (v - u)) / Math.max(graph.n - 2, 2));
    return el("path", {
      ...attributes,
      d: `M${edge} ${at(u)}C${bend} ${at(u) + 8} ${bend} ${at(v) - 8} ${edge} ${at(v)}`,
    });
  });
  graph.ops.forEach((type, v) => {
    const fill = colourOf(type),
      plain = type < 2,
      isNew = before && before.ops[v] !== type;
    parts.push(
      el("rect", {
        x: x - wide / 2,
        y: at(v) - high / 2,
        width: wide,
        height: high,
        rx: small ? 4 : 6,
        fill: plain ? "var(--paper)" : fill,
        class: isNew ? "node new" : "node",
      }),
      el(
        "text",
        {
          x,
          y: at(v) + size * 0.35,
          "font-size": size,
          "text-anchor": "middle",
          fill: plain ? "var(--ink)" : inkOn(fill),
        },
        name(type),
      ),
    );
  });
  const height = at(graph.n - 1) + high / 2 + 4;
  return el(
    "svg",
    {
      class: "architecture",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: "img",
      "aria-label": said(graph),
    },
    parts,
  );
}

/** Curves over whole numbers from `first` on: [{name, values, class}]. */
export function chart({
  curves,
  first = 0,
  last,
  label,
  unit,
  points = [],
  level = null,
  low = null,
  high = null,
}) {
  const wide = innerWidth < 640 ? 340 : 640,
    tall = 260,
    left = 52,
    right = innerWidth < 640 ? 86 : 130,
    top = 14,
    foot = 34;
  const all = [
    ...curves.flatMap((c) => c.values),
    ...points.map((p) => p.value),
    ...(level ? [level.value] : []),
  ].filter(Number.isFinite);
  const min = low ?? Math.min(...all),
    max = high ?? Math.max(...all),
    room = (max - min || 0.01) * 0.06;
  const x = (i) => left + ((wide - left - right) * (i - first)) / Math.max(last - first, 1);
  const y = (value) =>
    top + ((tall - top - foot) * (max + room - Math.max(value, min))) / (max - min + 2 * room || 1);
  const parts = [];
  for (let k = 0; k <= 4; k++) {
    const value = min + ((max - min) * k) / 4;
    parts.push(
      el("line", { class: "grid", x1: left, x2: wide - right, y1: y(value), y2: y(value) }),
      el(
        "text",
        { class: "tick", x: left - 8, y: y(value) + 4, "text-anchor": "end" },
        percent(value),
      ),
    );
  }
  const ticks = Math.min(last - first, 5);
  for (let k = 0; k <= ticks; k++) {
    const i = Math.round(first + ((last - first) * k) / ticks);
    parts.push(
      el("text", { class: "tick", x: x(i), y: tall - foot + 18, "text-anchor": "middle" }, i),
    );
  }
  parts.push(
    el(
      "text",
      { class: "tick", x: (left + wide - right) / 2, y: tall - 2, "text-anchor": "middle" },
      unit,
    ),
  );
  if (level) {
    parts.push(
      el("line", {
        class: "level",
        x1: left,
        x2: wide - right,
        y1: y(level.value),
        y2: y(level.value),
      }),
      el("text", { class: "tick", x: wide - right + 8, y: y(level.value) + 4 }, level.name),
    );
  }
  const labels = [];
  curves.forEach(({ name, values, kind }) => {
    const known = values
      .map((value, i) => [first + i, value])
      .filter(([, value]) => Number.isFinite(value));
    if (!known.length) return;
    parts.push(
      el("path", {
        class: `curve ${kind}`,
        d: `M${known.map(([i, v]) => `${x(i)} ${y(v)}`).join("L")}`,
      }),
    );
    labels.push({ name, kind, at: y(known.at(-1)[1]), x: x(known.at(-1)[0]) });
  });
  labels
    .sort((a, b) => a.at - b.at)
    .forEach((label, i) => {
      if (i) label.at = Math.max(label.at, labels[i - 1].at + 15); // no two on one line
      parts.push(
        el("text", { class: `label ${label.kind}`, x: label.x + 8, y: label.at + 4 }, label.name),
      );
    });
  points.forEach(({ at, value, kind }) =>
    parts.push(el("circle", { class: `dot ${kind}`, cx: x(at), cy: y(value), r: 4 })),
  );
  return el(
    "svg",
    { class: "chart", viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": label },
    parts,
  );
}

export function table(heads, rows, caption) {
  return el(
    "div",
    { class: "scrolls", tabindex: 0, role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", {}, caption),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          heads.map((head) => el("th", { scope: "col" }, head)),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map((row) =>
          el(
            "tr",
            {},
            row.map((cell) => el("td", {}, cell)),
          ),
        ),
      ),
    ),
  );
}
