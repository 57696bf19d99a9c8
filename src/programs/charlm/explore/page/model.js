// The model: a stretch of characters in, the states after each of them out.

// The most characters that go through a layer before the next layer has its turn: so a layer's
// weights stay in the cache.
const STRETCH = 16;

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const tanh = (x) => 1 - 2 / (Math.exp(2 * x) + 1);

// One step of a layer. `z` holds W_ih x + b from `i` on, and W_hh h from `j` on, gate by gate; `h`
// is read from `from` and written from `to` on; `c` likewise, of the LSTM alone.
const CELLS = {
  // h' = tanh(a)
  rnn: ({ floats, hidden }, i, j, from, to) => {
    for (let u = 0; u < hidden; u++) floats[to + u] = tanh(floats[i + u] + floats[j + u]);
  },
  // r, z, n: n = tanh(W_in x + b_in + r (W_hn h + b_hn)); h' = (1 - z) n + z h
  gru: ({ floats, hidden }, i, j, from, to) => {
    for (let u = 0; u < hidden; u++) {
      const gate = (g) => sigmoid(floats[i + g * hidden + u] + floats[j + g * hidden + u]);
      const r = gate(0);
      const z = gate(1);
      const n = tanh(floats[i + 2 * hidden + u] + r * floats[j + 2 * hidden + u]);
      floats[to + u] = (1 - z) * n + z * floats[from + u];
    }
  },
  // i, f, g, o: c' = f c + i g; h' = o tanh(c')
  lstm: ({ floats, hidden }, i, j, from, to, cFrom, cTo) => {
    for (let u = 0; u < hidden; u++) {
      const sum = (g) => floats[i + g * hidden + u] + floats[j + g * hidden + u];
      const c = sigmoid(sum(1)) * floats[cFrom + u] + sigmoid(sum(0)) * tanh(sum(2));
      floats[cTo + u] = c;
      floats[to + u] = sigmoid(sum(3)) * tanh(c);
    }
  },
};
const GATES = { rnn: 1, gru: 3, lstm: 4 };

class Model {
  constructor(facts, tensors, plain) {
    const { cell, hidden, embedding, layers, tokens } = facts;
    const rows = GATES[cell] * hidden;
    const panels = Math.ceil(rows / PANEL);
    const outPanels = Math.ceil(tokens.length / PANEL);
    let size = 0;
    const take = (n) => {
      const at = size;
      size += 4 * Math.ceil(n / 4);
      return at;
    };
    Object.assign(this, { cell, hidden, embedding, layers, rows, panels, outPanels, vocab: tokens.length, hasC: cell === "lstm" });
    const places = [];
    for (let l = 0; l < layers; l++) {
      const input = l ? hidden : embedding;
      places.push({
        input,
        wIh: take(panels * PANEL * input),
        wHh: take(panels * PANEL * hidden),
        h: take((STRETCH + 1) * hidden), // row 0: before the stretch
        c: take((STRETCH + 1) * hidden),
      });
    }
    this.places = places;
    this.table = take(tokens.length * embedding);
    this.out = take(outPanels * PANEL * hidden);
    this.z = take(STRETCH * panels * PANEL); // W_ih x + b of each character
    this.recurrent = take(panels * PANEL);
    this.scores = take(outPanels * PANEL);
    this.top = take(hidden);
    const { floats, multiply, name } = makeKernel(size, plain);
    Object.assign(this, { floats, multiply, kernel: name, step: CELLS[cell] });

    const pack = (at, matrix, height, width) => {
      for (let r = 0; r < height; r++) {
        const start = at + (r - (r % PANEL)) * width + (r % PANEL);
        for (let k = 0; k < width; k++) floats[start + k * PANEL] = matrix[r * width + k];
      }
    };
    floats.set(tensors.embedding, this.table);
    places.forEach((place, l) => {
      pack(place.wIh, tensors[`w_ih_l${l}`], rows, place.input);
      pack(place.wHh, tensors[`w_hh_l${l}`], rows, hidden);
      place.bias = tensors[`bias_l${l}`];
      place.bHn = tensors[`b_hn_l${l}`];
    });
    pack(this.out, tensors.out_w, tokens.length, hidden);
    this.outBias = tensors.out_b;
    this.first = this.start(facts.start);
  }

  // What is expected of the first character: what follows the character that a text begins after,
  // which is not read itself.
  start(id) {
    const [states, score] = [this.zeros(1), new Float64Array(1)];
    this.first = new Float64Array(this.vocab);
    this.read([id], 0, 1, states, score);
    return this.distribution(states.at(-1).h);
  }

  // Room for the states of so many characters.
  zeros(characters) {
    const array = () => new Float32Array(characters * this.hidden);
    return this.places.map(() => (this.hasC ? { h: array(), c: array() } : { h: array() }));
  }

  // Reads ids[from .. from + count] and writes the states after each into `states`, one array
  // [characters, H] for each h and c; `score` gets each id's log-probability.
  read(ids, from, count, states, score) {
    const { floats, hidden, panels, rows } = this;
    const width = panels * PANEL;
    const last = this.places[this.layers - 1];
    this.places.forEach((place, l) => {
      const { h, c } = states[l];
      for (const [row, all] of [[place.h, h], [place.c, c]]) {
        if (!all) continue;
        if (from === 0) floats.fill(0, row, row + hidden);
        else floats.set(all.subarray((from - 1) * hidden, from * hidden), row);
      }
      for (let t = 0; t < count; t++) {
        const z = this.z + t * width;
        floats.set(place.bias, z);
        floats.fill(0, z + rows, z + width);
        const x = l ? this.places[l - 1].h + (t + 1) * hidden : this.table + ids[from + t] * this.embedding;
        this.multiply(place.wIh, x, z, panels, place.input);
      }
      for (let t = 0; t < count; t++) {
        const before = place.h + t * hidden;
        floats.fill(0, this.recurrent, this.recurrent + width);
        if (place.bHn) floats.set(place.bHn, this.recurrent + 2 * hidden);
        this.multiply(place.wHh, before, this.recurrent, panels, hidden);
        const c = place.c + t * hidden;
        this.step(this, this.z + t * width, this.recurrent, before, before + hidden, c, c + hidden);
      }
      h.set(floats.subarray(place.h + hidden, place.h + (count + 1) * hidden), from * hidden);
      if (c) c.set(floats.subarray(place.c + hidden, place.c + (count + 1) * hidden), from * hidden);
    });
    for (let t = 0; t < count; t++) {
      const expected = from + t ? this.logProbs(last.h + t * hidden) : this.first;
      score[from + t] = expected[ids[from + t]];
    }
  }

  // The log-probability of every next character where the last layer's h is `state`.
  distribution(state) {
    this.floats.set(state, this.top);
    return this.logProbs(this.top);
  }

  logProbs(h) {
    const { floats, scores, vocab, outPanels } = this;
    floats.set(this.outBias, scores);
    floats.fill(0, scores + vocab, scores + outPanels * PANEL);
    this.multiply(this.out, h, scores, outPanels, this.hidden);
    let largest = -Infinity;
    for (let v = 0; v < vocab; v++) largest = Math.max(largest, floats[scores + v]);
    let sum = 0;
    for (let v = 0; v < vocab; v++) sum += Math.exp(floats[scores + v] - largest);
    const log = largest + Math.log(sum);
    return Float64Array.from({ length: vocab }, (_, v) => floats[scores + v] - log);
  }
}
