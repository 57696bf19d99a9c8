// Products of matrices with vectors: in WebAssembly with vectors of 128 bits where the browser has
// them, else in plain JavaScript. Both work in one memory, whose places are counted in floats.
//
// A matrix lies there in panels of 32 rows: [rows / 32][columns][32], so that it is read from its
// beginning to its end.
const PANEL = 32;

// y[r] += sum over k of w[r][k] x[k]
const plainProduct = (floats) => (w, x, y, panels, columns) => {
  for (let p = 0; p < panels; p++, w += PANEL * columns) {
    for (let r = 0; r < PANEL; r += 8) {
      const at = y + p * PANEL + r;
      let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
      for (let k = 0, i = w + r; k < columns; k++, i += PANEL) {
        const v = floats[x + k];
        a += floats[i] * v;
        b += floats[i + 1] * v;
        c += floats[i + 2] * v;
        d += floats[i + 3] * v;
        e += floats[i + 4] * v;
        f += floats[i + 5] * v;
        g += floats[i + 6] * v;
        h += floats[i + 7] * v;
      }
      [a, b, c, d, e, f, g, h].forEach((sum, i) => (floats[at + i] += sum));
    }
  }
};

// The same as a module of one function (w, x, y, panels, columns), places in bytes here. Numbers of
// the instructions: the WebAssembly specification, 5.4.
function productModule(pages) {
  const [W, X, Y, PANELS, COLUMNS, P, END, V, SUM] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const number = (n) => {
    const bytes = [];
    for (; n > 63; n >>= 7) bytes.push((n & 127) | 128);
    return [...bytes, n];
  };
  const get = (local) => [0x20, local];
  const set = (local) => [0x21, local];
  const constant = (n) => [0x41, ...number(n)];
  const vector = (instruction, align, offset) => [0xfd, instruction, align, offset];
  const load = (offset) => vector(0x00, 4, offset);
  const splat = vector(0x09, 2, 0); // v128.load32_splat
  const store = (offset) => vector(0x0b, 4, offset);
  const [multiply, add] = [[0xfd, 0xe6, 0x01], [0xfd, 0xe4, 0x01]]; // f32x4.mul, f32x4.add
  const step = (local, bytes) => [...get(local), ...constant(bytes), 0x6a, ...set(local)];
  const loop = (...body) => [0x03, 0x40, ...body.flat(), 0x0b];
  const again = [0x0d, 0]; // br_if of the loop around it
  const eight = (code) => [0, 1, 2, 3, 4, 5, 6, 7].flatMap((j) => code(SUM + j, 16 * j));

  const body = [
    loop(
      eight((sum, offset) => [...get(Y), ...load(offset), ...set(sum)]),
      [...get(X), ...set(P)],
      [...get(X), ...get(COLUMNS), ...constant(2), 0x74, 0x6a, ...set(END)], // X + (COLUMNS << 2)
      loop(
        [...get(P), ...splat, ...set(V)],
        eight((sum, offset) => [...get(sum), ...get(V), ...get(W), ...load(offset), ...multiply, ...add, ...set(sum)]),
        step(W, 4 * PANEL),
        step(P, 4),
        [...get(P), ...get(END), 0x49, ...again], // P < END
      ),
      eight((sum, offset) => [...get(Y), ...get(sum), ...store(offset)]),
      step(Y, 4 * PANEL),
      [...get(PANELS), ...constant(1), 0x6b, 0x22, PANELS, ...again], // --PANELS
    ),
  ].flat();
  const locals = [2, 2, 0x7f, 9, 0x7b]; // two i32, nine v128
  const code = [...locals, ...body, 0x0b];
  const section = (id, content) => [id, ...number(content.length), ...content];
  const long = (content) => [...number(content.length), ...content];
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, [1, 0x60, 5, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0]), // one type: five i32, no result
    ...section(2, [1, 1, 0x6d, 1, 0x6d, 0x02, 0x00, ...number(pages)]), // memory m.m
    ...section(3, [1, 0]),
    ...section(7, [1, 1, 0x70, 0x00, 0]), // export "p"
    ...section(10, [1, ...long(code)]),
  ]);
}

// A memory of so many floats, and the product over it.
function makeKernel(size, plain) {
  const pages = Math.ceil((4 * size) / 65536);
  if (!plain && typeof WebAssembly === "object") {
    const memory = new WebAssembly.Memory({ initial: pages });
    let module;
    try {
      module = new WebAssembly.Module(productModule(pages));
    } catch {
      return makeKernel(size, true); // a browser without vectors
    }
    const { p } = new WebAssembly.Instance(module, { m: { m: memory } }).exports;
    const multiply = (w, x, y, panels, columns) => p(4 * w, 4 * x, 4 * y, panels, columns);
    return { floats: new Float32Array(memory.buffer), multiply, name: "WebAssembly" };
  }
  const floats = new Float32Array(size);
  return { floats, multiply: plainProduct(floats), name: "JavaScript" };
}
