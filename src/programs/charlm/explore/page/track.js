// What the model made of a text: the states after each character, and how likely each was.
class Track {
  constructor(model) {
    this.model = model;
    this.ids = [];
    this.done = 0; // characters read
    this.room = 0;
    this.states = Array.from({ length: model.layers }, () => ({}));
    this.score = new Float64Array(0); // log-probabilities
    this.grow(1024);
  }

  grow(characters) {
    if (characters <= this.room) return;
    this.room = Math.max(characters, 2 * this.room);
    const kept = (array, n) => {
      const larger = new array.constructor(n);
      larger.set(array);
      return larger;
    };
    for (const state of this.states) {
      for (const name of this.model.hasC ? ["h", "c"] : ["h"]) {
        state[name] = kept(state[name] ?? new Float32Array(0), this.room * this.model.hidden);
      }
    }
    this.score = kept(this.score, this.room);
  }

  // Another text. What it begins with, and was read before, is kept.
  set(ids) {
    let same = 0;
    const most = Math.min(this.done, ids.length);
    while (same < most && ids[same] === this.ids[same]) same++;
    this.ids = ids;
    this.done = same;
    this.grow(ids.length);
    return same;
  }

  push(id) {
    this.ids.push(id);
    this.grow(this.ids.length);
    this.advance();
  }

  // Reads a few more characters.
  advance() {
    const count = Math.min(STRETCH, this.ids.length - this.done);
    this.model.read(this.ids, this.done, count, this.states, this.score);
    this.done += count;
  }

  // The value of a unit after the character at `place`.
  value({ layer, name, unit }, place) {
    return this.states[layer][name][place * this.model.hidden + unit];
  }

  // The log-probabilities of what follows the character at `place`.
  after(place) {
    const { hidden, layers } = this.model;
    return this.model.distribution(this.states[layers - 1].h.subarray(place * hidden, (place + 1) * hidden));
  }
}
