// How data come into a page that may be opened from a file: deflated, as text of seven bits a letter.
const ESCAPED = '\0\n\r"\\'; // may not stand in a script's string; written as letters from À on

/** Bytes of a text that `as_text` in build.py has written. */
export function fromText(text) {
  const out = new Uint8Array(Math.floor((text.length * 7) / 8));
  let bits = 0,
    held = 0,
    to = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    bits = ((bits << 7) | (code < 128 ? code : ESCAPED.charCodeAt(code - 192))) & 0x7fff;
    held += 7;
    if (held >= 8) {
      held -= 8;
      out[to++] = bits >> held;
    }
  }
  return out;
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
  const bytes = await inflate(fromText(pack.text)),
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
