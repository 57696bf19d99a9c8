// The weights in the page: base64 of all tensors one behind the other, f16 or f32, row-major.

// What the 65,536 numbers of f16 are (IEEE 754, binary16).
function halves() {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const [sign, exponent, mantissa] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
    if (exponent === 0) table[bits] = sign * mantissa * 2 ** -24;
    else if (exponent < 31) table[bits] = sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
    else table[bits] = mantissa ? NaN : sign * Infinity;
  }
  return table;
}

// The tensors by name, each a Float32Array.
function readTensors(base64, list) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  const half = halves();
  const tensors = {};
  let at = 0;
  for (const { name, shape, type } of list) {
    const length = shape.reduce((product, n) => product * n, 1);
    const end = at + length * (type === "f16" ? 2 : 4);
    const { buffer } = bytes.slice(at, end);
    tensors[name] = type === "f16" ? Float32Array.from(new Uint16Array(buffer), (bits) => half[bits]) : new Float32Array(buffer);
    at = end;
  }
  return tensors;
}
