// The walk: a straight line between two architectures' vectors, decoded; and a grid around one.
import { edits, isValid, same, toKey } from "./graphs.js";
import { chart, colourOf, drawing, el, percent, said } from "./draw.js";

const STEPS = 11,
  SIDE = 7;

export class Walk {
  /** told: {open(graph), path(twin, vectors)}. */
  constructor(world, told) {
    Object.assign(this, { world, told, spread: 2 });
    this.strip = el("ol", { class: "strip", tabindex: 0, "aria-label": "Steps of the walk" });
    this.curve = el("div");
    this.verdict = el("p", { class: "note", role: "status" });
    this.grid = el("div", { class: "grid7", role: "group", "aria-label": "Decoded around A" });
    this.spreadTold = el("output", {}, "2.0");
    const slider = el("input", {
      type: "range",
      min: 0.5,
      max: 5,
      step: 0.5,
      value: 2,
      oninput: ({ target }) => {
        this.spread = Number(target.value);
        this.spreadTold.textContent = this.spread.toFixed(1);
        this.around();
      },
    });
    this.root = el(
      "div",
      { class: "walk" },
      el("section", { class: "card" }, this.verdict, this.strip, this.curve),
      el(
        "section",
        { class: "card" },
        el("h3", {}, "Around A"),
        el(
          "p",
          { class: "note" },
          "The plane of the two principal components through A, decoded at 7 × 7 points. Coloured bars are operations from input to output, the number is the predicted accuracy.",
        ),
        el("label", {}, "Reach, in standard deviations ", slider, this.spreadTold),
        this.grid,
      ),
    );
  }

  async show(twin, a, b) {
    const ready = this.world.twins.filter((one) => one.started).length;
    const key = `${twin.name} ${toKey(a)} ${toKey(b)} ${ready}`;
    if (!twin.started || key === this.key) return;
    this.key = key;
    Object.assign(this, { twin, a });
    for (const one of this.world.twins.filter((each) => each.started)) {
      const [from, to] = [
        await one.engine.ask("look", { graph: a }),
        await one.engine.ask("look", { graph: b }),
      ];
      const vectors = Array.from({ length: STEPS }, (_, i) =>
        from.mu.map((x, k) => x + ((to.mu[k] - x) * i) / (STEPS - 1)),
      );
      if (key !== this.key) return;
      this.told.path(one, vectors);
      if (one !== twin) continue;
      const steps = await twin.engine.ask("decode", { vectors });
      if (key !== this.key) return;
      this.steps(steps, a, b);
      this.around(from.mu);
    }
  }

  steps(found, a, b) {
    const valid = found.map(({ graph }) => isValid(graph, this.world.space));
    const moves = found.slice(1).map(({ graph }, i) => edits(found[i].graph, graph));
    this.strip.replaceChildren(
      ...found.map(({ graph, mean }, i) => {
        const row = this.world.row(graph),
          before = i ? found[i - 1].graph : null;
        return el(
          "li",
          {},
          el(
            "button",
            { type: "button", onclick: () => this.told.open(graph), disabled: !valid[i] },
            drawing(graph, { small: true, before }),
          ),
          el(
            "p",
            {},
            el("strong", {}, percent(mean)),
            row < 0 ? "" : ` (measured ${percent(this.world.accuracy[row])})`,
          ),
          el(
            "p",
            { class: "note" },
            !valid[i]
              ? "not valid"
              : !i
                ? "start"
                : moves[i - 1]
                  ? `${moves[i - 1]} edit${moves[i - 1] > 1 ? "s" : ""}`
                  : "unchanged",
          ),
        );
      }),
    );
    const ends = [
      [found[0], a],
      [found.at(-1), b],
    ].filter(([one, end]) => same(one.graph, end)).length;
    this.verdict.textContent =
      `${valid.filter(Boolean).length} of ${STEPS} steps are valid; ${ends} of 2 ends come back; ` +
      `${moves.reduce((x, y) => x + y, 0)} edits, where ${edits(a, b)} are needed; the largest step has ${Math.max(...moves)}.`;
    this.curve.replaceChildren(
      chart({
        curves: [{ name: "predicted", kind: "you", values: found.map(({ mean }) => mean) }],
        last: STEPS - 1,
        label: `Predicted accuracy from ${percent(found[0].mean)} to ${percent(found.at(-1).mean)}`,
        unit: "step",
        points: found.flatMap(({ graph }, at) =>
          this.world.row(graph) < 0
            ? []
            : [{ at, value: this.world.accuracy[this.world.row(graph)], kind: "measured" }],
        ),
      }),
    );
  }

  async around(centre = this.centre) {
    if (!centre) return;
    this.centre = centre;
    const { axes, deviations } = this.world.axes[this.twin.name],
      key = `${this.key} ${this.spread}`,
      half = (SIDE - 1) / 2;
    this.asked = key;
    const vectors = Array.from({ length: SIDE * SIDE }, (_, i) =>
      centre.map(
        (x, k) =>
          x +
          (this.spread / half) *
            (((i % SIDE) - half) * deviations[0] * axes[0][k] +
              (Math.floor(i / SIDE) - half) * deviations[1] * axes[1][k]),
      ),
    );
    const found = await this.twin.engine.ask("decode", { vectors });
    if (this.asked !== key) return;
    this.grid.replaceChildren(
      ...found.map(({ graph, mean }, i) =>
        el(
          "button",
          {
            type: "button",
            class: i === half * (SIDE + 1) ? "centre" : "",
            disabled: !isValid(graph, this.world.space),
            title: said(graph),
            "aria-label": `${said(graph)}; predicted ${percent(mean)}`,
            onclick: () => this.told.open(graph),
          },
          el(
            "span",
            { class: "bars", "aria-hidden": "true" },
            graph.ops
              .slice(1, -1)
              .map((type) => el("i", { style: `background:${colourOf(type)}` })),
          ),
          el("span", {}, (100 * mean).toFixed(1)),
        ),
      ),
    );
  }
}
