// How data come into a page that may be opened from a file: deflated, as text of sixteen bits a letter.
const ESCAPE = 0xe000; // what follows is one of ESCAPED, or half of a pair of UTF-16
const ESCAPED = [0, 10, 13, 34, 92, ESCAPE];

/** Bytes of a text that `as_text` in build.py has written. */
export function fromText(text) {
  const out = new Uint16Array(text.length);
  let to = 0;
  for (let i = 0; i < text.length; i++) {
    let code = text.charCodeAt(i);
    if (code === ESCAPE) {
      const number = text.charCodeAt(++i) - 256;
      code = ESCAPED[number] ?? 0xd800 + number - ESCAPED.length;
    }
    out[to++] = code;
  }
  return new Uint8Array(out.buffer, 0, 2 * to);
}

export async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A half-precision number as a double. */
export function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1,
    exponent = (bits >> 10) & 31,
    rest = bits & 1023;
  if (exponent === 0) return sign * rest * 2 ** -24;
  return sign * (1 + rest / 1024) * 2 ** (exponent - 15);
}

const READ = {
  u8: (bytes) => bytes,
  u16: (bytes) => new Uint16Array(bytes.buffer),
  f32: (bytes) => new Float32Array(bytes.buffer),
  f16: (bytes) => Float32Array.from(new Uint16Array(bytes.buffer), half),
};

/** A pack that build.py has written → {name: typed array}, with the shapes in `shapes`. */
export async function unpack(pack) {
  const bytes = await inflate(fromText(pack.text).subarray(0, pack.bytes)),
    found = { shapes: {} };
  let at = 0;
  for (const [name, kind, shape] of pack.arrays) {
    const width = { u8: 1, u16: 2, f16: 2, f32: 4 }[kind];
    const count = shape.reduce((a, b) => a * b, 1),
      whole = new Uint8Array(count * width);
    for (let plane = 0; plane < width; plane++) {
      // all first bytes, then all second ones, …
      for (let i = 0; i < count; i++) whole[i * width + plane] = bytes[at++];
    }
    found[name] = READ[kind](whole);
    found.shapes[name] = shape;
  }
  return found;
}
