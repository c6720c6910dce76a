// The game: thirty evaluations of a real table, with three searches and chance as rivals.
import { chart, el, percent, table } from "./draw.js";

const BUDGET = 30;
const CELL_OPERATIONS = ["none", "skip connect", "conv 1×1", "conv 3×3", "avg pool 3×3"];
const CELL_COLOURS = ["#ffffff", "#cc79a7", "#a6dbf7", "#0072b2", "#e69f00"];
const EDGES = [
  [0, 1],
  [0, 2],
  [1, 2],
  [0, 3],
  [1, 3],
  [2, 3],
];
const NODES = ["in", "1", "2", "out"];
const PLACES = [
  [40, 90],
  [150, 30],
  [150, 150],
  [260, 90],
];

export class Game {
  constructor({ arrays, facts }) {
    Object.assign(this, { table: arrays.accuracy, rivals: facts.rivals });
    this.best = this.table.reduce((a, b) => Math.max(a, b));
    this.picture = el("div", { class: "picture" });
    this.selects = EDGES.map((edge, i) =>
      el(
        "select",
        { onchange: () => this.draw() },
        CELL_OPERATIONS.map((name, k) => el("option", { value: k }, name)),
      ),
    );
    this.told = el("p", { role: "status", class: "status" });
    this.plot = el("div");
    this.log = el("div");
    this.go = el(
      "button",
      { type: "button", class: "main", onclick: () => this.evaluate() },
      "Evaluate",
    );
    const button = (words, run) => el("button", { type: "button", onclick: run }, words);
    this.root = el(
      "div",
      { class: "game" },
      el(
        "section",
        { class: "card" },
        el("h3", {}, "Your cell"),
        this.picture,
        el(
          "div",
          { class: "layers" },
          this.selects.map((select, i) =>
            el("label", {}, EDGES[i].map((v) => NODES[v]).join(" → "), select),
          ),
        ),
        el(
          "p",
          { class: "row" },
          this.go,
          button("Random cell", () => this.random()),
          button("Back to the best", () => this.back()),
          button("New game", () => this.begin()),
        ),
      ),
      el(
        "section",
        { class: "card" },
        el("h3", {}, "Thirty evaluations"),
        this.told,
        this.plot,
        this.log,
      ),
    );
    this.begin();
  }

  begin() {
    this.tries = [];
    this.random();
    this.say(
      "Choose six operations and evaluate. The table has 15,625 cells of NAS-Bench-201, each trained on CIFAR-10.",
    );
  }

  kinds() {
    return this.selects.map((select) => Number(select.value));
  }
  set(kinds) {
    kinds.forEach((kind, i) => {
      this.selects[i].value = kind;
    });
    this.draw();
  }
  random() {
    this.set(this.selects.map(() => Math.floor(Math.random() * 5)));
  }
  back() {
    if (this.tries.length) this.set(this.tries.reduce((a, b) => (b.level > a.level ? b : a)).kinds);
  }

  draw() {
    const kinds = this.kinds(),
      parts = EDGES.map(([u, v], i) => {
        const [x, y] = PLACES[u],
          [a, b] = PLACES[v];
        return el("path", {
          d: `M${x} ${y}L${a} ${b}`,
          class: kinds[i] ? "cell-edge" : "cell-edge none",
          style: `stroke:${kinds[i] ? CELL_COLOURS[kinds[i]] : ""}`,
        });
      });
    PLACES.forEach(([x, y], v) =>
      parts.push(
        el("circle", { class: "node", cx: x, cy: y, r: 15, fill: "var(--paper)" }),
        el(
          "text",
          { x, y: y + 4, "text-anchor": "middle", fill: "var(--ink)", "font-size": 12 },
          NODES[v],
        ),
      ),
    );
    this.picture.replaceChildren(
      el(
        "svg",
        {
          viewBox: "0 0 300 180",
          class: "cell",
          role: "img",
          "aria-label": EDGES.map(
            ([u, v], i) => `${NODES[u]} to ${NODES[v]}: ${CELL_OPERATIONS[kinds[i]]}`,
          ).join("; "),
        },
        parts,
      ),
    );
    this.selects.forEach((select, i) => {
      select.style.borderLeftColor = CELL_COLOURS[kinds[i]];
    });
  }

  evaluate() {
    if (this.tries.length >= BUDGET) return;
    const kinds = this.kinds(),
      place = kinds.reduce((sum, kind) => 5 * sum + kind, 0);
    const known = this.tries.find((one) => one.place === place);
    if (known) {
      this.say(`You have evaluated this cell: ${percent(known.level / 1e4, 2)}. Change an edge.`);
      return;
    }
    const level = this.table[place],
      before = Math.max(0, ...this.tries.map((one) => one.level));
    this.tries.push({ kinds, place, level });
    const count = this.tries.length,
      better = level > before;
    this.say(
      `${percent(level / 1e4, 2)}${better ? ", your best so far" : `; your best is ${percent(before / 1e4, 2)}`}. ` +
        (count < BUDGET ? `${BUDGET - count} evaluations left.` : this.end()),
    );
  }

  end() {
    const mine = Math.max(...this.tries.map((one) => one.level));
    const beaten = Object.entries(this.rivals)
      .filter(([, medians]) => mine > medians[BUDGET - 1])
      .map(([name]) => name);
    const above = this.table.filter((level) => level > mine).length;
    return (
      `The end. The optimum is ${percent(this.best / 1e4, 2)}; ${above} of 15,625 cells are better than your best. ` +
      (beaten.length
        ? `You are ahead of the median of ${beaten.join(", ")}.`
        : "The median of each rival is ahead of you or level.")
    );
  }

  say(words) {
    this.told.textContent = words;
    const count = this.tries.length,
      over = count >= BUDGET,
      shown = Math.max(count, 1);
    const best = this.tries.map(
      (_, i) => Math.max(...this.tries.slice(0, i + 1).map((one) => one.level)) / 1e4,
    );
    const curves = Object.entries(this.rivals).map(([name, medians], k) => ({
      name,
      kind: `rival-${k}`,
      values: medians.slice(0, shown).map((level) => level / 1e4),
    }));
    this.plot.replaceChildren(
      chart({
        curves: count ? [...curves, { name: "you", kind: "you", values: best }] : [],
        first: 1,
        last: BUDGET,
        low: 0.85,
        high: 0.9437,
        unit: "evaluations",
        label: `Best accuracy after ${count} evaluations: ${count ? `you ${percent(best.at(-1), 2)}, ` : ""}${curves.map(({ name, values }) => `${name} ${percent(values.at(-1), 2)}`).join(", ")}`,
        level: over ? { value: this.best / 1e4, name: "optimum" } : null,
      }),
    );
    this.go.disabled = over;
    this.log.replaceChildren(
      count
        ? table(
            ["#", ...EDGES.map((edge) => edge.map((v) => NODES[v]).join("→")), "accuracy"],
            this.tries
              .map((one, i) => [
                i + 1,
                ...one.kinds.map((kind) => CELL_OPERATIONS[kind]),
                percent(one.level / 1e4, 2),
              ])
              .reverse(),
            "Your evaluations",
          )
        : "",
    );
  }
}
