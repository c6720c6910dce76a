// The supernet of enas-digits (chapter 6): one network that contains every architecture. It is
// asked for the share of validation digits that it reads right; batch normalisation uses the batch.
import { hasEdge } from "./graphs.js";

export class Supernet {
  /** weights: the state dict; images (n · side²) 0 … 255 with their `low` and `step`; labels. */
  constructor(weights, facts) {
    Object.assign(this, { weights, facts, memo: new Map() });
    const { side, low, step } = facts;
    this.n = weights.images.length / side ** 2;
    this.side = side;
    this.pixels = [Float32Array.from(weights.images, (x) => low + step * x)];
  }

  stage(layer) {
    return this.facts.pools.filter((after) => after <= layer).length;
  }
  born(node) {
    return this.stage(node - 1);
  }

  /** Share of the images that an architecture of full depth reads right. */
  accuracy(graph) {
    const layers = graph.n - 2,
      used = new Map(); // states that an earlier one has had, too
    const state = (node, stage) => {
      const key = `${stage}: ${graph.ops.slice(1, node + 1)} ${graph.adj.slice(1, node + 1)}`;
      if (!used.has(key))
        used.set(key, this.memo.get(key) ?? this.compute(graph, node, stage, state));
      return used.get(key);
    };
    const logits = this.head(state(layers, this.stage(layers - 1)));
    this.memo = used;
    const { labels } = this.weights;
    return (
      logits.reduce((right, row, i) => right + (row.indexOf(Math.max(...row)) === labels[i]), 0) /
      this.n
    );
  }

  compute(graph, node, stage, state) {
    if (stage > this.born(node)) {
      const name = `halves.${node}_${stage}`;
      return this.norm(
        this.conv(halved(state(node, stage - 1), this.size(stage)), `${name}.1`, stage),
        `${name}.2`,
      );
    }
    if (node === 0) return this.norm(this.conv(this.pixels, "stem.0", 0), "stem.1");
    let sum = this.operation(state(node - 1, stage), node - 1, graph.ops[node] - 2, stage);
    for (let u = 0; u < node - 1; u++) {
      if (hasEdge(graph, u, node)) sum = sum.map((plane, c) => added(plane, state(u, stage)[c]));
    }
    return this.norm(sum, `norms.${node - 1}`);
  }

  size(stage) {
    return this.side >> stage;
  }

  operation(x, layer, kind, stage) {
    const name = `operations.${layer}.${kind}`,
      operation = this.facts.operations[kind];
    const mixed = relu(this.norm(this.conv(x, `${name}.0`, stage), `${name}.1`));
    if (operation.includes("pool"))
      return mixed.map((plane) => pooled(plane, this.size(stage), operation.startsWith("max")));
    let y = this.conv(mixed, `${name}.3`, stage);
    if (operation.startsWith("sep")) y = this.conv(y, `${name}.4`, stage);
    return relu(this.norm(y, `${name}.${operation.startsWith("sep") ? 5 : 4}`));
  }

  conv(x, name, stage) {
    const weight = this.weights[`${name}.weight`],
      side = this.size(stage),
      { n } = this;
    const [outputs, inputs, wide] = this.weights.shapes[`${name}.weight`],
      reach = (wide - 1) / 2;
    return Array.from({ length: outputs }, (_, o) => {
      const out = new Float32Array(n * side * side);
      for (let i = 0; i < inputs; i++) {
        const plane = x[inputs === 1 && outputs === x.length ? o : i]; // of a group of its own
        for (let dy = -reach; dy <= reach; dy++) {
          for (let dx = -reach; dx <= reach; dx++) {
            const factor = weight[((o * inputs + i) * wide + dy + reach) * wide + dx + reach];
            shifted(out, plane, factor, dy, dx, side, n);
          }
        }
      }
      return out;
    });
  }

  norm(x, name) {
    const scale = this.weights[`${name}.weight`],
      shift = this.weights[`${name}.bias`];
    return x.map((plane, c) => {
      let sum = 0,
        squares = 0;
      for (let i = 0; i < plane.length; i++) sum += plane[i];
      const mean = sum / plane.length;
      for (let i = 0; i < plane.length; i++) squares += (plane[i] - mean) ** 2;
      const factor = scale[c] / Math.sqrt(squares / plane.length + 1e-5);
      return plane.map((value) => (value - mean) * factor + shift[c]);
    });
  }

  head(x) {
    const weight = this.weights["head.4.weight"],
      bias = this.weights["head.4.bias"];
    const area = x[0].length / this.n;
    return Array.from({ length: this.n }, (_, image) => {
      const features = relu(x.map((plane) => plane.subarray(image * area, (image + 1) * area))).map(
        (plane) => plane.reduce((a, b) => a + b, 0) / area,
      );
      return Array.from(bias, (b, o) =>
        features.reduce((sum, f, c) => sum + f * weight[o * features.length + c], b),
      );
    });
  }
}

const relu = (x) => x.map((plane) => plane.map((value) => (value > 0 ? value : 0)));

function added(a, b) {
  const out = new Float32Array(a.length);
  for (let i = 0; i < a.length; i++) out[i] = a[i] + b[i];
  return out;
}

function shifted(out, plane, factor, dy, dx, side, n) {
  const [top, bottom] = [Math.max(0, -dy), Math.min(side, side - dy)];
  const [left, right] = [Math.max(0, -dx), Math.min(side, side - dx)];
  for (let image = 0, at = 0; image < n; image++, at += side * side) {
    for (let y = top; y < bottom; y++) {
      const to = at + y * side,
        from = at + (y + dy) * side + dx;
      for (let x = left; x < right; x++) out[to + x] += factor * plane[from + x];
    }
  }
}

function halved(x, half) {
  return x.map((plane) => {
    const out = new Float32Array(plane.length / 4),
      wide = 2 * half;
    for (let i = 0; i < out.length; i++) {
      const image = Math.floor(i / (half * half)),
        y = Math.floor(i / half) % half,
        c = i % half;
      const at = image * wide * wide + 2 * y * wide + 2 * c;
      out[i] = (plane[at] + plane[at + 1] + plane[at + wide] + plane[at + wide + 1]) / 4;
    }
    return out;
  });
}

function pooled(plane, side, largest) {
  const out = new Float32Array(plane.length);
  for (let at = 0; at < plane.length; at++) {
    const x = at % side,
      y = Math.floor(at / side) % side;
    let sum = 0,
      count = 0,
      most = -Infinity;
    for (let dy = y ? -1 : 0; dy <= (y < side - 1 ? 1 : 0); dy++) {
      for (let dx = x ? -1 : 0; dx <= (x < side - 1 ? 1 : 0); dx++, count++) {
        const value = plane[at + dy * side + dx];
        sum += value;
        if (value > most) most = value;
      }
    }
    out[at] = largest ? most : sum / count;
  }
  return out;
}
