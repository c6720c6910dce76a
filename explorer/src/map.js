// A map: points on a canvas that is painted once for a view, and marks on a second one above it.
import { el } from "./draw.js";

const VIRIDIS = [
  "#440154",
  "#472d7b",
  "#3b528b",
  "#2c728e",
  "#21918c",
  "#28ae80",
  "#5ec962",
  "#addc30",
  "#fde725",
];
const SHADES = 32;

/** 0 … 1 → one of SHADES colours from dark blue to yellow. */
export function shade(share) {
  const at =
    (Math.round(Math.min(Math.max(share, 0), 1) * (SHADES - 1)) / (SHADES - 1)) *
    (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(at), VIRIDIS.length - 2),
    part = at - low;
  const of = (colour, i) => parseInt(colour.slice(1 + 2 * i, 3 + 2 * i), 16);
  const mixed = [0, 1, 2].map((i) =>
    Math.round(of(VIRIDIS[low], i) * (1 - part) + of(VIRIDIS[low + 1], i) * part),
  );
  return `rgb(${mixed})`;
}

const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export class PointMap {
  /** told: {hover(row), pick(row)}; row -1: none. */
  constructor(title, note, told) {
    this.told = told;
    this.base = el("canvas", { "aria-hidden": "true" });
    this.marks = el("canvas", {
      tabindex: 0,
      role: "application",
      "aria-roledescription": "map",
      "aria-label": `Map of ${title}`,
      "aria-describedby": "map-keys",
    });
    this.wait = el("p", { class: "wait", hidden: true });
    const button = (words, label, run) =>
      el("button", { type: "button", "aria-label": `${label}, ${title}`, onclick: run }, words);
    this.root = el(
      "figure",
      { class: "map" },
      el("figcaption", {}, el("strong", {}, title), el("span", { class: "note" }, note)),
      el(
        "div",
        { class: "stage" },
        this.base,
        this.marks,
        this.wait,
        el(
          "div",
          { class: "zooms" },
          button("+", "Zoom in", () => this.scale(1.6)),
          button("−", "Zoom out", () => this.scale(1 / 1.6)),
          button("⟲", "Whole map", () => this.whole()),
        ),
      ),
    );
    this.view = d3.zoomIdentity;
    this.zoom = d3
      .zoom()
      .scaleExtent([1, 60])
      .on("zoom", ({ transform }) => {
        this.view = transform;
        this.later();
      });
    this.listen();
  }

  listen() {
    const canvas = this.marks;
    d3.select(canvas).call(this.zoom).on("dblclick.zoom", null);
    canvas.addEventListener("pointermove", (event) => {
      const row = this.under(event.offsetX, event.offsetY);
      if (row !== this.hovered) this.told.hover((this.hovered = row));
    });
    canvas.addEventListener("pointerleave", () => {
      this.hovered = -1;
      this.told.hover(-1);
    });
    canvas.addEventListener("click", (event) => {
      const row = this.under(event.offsetX, event.offsetY);
      if (row >= 0) this.told.pick(row);
    });
    canvas.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
        event.key
      ];
      if (way) this.told.pick(this.beside(this.chosen, way));
      else if (event.key === "+") this.scale(1.6);
      else if (event.key === "-") this.scale(1 / 1.6);
      else if (event.key === "Home") this.whole();
      else return;
      event.preventDefault();
    });
    new ResizeObserver(() => this.resize()).observe(this.base.parentElement);
  }

  scale(by) {
    d3.select(this.marks).call(this.zoom.scaleBy, by);
  }
  whole() {
    d3.select(this.marks).call(this.zoom.transform, d3.zoomIdentity);
  }

  resize() {
    const { clientWidth: wide, clientHeight: high } = this.base.parentElement,
      dense = devicePixelRatio;
    if (!wide || (this.wide === wide && this.high === high && this.dense === dense)) return;
    Object.assign(this, { wide, high, dense });
    for (const canvas of [this.base, this.marks]) {
      canvas.width = wide * dense;
      canvas.height = high * dense;
    }
    this.zoom
      .extent([
        [0, 0],
        [wide, high],
      ])
      .translateExtent([
        [0, 0],
        [wide, high],
      ]);
    this.tree = null;
    this.paint();
  }

  /** Coordinates in 0 … 1, x and y of each row; moved there if `moving`. */
  place(x, y, moving = true) {
    const from = this.x && moving && !still() ? [this.x, this.y] : null,
      begun = performance.now();
    cancelAnimationFrame(this.moving);
    this.tree = null;
    if (!from) {
      Object.assign(this, { x, y });
      this.paint();
      return;
    }
    const move = (now) => {
      const t = Math.min((now - begun) / 600, 1),
        s = t * t * (3 - 2 * t);
      this.x = t === 1 ? x : x.map((to, i) => from[0][i] + s * (to - from[0][i]));
      this.y = t === 1 ? y : y.map((to, i) => from[1][i] + s * (to - from[1][i]));
      this.tree = null;
      this.paint();
      if (t < 1) this.moving = requestAnimationFrame(move);
    };
    this.moving = requestAnimationFrame(move);
  }

  /** groups: [[colour, rows], …]; the rows that are not shown are faint. */
  colour(groups, faint, shown) {
    Object.assign(this, { groups, faint, shown, tree: null });
    this.paint();
  }

  /** Where the map's 0 … 1 is on the canvas: a square in the middle of it. */
  at(x, y) {
    const size = Math.min(this.wide, this.high) - 24;
    return [
      this.view.applyX((this.wide - size) / 2 + x * size),
      this.view.applyY((this.high - size) / 2 + y * size),
    ];
  }

  back(px, py) {
    const size = Math.min(this.wide, this.high) - 24;
    return [
      (this.view.invertX(px) - (this.wide - size) / 2) / size,
      (this.view.invertY(py) - (this.high - size) / 2) / size,
      size * this.view.k,
    ];
  }

  later() {
    if (this.due) return;
    this.due = requestAnimationFrame(() => {
      this.due = 0;
      this.paint();
    });
  }

  paint() {
    if (!this.x || !this.groups || !this.wide) return;
    const paper = this.base.getContext("2d"),
      { dense } = this;
    paper.setTransform(dense, 0, 0, dense, 0, 0);
    paper.clearRect(0, 0, this.wide, this.high);
    const few = this.x.length < 2000 ? 2 : 1, // few points may be large
      size = Math.min(few * (1.5 + 0.5 * this.view.k), 7) * (this.wide < 360 ? 0.8 : 1),
      round = size > 3;
    const draw = (rows) => {
      for (const row of rows) {
        const [x, y] = this.at(this.x[row], this.y[row]);
        if (x < -9 || y < -9 || x > this.wide + 9 || y > this.high + 9) continue;
        if (round) {
          paper.moveTo(x + size / 2, y);
          paper.arc(x, y, size / 2, 0, 7);
        } else paper.rect(x - size / 2, y - size / 2, size, size);
      }
    };
    const layers = [[token("--faint"), this.faint], ...this.groups];
    for (const [colour, rows] of layers) {
      if (!rows.length) continue;
      paper.beginPath();
      paper.fillStyle = colour;
      draw(rows);
      paper.fill();
    }
    this.mark();
  }

  /** chosen and others: rows; extra: points that are no rows, [x, y]; path: points joined by a line. */
  light({ chosen = -1, others = [], extra = null, path = [] }) {
    Object.assign(this, { chosen, others, extra, path });
    this.mark();
  }

  mark() {
    if (!this.x || !this.wide) return;
    const paper = this.marks.getContext("2d"),
      { dense } = this,
      ink = token("--ink"),
      accent = token("--accent");
    paper.setTransform(dense, 0, 0, dense, 0, 0);
    paper.clearRect(0, 0, this.wide, this.high);
    const ring = (x, y, radius, colour, width) => {
      paper.beginPath();
      paper.arc(x, y, radius, 0, 7);
      paper.lineWidth = width + 2;
      paper.strokeStyle = token("--paper");
      paper.stroke();
      paper.lineWidth = width;
      paper.strokeStyle = colour;
      paper.stroke();
    };
    const spot = this.extra
      ? this.at(...this.extra)
      : this.chosen >= 0
        ? this.at(this.x[this.chosen], this.y[this.chosen])
        : null;
    if (this.path?.length > 1) {
      paper.beginPath();
      this.path.forEach(([x, y], i) => {
        const [a, b] = this.at(x, y);
        if (i) paper.lineTo(a, b);
        else paper.moveTo(a, b);
      });
      paper.lineWidth = 2;
      paper.strokeStyle = accent;
      paper.stroke();
      this.path.forEach(([x, y]) => ring(...this.at(x, y), 3, accent, 2));
    }
    for (const row of this.others ?? []) {
      const [x, y] = this.at(this.x[row], this.y[row]);
      if (spot) {
        paper.beginPath();
        paper.moveTo(...spot);
        paper.lineTo(x, y);
        paper.lineWidth = 1;
        paper.strokeStyle = ink;
        paper.globalAlpha = 0.35;
        paper.stroke();
        paper.globalAlpha = 1;
      }
      ring(x, y, 4, ink, 1.5);
    }
    if (spot) ring(...spot, 7, accent, 3);
  }

  index() {
    this.tree ??= d3.quadtree(
      this.shown,
      (row) => this.x[row],
      (row) => this.y[row],
    );
    return this.tree;
  }

  under(px, py) {
    if (!this.x || !this.shown) return -1;
    const [x, y, size] = this.back(px, py);
    return this.index().find(x, y, 12 / size) ?? -1;
  }

  /** The nearest shown row in a direction, within a cone; from none the middle of the map. */
  beside(row, [dx, dy]) {
    if (row < 0) return this.index().find(0.5, 0.5) ?? -1;
    let best = row,
      least = Infinity;
    for (const other of this.shown) {
      const x = this.x[other] - this.x[row],
        y = this.y[other] - this.y[row],
        along = x * dx + y * dy;
      const off = Math.abs(x * dy - y * dx),
        apart = along + 2 * off;
      if (other !== row && along > 0 && off <= along && apart < least) {
        least = apart;
        best = other;
      }
    }
    return best;
  }
}
