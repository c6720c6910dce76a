// GCN: the simultaneous encoder of opembed_nb (chapter 2); its decoder is that of a D-VAE.
import { hasEdge } from "./graphs.js";

/** What each node takes of its own state and of its predecessors': [[u, share], …] of each. */
function shares(graph) {
  const ins = graph.ops.map(() => 1),
    outs = graph.ops.map(() => 1),
    taken = graph.ops.map(() => []);
  for (let v = 0; v < graph.n; v++) {
    for (let u = 0; u < v; u++) {
      if (!hasEdge(graph, u, v)) continue;
      ins[v]++;
      outs[u]++;
    }
  }
  for (let v = 0; v < graph.n; v++) {
    taken[v].push([v, 1 / ins[v]]);
    for (let u = 0; u < v; u++)
      if (hasEdge(graph, u, v)) taken[v].push([u, 1 / Math.sqrt(outs[u] * ins[v])]);
  }
  return taken;
}

/** The sum of the states of all nodes but input and output, (graphs, hidden). After the first level
    a node takes what its predecessors have become in the same one. */
export async function convolved(model, graphs, rows, pause) {
  const { memory, levels, table, hidden: H } = model,
    sums = new Float32Array(graphs.length * H);
  for (let first = 0; first < graphs.length; first += rows) {
    const some = graphs.slice(first, first + rows),
      taken = some.map(shares),
      nodes = Math.max(...some.map((graph) => graph.n)) - 1; // the last is in no sum
    let before = null;
    for (const level of levels) {
      const width = level.inputs,
        now = [];
      for (let v = 0; v < nodes; v++) {
        some.forEach((graph, b) => {
          const to = model.rowsAt + b * width;
          memory.floats.fill(0, to, to + width);
          memory.floats.set(level.bias, model.outAt + b * level.wide);
          for (const [u, share] of taken[b][v] ?? []) {
            const states = before ? (u === v ? before : now)[u] : table,
              at = (before ? b : graph.ops[u]) * width;
            for (let i = 0; i < width; i++) memory.floats[to + i] += share * states[at + i];
          }
        });
        level.add(model.rowsAt, model.outAt, some.length);
        now[v] = new Float32Array(some.length * H);
        for (let b = 0; b < some.length; b++) {
          for (let i = 0; i < H; i++)
            now[v][b * H + i] = Math.max(memory.floats[model.outAt + b * level.wide + i], 0);
        }
      }
      before = now;
    }
    some.forEach((graph, b) => {
      for (let v = 1; v < graph.n - 1; v++) {
        for (let i = 0; i < H; i++) sums[(first + b) * H + i] += before[v][b * H + i];
      }
    });
    await pause(first / graphs.length);
  }
  return sums;
}
