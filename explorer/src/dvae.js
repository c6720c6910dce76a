// D-VAE and GCN: encoders and decoder of opembed_nb (chapters 2 and 3), from a model's own weights.
import { convolved } from "./gcn.js";
import { INPUT, OUTPUT, hasEdge } from "./graphs.js";

const ROWS = 256; // of a product at most
const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const tanh = (x) => 1 - 2 / (1 + Math.exp(2 * x));

const upTo8 = (n) => Math.ceil(n / 8) * 8;

/** A linear layer in the memory: its weight (outputs, inputs) transposed, its bias. */
class Layer {
  constructor(memory, weight, outputs, inputs, bias = null) {
    this.memory = memory;
    Object.assign(this, { outputs, inputs, wide: upTo8(outputs) });
    const turned = new Float32Array(inputs * this.wide);
    for (let o = 0; o < outputs; o++) {
      for (let i = 0; i < inputs; i++) turned[i * this.wide + o] = weight[o * inputs + i];
    }
    this.at = memory.keep(turned);
    this.bias = new Float32Array(this.wide);
    if (bias) this.bias.set(bias);
  }

  /** Rows at `from` times the weight, added to what is at `to`. */
  add(from, to, rows) {
    this.memory.product(from, this.at, to, Math.ceil(rows / 4) * 4, this.inputs, this.wide);
  }

  /** One vector → a new vector, bias included. */
  apply(vector) {
    const { memory } = this;
    this.from ??= memory.take(4 * this.inputs);
    this.to ??= memory.take(4 * this.wide);
    memory.floats.set(vector, this.from);
    memory.floats.set(this.bias, this.to);
    this.add(this.from, this.to, 1);
    return memory.floats.slice(this.to, this.to + this.outputs);
  }
}

/** Columns first … first + count of a matrix (rows, columns). */
function columns(matrix, rows, width, first, count) {
  const found = new Float32Array(rows * count);
  for (let r = 0; r < rows; r++) {
    found.set(matrix.subarray(r * width + first, r * width + first + count), r * count);
  }
  return found;
}

/** A GRU cell whose input is a node's type: what it knows before it receives a state. */
class Cell {
  constructor(memory, weights, shapes, name, table) {
    const [outputs, H] = shapes[`${name}.weight_hh`],
      dim = shapes[`${name}.weight_ih`][1];
    const types = table.length / dim,
      own = weights[`${name}.weight_ih`];
    const [ih, hh] = [weights[`${name}.bias_ih`], weights[`${name}.bias_hh`]];
    this.hidden = H;
    this.layer = new Layer(memory, weights[`${name}.weight_hh`], outputs, H);
    this.start = Array.from({ length: types }, (_, type) => {
      const row = new Float32Array(4 * H); // r, z, of the state, of the input
      for (let o = 0; o < 3 * H; o++) {
        let sum = ih[o];
        for (let d = 0; d < dim; d++) sum += own[o * dim + d] * table[type * dim + d];
        if (o < 2 * H) row[o] = sum + hh[o];
        else {
          row[o] = hh[o];
          row[o + H] = sum;
        }
      }
      return row;
    });
  }

  /** The new state, from the gates' sums at `gates` of `x` and the state received at `state`. */
  finish(x, gates, y, state, type, out, to) {
    const H = this.hidden,
      input = this.start[type];
    for (let i = 0; i < H; i++) {
      const r = sigmoid(x[gates + i]),
        z = sigmoid(x[gates + H + i]);
      const candidate = tanh(input[3 * H + i] + r * x[gates + 2 * H + i]);
      out[to + i] = candidate + z * (y[state + i] - candidate);
    }
  }

  step(type, received) {
    const H = this.hidden,
      gates = this.layer.apply(received),
      out = new Float32Array(H);
    for (let i = 0; i < 3 * H; i++) gates[i] += this.start[type][i];
    this.finish(gates, 0, received, 0, type, out, 0);
    return out;
  }
}

/** The message of a node: sigmoid(gate) · map, both of its state and its place in the order. */
class Message {
  constructor(memory, weights, shapes, name) {
    const [H, width] = shapes[`${name}.gate.weight`],
      places = width - H;
    const parts = ["gate", "map"].map((part) => weights[`${name}.${part}.weight`]);
    const both = new Float32Array(2 * H * H),
      bias = weights[`${name}.gate.bias`];
    parts.forEach((part, k) => both.set(columns(part, H, width, 0, H), k * H * H));
    this.hidden = H;
    this.layer = new Layer(memory, both, 2 * H, H);
    this.place = Array.from({ length: places }, (_, p) =>
      Float32Array.from(
        { length: 2 * H },
        (_, o) => parts[o < H ? 0 : 1][(o % H) * width + H + p] + (o < H ? bias[o] : 0),
      ),
    );
  }

  finish(x, at, out, to) {
    const H = this.hidden;
    for (let i = 0; i < H; i++) out[to + i] = sigmoid(x[at + i]) * x[at + H + i];
  }

  send(state, place) {
    const H = this.hidden,
      both = this.layer.apply(state),
      out = new Float32Array(H);
    for (let i = 0; i < 2 * H; i++) both[i] += this.place[place][i];
    this.finish(both, 0, out, 0);
    return out;
  }
}

const rest = () => new Promise((done) => setTimeout(done)); // others may be served meanwhile

export class DVAE {
  constructor(weights, space, memory) {
    const { shapes } = weights,
      types = space.types.length;
    let table = weights["embedding.weight"];
    if (!table) {
      // one-hot
      table = new Float32Array(types * types);
      for (let t = 0; t < types; t++) table[t * types + t] = 1;
    }
    const layer = (name) =>
      new Layer(
        memory,
        weights[`${name}.weight`],
        ...shapes[`${name}.weight`],
        weights[`${name}.bias`],
      );
    const cell = (name) => new Cell(memory, weights, shapes, name, table);
    Object.assign(this, { space, memory, table });
    [this.latent, this.hidden] = shapes["encoder.mu.weight"];
    this.mu = layer("encoder.mu");
    const message = (name) => new Message(memory, weights, shapes, name);
    if (weights["encoder.unify.weight"]) {
      this.unify = layer("encoder.unify");
      this.ways = ["forward", "backward"].map((way) => ({
        cell: cell(`encoder.${way}_cell`),
        message: message(`encoder.${way}_message`),
      }));
      this.message = this.ways[0].message; // the encoder's, shared with the decoder
    } else {
      const names = Object.keys(shapes).filter((name) => /^encoder.levels.\d+.weight$/.test(name));
      this.levels = names.map((_, k) => layer(`encoder.levels.${k}`));
      this.message = message("decoder.message");
    }
    this.start = layer("decoder.start");
    this.cell = cell("decoder.cell");
    this.typeHead = [layer("decoder.type_head.0"), layer("decoder.type_head.2")];
    const name = "decoder.edge_head.0.weight",
      [outputs, width] = shapes[name],
      H = this.hidden;
    this.edgeParts = Array.from(
      { length: width / H },
      (_, k) =>
        new Layer(
          memory,
          columns(weights[name], outputs, width, k * H, H),
          outputs,
          H,
          k === 1 ? weights["decoder.edge_head.0.bias"] : null,
        ),
    );
    this.edgeLast = [weights["decoder.edge_head.2.weight"], weights["decoder.edge_head.2.bias"][0]];
    this.rowsAt = memory.take(ROWS * 4 * H);
    this.outAt = memory.take(ROWS * 4 * H);
  }

  /** μ of many graphs, (graphs, latent). `bulk`: let others be served in between. */
  async encode(graphs, bulk = false, told = () => {}) {
    const { memory, hidden: H, latent } = this,
      mu = new Float32Array(graphs.length * latent),
      pause = (share) => (told(share / 1.1), bulk && rest());
    if (this.levels) {
      const states = await convolved(this, graphs, ROWS, pause);
      for (let b = 0; b < graphs.length; b++)
        mu.set(this.mu.apply(states.subarray(b * H, (b + 1) * H)), b * latent);
      return mu;
    }
    const ends = [];
    for (const [way, { cell, message }] of this.ways.entries()) {
      const tell = (share) => told((way + share) / 2.2);
      ends.push(await this.sweep(graphs, way === 1, cell, message, bulk, tell));
    }
    for (let first = 0; first < graphs.length; first += ROWS) {
      const rows = Math.min(ROWS, graphs.length - first);
      for (let i = 0; i < rows; i++) {
        memory.floats.set(
          ends[0].subarray((first + i) * H, (first + i + 1) * H),
          this.rowsAt + i * 2 * H,
        );
        memory.floats.set(
          ends[1].subarray((first + i) * H, (first + i + 1) * H),
          this.rowsAt + i * 2 * H + H,
        );
        memory.floats.set(this.unify.bias, this.outAt + i * H);
      }
      this.unify.add(this.rowsAt, this.outAt, rows);
      for (let i = 0; i < rows; i++)
        memory.floats.set(this.mu.bias, this.rowsAt + i * this.mu.wide);
      this.mu.add(this.outAt, this.rowsAt, rows);
      for (let i = 0; i < rows; i++) {
        const at = this.rowsAt + i * this.mu.wide;
        mu.set(memory.floats.subarray(at, at + latent), (first + i) * latent);
      }
      if (bulk) await rest();
    }
    return mu;
  }

  /** States where a sweep along the order, or against it, ends: graphs that begin alike share work. */
  async sweep(graphs, back, cell, message, bulk, told) {
    const { memory, hidden: H } = this,
      B = graphs.length,
      N = Math.max(...graphs.map((g) => g.n));
    const result = new Float32Array(B * H),
      before = []; // of each node: row of each graph, messages
    let at = new Float64Array(B);
    for (let step = 0; step < N; step++) {
      const v = back ? N - 1 - step : step,
        known = new Map(),
        row = new Int32Array(B),
        first = [];
      for (let b = 0; b < B; b++) {
        const key =
          at[b] * 2 ** (N + 5) + received(graphs[b], v, back) * 32 + (graphs[b].ops[v] ?? 0);
        let number = known.get(key);
        if (number === undefined) {
          known.set(key, (number = known.size));
          first.push(b);
        }
        row[b] = number;
      }
      at = row;
      const last = step === N - 1,
        states = new Float32Array(first.length * H);
      const messages = last ? null : new Float32Array(first.length * H);
      for (let begin = 0; begin < first.length; begin += ROWS) {
        const rows = Math.min(ROWS, first.length - begin);
        for (let i = 0; i < rows; i++) {
          const graph = graphs[first[begin + i]],
            type = graph.ops[v] ?? 0,
            to = this.rowsAt + i * H;
          memory.floats.fill(0, to, to + H);
          for (let u = 0; u < N; u++) {
            if (!((received(graph, v, back) >> u) & 1)) continue;
            const { row: of, messages: sent } = before[u],
              from = of[first[begin + i]] * H;
            for (let j = 0; j < H; j++) memory.floats[to + j] += sent[from + j];
          }
          memory.floats.set(cell.start[type].subarray(0, 3 * H), this.outAt + i * 3 * H);
        }
        if (step) cell.layer.add(this.rowsAt, this.outAt, rows);
        for (let i = 0; i < rows; i++) {
          const type = graphs[first[begin + i]].ops[v] ?? 0;
          cell.finish(
            memory.floats,
            this.outAt + i * 3 * H,
            memory.floats,
            this.rowsAt + i * H,
            type,
            states,
            (begin + i) * H,
          );
        }
        if (last) continue;
        memory.floats.set(states.subarray(begin * H, (begin + rows) * H), this.rowsAt);
        for (let i = 0; i < rows; i++) memory.floats.set(message.place[v], this.outAt + i * 2 * H);
        message.layer.add(this.rowsAt, this.outAt, rows);
        for (let i = 0; i < rows; i++) {
          message.finish(memory.floats, this.outAt + i * 2 * H, messages, (begin + i) * H);
        }
        if (bulk) {
          told((step + begin / first.length) / N);
          await rest();
        }
      }
      before[v] = { row, messages };
      for (let b = 0; b < B; b++) {
        if (v !== (back ? 0 : graphs[b].n - 1)) continue;
        result.set(states.subarray(row[b] * H, (row[b] + 1) * H), b * H);
      }
    }
    return result;
  }

  /** The graph that the decoder writes for a vector when it takes the likelier decision each time. */
  decode(z) {
    const { space } = this,
      N = space.layers + 2,
      ops = [INPUT],
      adj = [0],
      sent = [],
      old = [],
      { message } = this;
    let state = this.cell.step(INPUT, this.start.apply(z).map(tanh));
    let total = new Float32Array(this.hidden);
    for (let v = 1; v < N; v++) {
      sent.push(message.send(state, v - 1));
      old.push(this.edgeParts[0].apply(space.chain ? state : sent[v - 1]));
      // What stands for the graph: the last state, a GCN's sum of states, without a chain of messages.
      if (space.chain && !this.levels) total = state;
      else total = total.map((x, i) => x + (space.chain ? state : sent[v - 1])[i]);
      const type = v === N - 1 ? OUTPUT : this.likeliest(total);
      ops.push(type);
      if (type === OUTPUT && space.chain) {
        adj.push(0);
        break;
      }
      const graph = this.edgeParts[2]?.apply(total);
      let incoming = new Float32Array(this.hidden),
        bits = 0;
      state = this.cell.step(type, incoming);
      let mine = this.edgeParts[1].apply(state);
      for (let u = v - 1; u >= 0; u--) {
        if (!(this.edgeLogit(old[u], mine, graph) > 0)) continue;
        bits |= 1 << u;
        incoming = incoming.map((x, i) => x + sent[u][i]);
        state = this.cell.step(type, incoming);
        mine = this.edgeParts[1].apply(state);
      }
      adj.push(bits);
      if (type === OUTPUT) break;
    }
    return joined({ n: ops.length, ops, adj });
  }

  likeliest(total) {
    const logits = this.typeHead[1].apply(this.typeHead[0].apply(total).map((x) => Math.max(x, 0)));
    return logits.indexOf(Math.max(...logits));
  }

  edgeLogit(old, mine, graph) {
    const [weight, bias] = this.edgeLast;
    let sum = bias;
    for (let i = 0; i < weight.length; i++) {
      sum += weight[i] * Math.max(old[i] + mine[i] + (graph ? graph[i] : 0), 0);
    }
    return sum;
  }
}

/** Bits of the nodes that node v receives from; against the order, its successors. */
function received(graph, v, back) {
  if (v >= graph.n) return 0;
  if (!back) return graph.adj[v];
  let bits = 0;
  for (let w = v + 1; w < graph.n; w++) if (hasEdge(graph, v, w)) bits |= 1 << w;
  return bits;
}

/** Nodes without a successor lead to the output. */
function joined(graph) {
  const last = graph.n - 1,
    sends = graph.adj.reduce((all, bits) => all | bits, 0);
  graph.adj[last] |= (2 ** last - 1) & ~sends;
  return graph;
}
