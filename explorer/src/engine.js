// The page's side of the workers: a question, a promise of its answer.
export class Engine {
  constructor() {
    const address = URL.createObjectURL(new Blob([ENGINE], { type: "text/javascript" }));
    this.worker = new Worker(address);
    this.waiting = new Map();
    this.count = 0;
    this.worker.onmessage = ({ data: { id, share, answer, error } }) => {
      const { done, failed, told } = this.waiting.get(id);
      if (share !== undefined) {
        told?.(share);
        return;
      }
      this.waiting.delete(id);
      if (error) failed(new Error(error));
      else done(answer);
    };
  }

  ask(kind, question, told = null) {
    const id = this.count++;
    this.worker.postMessage({ id, kind, ...question });
    return new Promise((done, failed) => this.waiting.set(id, { done, failed, told }));
  }
}

/** The k rows whose latents are nearest to a vector: [{row, distance}]. */
export function nearest(latents, d, vector, k, without = -1) {
  const rows = [],
    apart = [];
  for (let row = 0, at = 0; at < latents.length; row++, at += d) {
    let sum = 0;
    for (let i = 0; i < d; i++) {
      const by = latents[at + i] - vector[i];
      sum += by * by;
    }
    if (row === without || (rows.length === k && sum >= apart[k - 1])) continue;
    let place = Math.min(rows.length, k - 1);
    while (place > 0 && apart[place - 1] > sum) {
      rows[place] = rows[place - 1];
      apart[place] = apart[place - 1];
      place--;
    }
    rows[place] = row;
    apart[place] = sum;
  }
  return rows.map((row, i) => ({ row, distance: Math.sqrt(apart[i]) }));
}
