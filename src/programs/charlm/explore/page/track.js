// What the model made of a text: the states after each character, and how likely each was.
class Track {
  constructor(model, limit) {
    this.model = model;
    this.limit = limit; // the most characters
    this.ids = [];
    this.done = 0; // characters read
    this.room = Math.min(1024, limit);
    this.states = model.zeros(this.room);
    this.score = new Float64Array(this.room); // log-probabilities
  }

  grow(characters) {
    if (characters <= this.room) return;
    this.room = Math.max(characters, Math.min(2 * this.room, this.limit));
    const { states, score } = this;
    this.states = this.model.zeros(this.room);
    this.states.forEach((state, l) => Object.keys(state).forEach((name) => state[name].set(states[l][name])));
    this.score = new Float64Array(this.room);
    this.score.set(score);
  }

  // Another text. What it begins with, and was read before, is kept.
  set(ids) {
    let same = 0;
    const most = Math.min(this.done, ids.length);
    while (same < most && ids[same] === this.ids[same]) same++;
    this.ids = ids.slice();
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
