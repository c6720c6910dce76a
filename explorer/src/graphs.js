// Architectures: {n, ops: [type of each node], adj: [bits of the predecessors of each node]}.
export const INPUT = 0,
  OUTPUT = 1;

/** A pack's graphs: for each node (255 past the last) a byte, and 16 bits of predecessors. */
export function graphAt(pack, row) {
  const [nodes, n] = pack.shapes.ops,
    ops = [],
    adj = [];
  for (let v = 0; v < nodes && pack.ops[v * n + row] !== 255; v++) {
    ops.push(pack.ops[v * n + row]);
    adj.push(pack.adj[v * n + row]);
  }
  return { n: ops.length, ops, adj };
}

export const copy = (graph) => ({ n: graph.n, ops: [...graph.ops], adj: [...graph.adj] });
export const hasEdge = (graph, u, v) => ((graph.adj[v] >> u) & 1) === 1;

export function edges(graph) {
  const found = [];
  for (let v = 1; v < graph.n; v++) {
    for (let u = 0; u < v; u++) if (hasEdge(graph, u, v)) found.push([u, v]);
  }
  return found;
}

/** An address: a node's type and predecessors, in base 36, joined by dots. */
export const toKey = (graph) =>
  graph.ops
    .slice(1)
    .map((type, i) => type.toString(36) + graph.adj[i + 1].toString(36))
    .join(".");

export function fromKey(key, space) {
  const parts = key.split(".");
  const ops = [INPUT, ...parts.map((part) => parseInt(part[0], 36))];
  const adj = [0, ...parts.map((part) => parseInt(part.slice(1), 36))];
  const graph = { n: ops.length, ops, adj };
  return isValid(graph, space) ? graph : null;
}

/** What opembed_nb.data.validity asks of a graph. */
export function isValid(graph, space) {
  const { n, ops, adj } = graph,
    last = n - 1;
  if (n < 2 || n > space.layers + 2 || ops[0] !== INPUT || ops[last] !== OUTPUT) return false;
  let sends = 0;
  for (let v = 0; v < n; v++) {
    if (!(ops[v] >= 0 && ops[v] < space.types.length)) return false;
    if (v > 0 && v < last && ops[v] < 2) return false;
    if (v > 0 && !(adj[v] > 0 && adj[v] < 2 ** v)) return false;
    if (space.chain && v > 0 && !hasEdge(graph, v - 1, v)) return false;
    sends |= adj[v];
  }
  if (space.chain && adj[last] !== 2 ** (last - 1)) return false;
  return sends === 2 ** last - 1;
}

/** The edges that one may set: of a chain the skips to layers, else all. */
export function freeEdges(graph, space) {
  const found = [];
  for (let v = 1; v < graph.n - (space.chain ? 1 : 0); v++) {
    for (let u = 0; u < v - (space.chain ? 1 : 0); u++) found.push([u, v]);
  }
  return found;
}

export const same = (a, b) =>
  a.n === b.n && a.ops.every((type, v) => type === b.ops[v] && a.adj[v] === b.adj[v]);

/** Nodes whose type differs, and edges that only one of two graphs has. */
export function edits(a, b) {
  let found = 0;
  for (let v = 0; v < Math.max(a.n, b.n); v++) {
    if (a.ops[v] !== b.ops[v]) found++;
    for (let bits = (a.adj[v] ?? 0) ^ (b.adj[v] ?? 0); bits; bits &= bits - 1) found++;
  }
  return found;
}
