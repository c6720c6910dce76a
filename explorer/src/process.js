// The sparse Gaussian process of chapter 5: its posterior at any vector.
export class Process {
  constructor(facts, root, points) {
    Object.assign(this, facts); // rows, weights, mean, scale, shift, units, lengths, noise, centre, deviation
    this.root = root; // upper triangle: rootᵀ · root is the gain
    this.latent = facts.shift.length;
    this.points = this.inFit(points);
  }

  /** Vectors in units of the fit, each dimension by its length. */
  inFit(vectors) {
    const d = this.latent;
    return Float64Array.from(
      vectors,
      (x, i) => (x - this.shift[i % d]) / this.units[i % d] / this.lengths[i % d],
    );
  }

  /** Mean and standard deviation of an accuracy, noise included; accuracies as in the data. */
  predict(vector) {
    const { points, latent: d, weights, root } = this,
      m = weights.length;
    const x = this.inFit(vector),
      k = new Float64Array(m);
    for (let j = 0; j < m; j++) {
      let apart = 0;
      for (let i = 0; i < d; i++) apart += (x[i] - points[j * d + i]) ** 2;
      k[j] = this.scale * Math.exp(-apart / 2);
    }
    let mean = this.mean,
      known = 0;
    for (let j = 0; j < m; j++) mean += k[j] * weights[j];
    for (let i = 0, at = 0; i < m; i++) {
      let sum = 0;
      for (let j = i; j < m; j++) sum += root[at++] * k[j];
      known += sum * sum;
    }
    const deviation = Math.sqrt(Math.max(this.scale - known, 1e-10) + this.noise);
    return { mean: this.centre + mean * this.deviation, deviation: deviation * this.deviation };
  }
}
