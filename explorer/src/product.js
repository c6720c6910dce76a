// C += A · B: product.wat, compiled; and the same in JavaScript, for browsers without vectors.
const COMPILED =
  "AGFzbQEAAAABCgFgBn9/f39/fwADAgEABQMBAAEHFAIGbWVtb3J5AgAHcHJvZHVjdAAACuoDAecDAgh/C3sgBUECdCEMIARBAnQhDQNAQQAhBgNAIAIgBiAMbCAHQQJ0amohCSAAIAYgDWxqIQogCf0ABAAhESAJ/QAEECESIAkgDGohCSAJ/QAEACETIAn9AAQQIRQgCSAMaiEJIAn9AAQAIRUgCf0ABBAhFiAJIAxqIQkgCf0ABAAhFyAJ/QAEECEYIAEgB0ECdGohCyAEIQgDQCAL/QAEACEOIAv9AAQQIQ8gCv0JAgAhECARIBAgDv3mAf3kASERIBIgECAP/eYB/eQBIRIgCiANaiEJIAn9CQIAIRAgEyAQIA795gH95AEhEyAUIBAgD/3mAf3kASEUIAkgDWohCSAJ/QkCACEQIBUgECAO/eYB/eQBIRUgFiAQIA/95gH95AEhFiAJIA1qIQkgCf0JAgAhECAXIBAgDv3mAf3kASEXIBggECAP/eYB/eQBIRggCkEEaiEKIAsgDGohCyAIQQFrIggNAAsgAiAGIAxsIAdBAnRqaiEJIAkgEf0LBAAgCSAS/QsEECAJIAxqIQkgCSAT/QsEACAJIBT9CwQQIAkgDGohCSAJIBX9CwQAIAkgFv0LBBAgCSAMaiEJIAkgF/0LBAAgCSAY/QsEECAGQQRqIgYgA0kNAAsgB0EIaiIHIAVJDQALCw==";

/** Floats in one memory, given out from its beginning, and the product over them. */
export class Memory {
  constructor(wasm = true) {
    try {
      if (!wasm) throw new Error("plain");
      const bytes = Uint8Array.from(atob(COMPILED), (c) => c.charCodeAt(0));
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
      this.memory = exports.memory;
      this.run = exports.product;
    } catch {
      this.memory = new WebAssembly.Memory({ initial: 1 });
    }
    this.used = 0;
  }

  /** Room for so many floats: a place, in floats. Views of the memory are made anew after it. */
  take(count) {
    const at = this.used;
    this.used += Math.ceil(count / 8) * 8;
    const missing = this.used * 4 - this.memory.buffer.byteLength;
    if (missing > 0) this.memory.grow(Math.ceil(missing / 65536));
    this.floats = new Float32Array(this.memory.buffer);
    return at;
  }

  keep(values) {
    const at = this.take(values.length);
    this.floats.set(values, at);
    return at;
  }

  product(a, b, c, m, k, n) {
    if (this.run) this.run(4 * a, 4 * b, 4 * c, m, k, n);
    else plainProduct(this.floats, a, b, c, m, k, n);
  }
}

export function plainProduct(x, a, b, c, m, k, n) {
  for (let i = 0; i < m; i++) {
    for (let p = 0; p < k; p++) {
      const factor = x[a + i * k + p];
      if (factor === 0) continue;
      for (let j = 0; j < n; j++) x[c + i * n + j] += factor * x[b + p * n + j];
    }
  }
}
