// What the page knows: the architectures, both models' workers, and what these have answered.
import { graphAt, toKey } from "./graphs.js";
import { Engine, nearest } from "./engine.js";

export class World {
  constructor(map) {
    const [low, step] = map.facts.accuracy,
      n = map.arrays.accuracy.length;
    Object.assign(this, { map: map.arrays, axes: map.facts.axes, n, space: FACTS.space });
    this.twins = FACTS.twins.map(([name, title, note]) => ({
      name,
      title,
      note,
      engine: null,
      latents: null,
      share: 0,
    }));
    this.accuracy = Float32Array.from(map.arrays.accuracy, (level) => low + step * level);
    this.graphs = Array.from({ length: n }, (_, row) => graphAt(map.arrays, row));
    this.edges = this.graphs.map((graph) => graph.adj.reduce((sum, bits) => sum + ones(bits), 0));
  }

  twin(name) {
    return this.twins.find((twin) => twin.name === name);
  }

  /** The row of an architecture, -1 if it is not among the data. */
  row(graph) {
    this.rows ??= new Map(this.graphs.map((one, row) => [toKey(one), row]));
    return this.rows.get(toKey(graph)) ?? -1;
  }

  /** A model has come: from now on it answers; the latents of all follow in the background. */
  async start(name, pack, told) {
    const twin = this.twin(name),
      points = pack.process.rows.map((row) => this.graphs[row]);
    twin.engine = new Engine();
    await twin.engine.ask("model", { pack, points, space: this.space, wasm: true });
    twin.started = true;
    told(twin);
    const { ops, adj, shapes } = this.map;
    const found = await twin.engine.ask("everything", { ops, adj, shapes }, (share) => {
      twin.share = share;
      told(twin);
    });
    Object.assign(twin, found);
    told(twin);
  }

  /** Whether a row is on the maps between the first and the last epoch. */
  sampled(row) {
    return row % FACTS.every === 0;
  }

  /** A pack's coordinates as 0 … 1, or null if the latents they come from are not there yet. Between
      the first and the last epoch a row that is not on the map is with the one before it that is. */
  flat(twin, epoch, projection) {
    const kept = this.map[`${twin.name} ${epoch} ${projection}`],
      { n } = this;
    if (kept) {
      const count = kept.length / 2,
        by = count === n ? 1 : FACTS.every,
        most = FACTS.levels[kept instanceof Uint8Array ? 0 : 1];
      const [x, y] = [0, count].map((first) =>
        Float32Array.from({ length: n }, (_, row) => kept[first + Math.floor(row / by)] / most),
      );
      return centred(x, y);
    }
    if (!twin.latents) return null;
    const x = new Float32Array(n),
      y = new Float32Array(n),
      d = twin.latent;
    for (let row = 0; row < n; row++) {
      [x[row], y[row]] = this.principal(twin, twin.latents.subarray(row * d, (row + 1) * d));
    }
    return centred(x, y);
  }

  /** A vector in the plane of the trained model's principal components. */
  principal(twin, z) {
    const { middle, axes, low, step } = this.axes[twin.name];
    return axes.map((axis, k) => {
      const along = axis.reduce((sum, a, i) => sum + a * (z[i] - middle[i]), 0);
      return (along - low[k]) / step / FACTS.levels[1];
    });
  }

  /** Where a vector is on a map: exactly with PCA; with t-SNE at the mean of its ten nearest, or
      at the architecture whose vector it is. */
  spot(twin, z, projection, flat) {
    if (projection === "pca") {
      const [x, y] = this.principal(twin, z);
      return [x + flat.right, y + flat.down];
    }
    if (!twin.latents) return null;
    let near = nearest(twin.latents, twin.latent, z, 10);
    if (near[0].distance < 1e-3) near = near.slice(0, 1);
    return [flat.x, flat.y].map((axis) =>
      near.reduce((sum, { row }) => sum + axis[row] / near.length, 0),
    );
  }

  neighbours(twin, z, without) {
    return twin.latents
      ? nearest(twin.latents, twin.latent, z, 10, without).map(({ row }) => row)
      : [];
  }

  vector(twin, row) {
    return twin.latents?.subarray(row * twin.latent, (row + 1) * twin.latent);
  }
}

/** The narrower side in the middle of the square. */
function centred(x, y) {
  const right = (1 - highest(x)) / 2,
    down = (1 - highest(y)) / 2;
  return { x: x.map((value) => value + right), y: y.map((value) => value + down), right, down };
}

const highest = (values) => values.reduce((a, b) => Math.max(a, b), 0);

export function ones(bits) {
  let count = 0;
  for (; bits; bits &= bits - 1) count++;
  return count;
}
