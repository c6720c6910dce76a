// Models run beside the page, which stays smooth: questions come as messages, answers go back.
import { unpack } from "./bytes.js";
import { graphAt } from "./graphs.js";
import { Memory } from "./product.js";
import { DVAE } from "./dvae.js";
import { Process } from "./process.js";
import { Supernet } from "./supernet.js";

let model, gp, net;
const predicted = (z) => gp?.predict(z) ?? null;

async function written(z) {
  // what a vector decodes to, and what that is
  const graph = model.decode(z),
    again = await model.encode([graph]);
  return { graph, z, mu: again, ...predicted(again) };
}

const ANSWERS = {
  async model({ pack, space, points, wasm }) {
    const arrays = await unpack(pack);
    model = new DVAE(arrays, space, new Memory(wasm));
    if (pack.process) gp = new Process(pack.process, arrays.root, await model.encode(points));
    return {};
  },
  async supernet({ pack }) {
    net = new Supernet(await unpack(pack), pack.facts);
    return {};
  },
  async everything({ ops, adj, shapes }, tell) {
    // all latents and predictions, in the background
    const pack = { ops, adj, shapes };
    const graphs = Array.from({ length: shapes.ops[1] }, (_, row) => graphAt(pack, row));
    const mu = await model.encode(graphs, true, tell),
      d = model.latent;
    const said = new Float32Array(2 * graphs.length);
    for (let b = 0; gp && b < graphs.length; b++) {
      const { mean, deviation } = gp.predict(mu.subarray(b * d, (b + 1) * d));
      said[2 * b] = mean;
      said[2 * b + 1] = deviation;
      if (b % 512 === 0) {
        tell(0.92 + (0.08 * b) / graphs.length);
        await new Promise((f) => setTimeout(f));
      }
    }
    return { latents: mu, said, latent: d };
  },
  async look({ graph }) {
    const mu = await model.encode([graph]);
    return { mu, ...predicted(mu), decoded: model.decode(mu) };
  },
  async decode({ vectors }) {
    const found = [];
    for (const z of vectors) found.push(await written(z));
    return found;
  },
  async score({ graphs }) {
    return graphs.map((graph) => net.accuracy(graph));
  },
};

self.onmessage = async ({ data: { id, kind, ...asked } }) => {
  const tell = (share) => self.postMessage({ id, share });
  try {
    self.postMessage({ id, answer: await ANSWERS[kind](asked, tell) });
  } catch (error) {
    self.postMessage({ id, error: String(error) });
  }
};
