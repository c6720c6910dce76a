// The bench: one architecture, edited; both models say what they make of it at each change.
import { copy, edits, freeEdges, hasEdge, isValid, same, toKey } from "./graphs.js";
import { drawing, el, percent, within } from "./draw.js";

export class Bench {
  /** told: {arch(graph)}; supernet(graph) → promise of an accuracy, or null where there is none. */
  constructor(world, told, supernet) {
    Object.assign(this, { world, told, supernet });
    this.picture = el("div", { class: "picture" });
    this.layers = el("div", { class: "layers" });
    this.skips = el("div", { class: "skips" });
    this.answers = el("div", { class: "answers" });
    this.measured = el("div", { class: "card measured" });
    const button = (words, run) => el("button", { type: "button", onclick: run }, words);
    this.root = el(
      "div",
      { class: "bench" },
      el("section", { class: "card" }, el("h3", {}, "Architecture"), this.picture),
      el(
        "section",
        { class: "card edit" },
        el("h3", {}, "Edit"),
        this.layers,
        el("h4", {}, FACTS.space.chain ? "Skip connections" : "Edges"),
        this.skips,
        el(
          "p",
          { class: "row" },
          button("Random", () => this.random()),
          button("Best of the data", () => this.best()),
        ),
      ),
      el("section", {}, this.answers, this.supernet ? this.measured : null),
    );
  }

  random() {
    // of the data's sizes
    const graph = copy(this.world.graphs[Math.floor(Math.random() * this.world.n)]);
    for (let v = 1; v < graph.n - 1; v++)
      graph.ops[v] = 2 + Math.floor(Math.random() * (this.world.space.types.length - 2));
    if (this.world.space.chain) {
      for (const [u, v] of freeEdges(graph, this.world.space))
        if (Math.random() < 0.5) graph.adj[v] ^= 1 << u;
    }
    this.told.arch(graph);
  }

  best() {
    const { accuracy, graphs } = this.world;
    this.told.arch(graphs[accuracy.indexOf(accuracy.reduce((a, b) => Math.max(a, b)))]);
  }

  /** Another architecture: draw it, ask what it is. */
  show(graph) {
    const before = this.graph,
      key = toKey(graph);
    for (const twin of this.world.twins)
      if (twin.started && twin.looked !== key) this.look(twin, graph, key);
    if (this.asked === key) return;
    this.graph = graph;
    this.asked = key;
    this.picture.replaceChildren(drawing(graph));
    this.controls(graph, before);
    this.measure(graph);
  }

  controls(graph, before) {
    const { types } = this.world.space,
      free = freeEdges(graph, this.world.space);
    if (!before || before.n !== graph.n) {
      // anew; else the one in use keeps the focus
      this.selects = graph.ops.slice(1, -1).map((_, i) =>
        el(
          "select",
          {
            onchange: ({ target }) => {
              const next = copy(this.graph);
              next.ops[i + 1] = Number(target.value);
              this.told.arch(next);
            },
          },
          types.slice(2).map((name, k) => el("option", { value: k + 2 }, name)),
        ),
      );
      this.layers.replaceChildren(
        ...this.selects.map((select, i) => el("label", {}, `Layer ${i + 1}`, select)),
      );
      this.toggles = free.map(([u, v]) =>
        el(
          "button",
          {
            type: "button",
            class: "toggle",
            title: `Connection from ${nodeName(u)} to ${nodeName(v, graph)}`,
            onclick: () => this.told.arch(this.toggled([u, v])),
          },
          `${nodeName(u, null, true)}→${v}`,
        ),
      );
      const rows = [...new Set(free.map(([, v]) => v))];
      this.skips.replaceChildren(
        ...rows.map((v) =>
          el(
            "div",
            { class: "row" },
            free.flatMap(([, w], i) => (w === v ? [this.toggles[i]] : [])),
          ),
        ),
      );
    }
    this.selects.forEach((select, i) => {
      select.value = graph.ops[i + 1];
      select.style.borderLeftColor = FACTS.palette[graph.ops[i + 1]];
    });
    this.toggles.forEach((toggle, i) => {
      toggle.setAttribute("aria-pressed", hasEdge(graph, ...free[i]));
      toggle.disabled = !isValid(this.toggled(free[i]), this.world.space);
    });
  }

  toggled([u, v]) {
    const next = copy(this.graph);
    next.adj[v] ^= 1 << u;
    return next;
  }

  async look(twin, graph, key) {
    twin.looked = key;
    const found = await twin.engine.ask("look", { graph });
    if (key !== this.asked) return;
    twin.look = { ...found, key };
    this.told.vector(twin, found.mu);
    this.answers.replaceChildren(
      ...this.world.twins.filter((one) => one.look).map((one) => this.answer(one)),
    );
  }

  answer({ title, note, name, look }) {
    const back = same(look.decoded, this.graph),
      apart = edits(look.decoded, this.graph);
    return el(
      "div",
      { class: "card answer", "data-model": name },
      el("h3", {}, title, el("span", { class: "note" }, note)),
      el(
        "p",
        { class: "big" },
        percent(look.mean),
        el("span", { class: "note" }, ` ± ${within(look.deviation)}${FACTS.shares ? " points" : ""} (95 %)`),
      ),
      interval(look, this.world.accuracy),
      el(
        "p",
        { class: back ? "yes" : "no" },
        back
          ? "✓ Decoded again, it comes back."
          : `✗ Decoded again, it is another one: ${apart} edit${apart === 1 ? "" : "s"} away.`,
      ),
      back ? null : drawing(look.decoded, { small: true, before: this.graph }),
    );
  }

  async measure(graph) {
    const row = this.world.row(graph),
      key = this.asked;
    const known =
      row >= 0
        ? el("p", {}, "In the data: ", el("strong", {}, percent(this.world.accuracy[row])))
        : null;
    const say = (...words) =>
      this.measured.replaceChildren(el("h3", {}, "Supernet"), ...words, known ?? "");
    if (!this.supernet) return;
    say(el("p", { class: "note" }, "reading 3,000 digits …"));
    await new Promise((done) => setTimeout(done, 350)); // not at each of several quick changes
    if (key !== this.asked) return;
    const accuracy = await this.supernet(graph);
    if (key !== this.asked) return;
    say(
      el("p", { class: "big" }, accuracy === null ? "–" : percent(accuracy)),
      el(
        "p",
        { class: "note" },
        "of 3,000 validation digits are read correctly, computed here; images are kept in 256 grey levels, which moves this by up to 0.2 points",
      ),
    );
  }
}

function nodeName(v, graph = null, short = false) {
  if (v === 0) return short ? "in" : "the input";
  if (graph && v === graph.n - 1) return "the output";
  return short ? String(v) : `layer ${v}`;
}

function interval({ mean, deviation }, accuracy) {
  // on a line from the worst to the best of the data
  const low = accuracy.reduce((a, b) => Math.min(a, b)),
    high = accuracy.reduce((a, b) => Math.max(a, b));
  const x = (value) => 4 + 292 * Math.min(Math.max((value - low) / (high - low), 0), 1);
  return el(
    "svg",
    { class: "interval", viewBox: "0 0 300 30", "aria-hidden": "true" },
    el("line", { class: "grid", x1: 4, x2: 296, y1: 9, y2: 9 }),
    el("line", {
      class: "range",
      x1: x(mean - 1.96 * deviation),
      x2: x(mean + 1.96 * deviation),
      y1: 9,
      y2: 9,
    }),
    el("circle", { class: "dot you", cx: x(mean), cy: 9, r: 5 }),
    el("text", { class: "tick", x: 4, y: 27 }, `${percent(low, 0)} worst`),
    el("text", { class: "tick", x: 296, y: 27, "text-anchor": "end" }, `best ${percent(high, 0)}`),
  );
}
