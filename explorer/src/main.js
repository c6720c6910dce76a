// The page: tabs, maps, what is chosen, and how the parts speak with each other.
import { unpack } from "./bytes.js";
import { fromKey, toKey } from "./graphs.js";
import { WORD, colourOf, drawing, el, percent, said, table, within } from "./draw.js";
import { Engine } from "./engine.js";
import { World } from "./world.js";
import { State } from "./state.js";
import { PointMap, shade } from "./map.js";
import { Bench } from "./bench.js";
import { Walk } from "./walk.js";
import { Game } from "./game.js";

const find = (id) => document.getElementById(id);
const COLOURS = [
  ["accuracy", WORD],
  ["predicted", "prediction"],
  ["often", "most frequent operation"],
  ["first", "first operation"],
  ["edges", "number of edges"],
  ["depth", "number of layers"],
];
const LINKED = ["projection", "epoch", "colour"];
const VIEWS = ["map", "bench", "walk", "game"];
const last = FACTS.twins.at(-1)[0];
const UNIT = FACTS.shares ? 100 : FACTS.sign; // of the filter
const END = FACTS.epochs.at(-1);
const state = new State(
  {
    view: "map",
    arch: "",
    to: "",
    model: last,
    projection: "tsne",
    epoch: String(END),
    colour: "accuracy",
    operation: "",
    least: "",
    most: "",
    above: "",
  },
  {
    view: VIEWS,
    model: FACTS.twins.map(([name]) => name),
    projection: ["tsne", "pca"],
    epoch: FACTS.epochs.map(String),
    colour: COLOURS.map(([kind]) => kind),
  },
);

let world = null,
  maps = [],
  bench = null,
  walk = null,
  game = null,
  supernet = null;
let hovered = -1,
  known = { x: 0 },
  order = null,
  limits = null;

// --- data come in, in the order in which they are needed

window.explorer = { take, world: () => world, maps: () => maps, supernet: () => supernet };

async function take(name, facts, text) {
  const pack = { ...facts, text };
  if (name === "map") await begin(pack);
  else if (name === "supernet") {
    supernet = startSupernet(pack);
    if (bench) refresh();
  } else if (name === "cells") startGame({ arrays: await unpack(pack), facts });
  else {
    await ready;
    world.start(name, pack, heard);
  }
}

let isReady;
const ready = new Promise((done) => {
  isReady = done;
});

async function begin(pack) {
  world = new World({ arrays: await unpack(pack), facts: pack });
  order = Array.from({ length: world.n }, (_, row) => row).sort(
    (a, b) => world.accuracy[a] - world.accuracy[b],
  );
  limits = [
    world.accuracy[order[Math.floor(0.1 * world.n)]], // below, some data sets have failures only
    world.accuracy[order[Math.floor(0.98 * (world.n - 1))]],
  ];
  maps = world.twins.map(
    (twin) =>
      new PointMap(twin.title, twin.note, {
        hover: (row) => {
          hovered = row;
          if (row >= 0) state.values.model = twin.name;
          choose();
        },
        pick: (row) => {
          if (row >= 0) state.set({ arch: toKey(world.graphs[row]), model: twin.name });
        },
      }),
  );
  find("maps").replaceChildren(...maps.map((map) => map.root));
  bench = new Bench(
    world,
    { arch: (graph) => state.set({ arch: toKey(graph) }), vector: () => mark() },
    FACTS.supernet
      ? async (graph) =>
          supernet ? (await (await supernet).ask("score", { graphs: [graph] }))[0] : null
      : null,
  );
  find("bench").replaceChildren(bench.root);
  walk = new Walk(world, {
    open: (graph) => state.set({ arch: toKey(graph), view: "bench" }),
    path: (twin, vectors) => {
      twin.path = vectors;
      mark();
    },
  });
  find("walk").append(walk.root);
  controls();
  state.listen(change);
  change(new Set(Object.keys(state.values)), false);
  performance.mark("drawn");
  isReady();
}

async function startSupernet(pack) {
  const engine = new Engine();
  await engine.ask("supernet", { pack });
  return engine;
}

async function startGame(pack) {
  game = new Game(pack);
  find("game").replaceChildren(game.root);
}

function heard(twin) {
  // a model has started, come further, or encoded all
  const map = maps[world.twins.indexOf(twin)],
    done = Boolean(twin.latents);
  if (state.get("projection") === "pca" && trained()) {
    map.wait.hidden = done;
    map.wait.textContent = `The model encodes ${world.n.toLocaleString("en")} architectures: ${Math.round(100 * twin.share)} %`;
  }
  if (!done && twin.greeted) return;
  twin.greeted = true;
  if (done && !twin.flat) place(map, twin, false);
  if (done && state.get("colour") === "predicted") paint();
  refresh();
  document.documentElement.dataset.encoded = String(
    world.twins.filter((one) => one.latents).length,
  );
}

// --- controls

function controls() {
  const { types } = FACTS.space,
    options = (pairs) => pairs.map(([value, words]) => el("option", { value }, words));
  const mostEdges = Math.max(...world.edges);
  const vary = { edges: world.edges, depth: world.graphs.map((graph) => graph.n) };
  const some = COLOURS.filter(([kind]) => !vary[kind] || new Set(vary[kind]).size > 1);
  find("colour").replaceChildren(...options(some));
  find("operation").replaceChildren(
    ...options([["", "any"], ...types.slice(2).map((name, k) => [String(k + 2), `with ${name}`])]),
  );
  find("least").closest(".pair").hidden = new Set(world.edges).size === 1;
  find("least").placeholder = Math.min(...world.edges);
  find("most").placeholder = mostEdges;
  find("above").placeholder = FACTS.shares
    ? (100 * world.accuracy[order[0]]).toFixed(0)
    : percent(world.accuracy[order[0]], 0);
  find("above-word").textContent = WORD[0].toUpperCase() + WORD.slice(1);
  find("above-unit").hidden = !FACTS.shares;
  for (const name of ["colour", "operation", "least", "most", "above"]) {
    find(name).addEventListener("input", ({ target }) => state.set({ [name]: target.value }));
  }
  for (const input of document.querySelectorAll("input[type=radio]")) {
    input.addEventListener("change", () => state.set({ [input.name]: input.value }));
  }
  find("epoch").max = FACTS.epochs.length - 1;
  find("epoch").addEventListener("input", ({ target }) => {
    stop();
    state.set({ epoch: String(FACTS.epochs[target.value]) });
  });
  find("play").addEventListener("click", () => (playing ? stop() : play()));
  find("clear").addEventListener("click", () =>
    state.set({ operation: "", least: "", most: "", above: "" }),
  );
  find("swap").addEventListener("click", () =>
    state.set({ arch: state.get("to"), to: state.get("arch") }),
  );
  find("other").addEventListener("click", () =>
    state.set({ to: toKey(world.graphs[Math.floor(Math.random() * world.n)]) }),
  );
  find("list").addEventListener("toggle", listed);
  find("walk-model").replaceChildren(
    ...world.twins.map(({ name, title }) =>
      el(
        "label",
        {},
        el("input", {
          type: "radio",
          name: "model",
          value: name,
          onchange: () => state.set({ model: name }),
        }),
        title,
      ),
    ),
  );
}

let playing = 0;

/** From the first epoch to the last, one after the other. */
function play() {
  const { epochs } = FACTS,
    next = () => {
      const at = epochs.indexOf(Number(state.get("epoch")));
      if (at === epochs.length - 1) return stop();
      state.set({ epoch: String(epochs[at + 1]) });
    };
  state.set({ epoch: String(epochs[0]) });
  playing = setInterval(next, 1500);
  find("play").textContent = "Stop";
}

function stop() {
  clearInterval(playing);
  playing = 0;
  find("play").textContent = "Play training";
}

const trained = () => Number(state.get("epoch")) === END;
/** Between the first epoch and the last a map has some rows only. */
const whole = () => trained() || Number(state.get("epoch")) === FACTS.epochs[0];

function tabs() {
  const buttons = VIEWS.map((view) => find(`tab-${view}`));
  buttons.forEach((button, i) => {
    button.addEventListener("click", () => state.set({ view: VIEWS[i] }));
    button.addEventListener("keydown", ({ key }) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: VIEWS.length - 1 }[key];
      if (to === undefined) return;
      const at = (to + VIEWS.length) % VIEWS.length;
      buttons[at].focus();
      state.set({ view: VIEWS[at] });
    });
  });
}

function themes() {
  let chosen = null;
  try {
    chosen = localStorage.getItem("explorer-theme");
  } catch {
    /* a file may have no storage */
  }
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
    find("theme").textContent = theme === "dark" ? "Light" : "Dark";
    find("theme").setAttribute(
      "aria-label",
      `Switch to the ${theme === "dark" ? "light" : "dark"} theme`,
    );
    for (const map of maps) map.paint();
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  set(chosen ?? (system.matches ? "dark" : "light"));
  system.addEventListener("change", () => {
    if (!chosen) set(system.matches ? "dark" : "light");
  });
  find("theme").addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("explorer-theme", chosen);
    } catch {
      /* likewise */
    }
    set(chosen);
  });
  find("link").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      say("The address of this view is copied.");
    } catch {
      say(`Address: ${location.href}`);
    }
  });
}

const say = (words) => {
  find("status").textContent = words;
};

// --- what the state says is shown

function change(changed, moving = true) {
  for (const view of VIEWS) {
    const on = state.get("view") === view;
    find(`tab-${view}`).setAttribute("aria-selected", on);
    find(`tab-${view}`).tabIndex = on ? 0 : -1;
    find(`panel-${view}`).hidden = !on;
  }
  document.body.dataset.view = state.get("view");
  for (const name of ["colour", "operation", "least", "most", "above"])
    find(name).value = state.get(name);
  for (const input of document.querySelectorAll("input[type=radio]"))
    input.checked = state.get(input.name) === input.value;
  const at = FACTS.epochs.indexOf(Number(state.get("epoch"))),
    told = `after ${state.get("epoch")} of ${END} epochs`;
  find("epoch").value = at;
  find("epoch-told").textContent = at ? told : "before training";
  find("epoch").setAttribute("aria-valuetext", find("epoch-told").textContent);
  if (changed.has("projection") || changed.has("epoch"))
    world.twins.forEach((twin, i) => place(maps[i], twin, moving));
  if (
    ["colour", "operation", "least", "most", "above", "model", "epoch"].some((name) =>
      changed.has(name),
    )
  )
    paint();
  refresh();
}

function place(map, twin, moving) {
  const flat = world.flat(twin, state.get("epoch"), state.get("projection"));
  map.wait.hidden = Boolean(flat);
  map.wait.textContent = flat ? "" : "The model is encoding all architectures …";
  if (!flat) return;
  twin.flat = flat;
  map.place(flat.x, flat.y, moving);
}

const architecture = () => (state.get("arch") && fromKey(state.get("arch"), FACTS.space)) || null;

/** On the bench and on a walk there is always one: the best of the data. */
const current = () =>
  architecture() ?? (state.get("view") === "map" ? null : world.graphs[order.at(-1)]);

/** All that depends on the chosen architecture. */
function refresh() {
  const graph = current() ?? world.graphs[order.at(-1)],
    view = state.get("view");
  if (state.get("arch") && !architecture())
    say("The address names no architecture of this space; the best of the data is shown.");
  if (view === "bench") bench.show(graph);
  if (view === "walk") {
    const to =
      (state.get("to") && fromKey(state.get("to"), FACTS.space)) ||
      world.graphs[order[Math.floor(world.n / 2)]];
    walk.show(world.twin(state.get("model")), graph, to);
  }
  choose();
}

/** The hovered or the chosen one: in both maps, and beside them. */
function choose() {
  const graph = hovered >= 0 ? world.graphs[hovered] : current(),
    twin = world.twin(state.get("model"));
  const row = hovered >= 0 ? hovered : graph ? world.row(graph) : -1;
  const near = row >= 0 && twin.latents ? world.neighbours(twin, world.vector(twin, row), row) : [];
  known = { row, near };
  mark();
  find("under").textContent =
    hovered >= 0 && state.get("view") !== "map"
      ? `${percent(world.accuracy[hovered])}: ${said(graph)}`
      : "";
  find("details").replaceChildren(
    ...(graph
      ? details(graph, row, twin, near)
      : [
          el(
            "p",
            { class: "note" },
            "Point at an architecture to see it, click to keep it. With the keyboard: Tab to a map, then the arrow keys.",
          ),
        ]),
  );
  find("details").dataset.row = row;
}

function details(graph, row, twin, near) {
  const lines =
    row >= 0 ? [[WORD, percent(world.accuracy[row])]] : [[WORD, "not in the data"]];
  for (const one of world.twins) {
    const found =
      row >= 0 && one.said ? { mean: one.said[2 * row], deviation: one.said[2 * row + 1] } : null;
    if (found)
      lines.push([
        `${one.title} predicts`,
        `${percent(found.mean)} ± ${within(found.deviation)}`,
      ]);
  }
  if (near.length) {
    const mean = near.reduce((sum, other) => sum + world.accuracy[other], 0) / near.length;
    lines.push([`ten nearest in ${twin.title}, mean`, percent(mean)]);
  } else if (!twin.latents)
    lines.push(["neighbours", `ready when all are encoded (${Math.round(100 * twin.share)} %)`]);
  const key = toKey(graph),
    button = (words, changes) =>
      el("button", { type: "button", onclick: () => state.set(changes) }, words);
  return [
    drawing(graph),
    el(
      "dl",
      {},
      lines.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]),
    ),
    hovered >= 0
      ? ""
      : el(
          "p",
          { class: "row" },
          button("Edit", { view: "bench", arch: key }),
          button("Walk from here", { view: "walk", arch: key }),
          button("Walk to here", {
            view: "walk",
            to: key,
            arch: state.get("to") || toKey(world.graphs[order.at(-1)]),
          }),
        ),
  ];
}

function mark() {
  const view = state.get("view"),
    projection = state.get("projection"),
    there = (row) => row >= 0 && (whole() || world.sampled(row));
  world.twins.forEach((twin, i) => {
    if (!twin.flat) return;
    const light = {
      chosen: there(known.row) ? known.row : -1,
      others: view === "walk" ? [] : (known.near ?? []).filter(there),
      path: [],
    };
    if (view === "bench" && hovered < 0 && twin.look && trained()) {
      light.extra = world.spot(twin, twin.look.mu, projection, twin.flat);
      light.others = world.neighbours(twin, twin.look.mu, known.row ?? -1);
    }
    if (view === "walk" && twin.path && trained())
      light.path = twin.path.map((z) => world.spot(twin, z, projection, twin.flat)).filter(Boolean);
    maps[i].light(light);
  });
}

// --- colours and filters

function shown() {
  const number = (name, otherwise) =>
    state.get(name) === "" ? otherwise : Number(state.get(name));
  const [least, most, above] = [
    number("least", 0),
    number("most", 999),
    number("above", -1e9) / UNIT,
  ];
  const type = Number(state.get("operation")),
    { edges, accuracy, graphs } = world,
    all = whole();
  return order.filter(
    (row) =>
      (all || world.sampled(row)) &&
      edges[row] >= least &&
      edges[row] <= most &&
      accuracy[row] >= above &&
      (!type || graphs[row].ops.includes(type)),
  );
}

function often(graph) {
  // the most frequent operation, of equal ones the first
  const count = {};
  for (const type of graph.ops.slice(1, -1)) count[type] = (count[type] ?? 0) + 1;
  return Number(Object.keys(count).reduce((a, b) => (count[b] > count[a] ? b : a)));
}

function paint() {
  const rows = shown(),
    kind = state.get("colour"),
    on = new Uint8Array(world.n),
    groups = new Map();
  for (const row of rows) on[row] = 1;
  world.twins.forEach((twin, i) => {
    const value = valueOf(kind, twin),
      own = i && kind !== "predicted" ? groups : new Map();
    if (own !== groups || !groups.size) {
      for (const row of rows) {
        const colour = value(row);
        if (!own.has(colour)) own.set(colour, []);
        own.get(colour).push(row);
      }
      if (!i) for (const [colour, some] of own) groups.set(colour, some);
    }
    maps[i].colour(
      [...own],
      order.filter((row) => !on[row] && (whole() || world.sampled(row))),
      rows,
    );
  });
  legend(kind);
  find("count").textContent =
    `${rows.length.toLocaleString("en")} of ${world.n.toLocaleString("en")} shown` +
    (whole() || FACTS.every === 1 ? "" : `, every ${ordinal(FACTS.every)}`);
  listed();
}

const ordinal = (k) => ["first", "second", "third", "fourth"][k - 1] ?? `${k}th`;

function valueOf(kind, twin) {
  const [low, high] = limits,
    { graphs, accuracy, edges } = world;
  const [least, most] = [Math.min(...edges), Math.max(...edges)],
    deepest = FACTS.space.layers + 2;
  if (kind === "often") {
    world.often ??= graphs.map(often);
    return (row) => colourOf(world.often[row]);
  }
  if (kind === "first") return (row) => colourOf(graphs[row].ops[1]);
  if (kind === "edges") return (row) => shade((edges[row] - least) / Math.max(most - least, 1));
  if (kind === "depth") return (row) => shade(graphs[row].n / deepest);
  if (kind === "predicted")
    return (row) => shade(((twin.said ? twin.said[2 * row] : low) - low) / (high - low || 1));
  return (row) => shade((accuracy[row] - low) / (high - low || 1));
}

function legend(kind) {
  const bar = (low, high) => [
    el("span", {}, low),
    el("span", {
      class: "bar",
      "aria-hidden": "true",
      style: `background:linear-gradient(90deg,${[0, 0.25, 0.5, 0.75, 1].map(shade)})`,
    }),
    el("span", {}, high),
  ];
  if (kind === "often" || kind === "first") {
    find("legend").replaceChildren(
      ...FACTS.space.types
        .slice(2)
        .map((name, k) =>
          el("span", {}, el("i", { style: `background:${colourOf(k + 2)}` }), name),
        ),
    );
  } else if (kind === "edges")
    find("legend").replaceChildren(
      ...bar(`${Math.min(...world.edges)} edges`, Math.max(...world.edges)),
    );
  else if (kind === "depth")
    find("legend").replaceChildren(...bar("few layers", FACTS.space.layers));
  else find("legend").replaceChildren(...bar(`≤ ${percent(limits[0], 0)}`, `≥ ${percent(limits[1], 0)}`));
}

function listed() {
  if (!find("list").open) return;
  const rows = shown().slice(-50).reverse(),
    heads = [
      "pick",
      "architecture",
      "edges",
      WORD,
      ...world.twins.map(({ title }) => `${title} predicts`),
    ];
  find("rows").replaceChildren(
    table(
      heads,
      rows.map((row, i) => [
        el(
          "button",
          {
            type: "button",
            title: "Show it in both maps",
            onclick: () => state.set({ arch: toKey(world.graphs[row]) }),
          },
          i + 1,
        ),
        said(world.graphs[row]),
        world.edges[row],
        percent(world.accuracy[row]),
        ...world.twins.map((twin) => (twin.said ? percent(twin.said[2 * row]) : "…")),
      ]),
      "The best fifty that are shown",
    ),
  );
}

/** Other data sets' pages; beside another page what is chosen above the maps is chosen in both. */
function others() {
  const here = location.pathname.split("/").at(-1).replace(".html", "") || "index";
  const link = (stem, words) =>
    el("a", { href: `${stem}.html`, "aria-current": stem === here ? "page" : null }, words);
  if (window.name.startsWith("beside")) {
    document.documentElement.dataset.beside = "";
    state.listen(() => parent.postMessage(Object.fromEntries(LINKED.map((name) => [name, state.get(name)])), "*"));
    window.addEventListener("message", ({ source, data }) => {
      if (source === parent && LINKED.every((name) => typeof data[name] === "string"))
        state.set(Object.fromEntries(LINKED.map((name) => [name, data[name]])));
    });
  } else if (FACTS.pages.length > 1) {
    const pages = FACTS.pages.map(([stem, title]) => link(stem, title));
    find("data").replaceChildren(...pages, link("beside", "Two side by side"));
  }
}

tabs();
themes();
others();
