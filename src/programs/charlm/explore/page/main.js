// The page: reads text as it is typed, has the model run through it in slices, writes more.

const byId = (id) => document.getElementById(id);
// Lets the browser draw and take input.
const pause = () =>
  new Promise((done) => {
    const channel = new MessageChannel();
    channel.port1.onmessage = done;
    channel.port2.postMessage(0);
  });
const frame = () => new Promise(requestAnimationFrame);
// Milliseconds that the model runs before the page has its turn.
const SLICE = 12;
// Characters written in a frame.
const WRITTEN = 2;

class Explorer {
  constructor(facts) {
    this.facts = facts;
    this.alphabet = new Alphabet(facts);
    this.detail = new Detail(byId("detail"), this.alphabet);
    this.view = new View(byId("back"));
    this.text = byId("text");
    this.reading = this.alphabet.read("");
    this.unit = null;
    this.here = -1; // the character of the cursor
    this.speed = "";
    this.text.maxLength = facts.bytes ? Math.floor(facts.limit / 3) : facts.limit;
    this.text.value = this.alphabet.normal(facts.text);
    this.reread();
  }

  // Once the page stands: the weights.
  async begin() {
    const { facts } = this;
    this.tensors = readTensors(byId("weights").textContent, facts.tensors);
    this.model = new Model(facts, this.tensors);
    this.track = new Track(this.model, facts.limit);
    this.prepare();
    this.listen();
    this.reread();
    await this.work();
  }

  prepare() {
    const names = this.model.hasC ? ["h", "c"] : ["h"];
    const states = this.track.states.flatMap((_, layer) => names.map((name) => ({ value: `${layer}.${name}`, textContent: `layer ${layer + 1}, ${name}` })));
    const options = (list) => list.map((one) => make("option", one));
    byId("state").replaceChildren(...options([{ value: "", textContent: "surprise" }, ...states]));
    byId("heat-state").replaceChildren(...options(states));
    byId("heat-state").value = states.at(-1).value;
    byId("heat-order").replaceChildren(...options([{ value: "", textContent: "number" }, ...PROPERTIES.map(({ key, name }) => ({ value: key, textContent: name }))]));
    for (const id of ["unit", "unit-range"]) byId(id).max = this.model.hidden - 1;
    this.found = new Found(byId("found"), this.model.layers, this.facts.found, (unit, property) => {
      this.choose(unit);
      if (this.found.result) this.layers.set(this.found.best(property));
    });
    this.layers = new Layers(byId("layers"), this.model, names);
    this.heat = new Heat(byId("heat"), (unit, here) => {
      const [layer, name] = byId("heat-state").value.split(".");
      this.choose({ layer: Number(layer), name, unit });
      this.point(here);
    });
    this.heat.said = (words) => (byId("heat-said").textContent = words);
    this.choose(null);
  }

  // ---- text ------------------------------------------------------------------------------

  // The text is another: what it begins with as before is not read again.
  reread() {
    const before = this.reading.chars;
    const reading = this.alphabet.read(this.text.value);
    let same = 0;
    while (same < before.length && before[same] === reading.chars[same]) same++;
    this.reading = reading;
    this.view.show(reading, 0, reading.chars.length, same);
    if (!this.track) return;
    this.track.set(reading.ids);
    this.revision = (this.revision ?? 0) + 1;
    this.here = Math.min(this.here, reading.chars.length - 1);
    this.work();
  }

  // Runs the model through what is not read yet.
  work() {
    this.working ??= this.run().finally(() => (this.working = null));
    return this.working;
  }

  async run() {
    const { track } = this;
    let [spent, read] = [0, 0];
    let painted = performance.now();
    while (track.done < track.ids.length) {
      const from = performance.now();
      while (track.done < track.ids.length && performance.now() - from < SLICE) {
        const before = track.done;
        track.advance();
        read += track.done - before;
      }
      const now = performance.now();
      spent += now - from;
      if (now - painted > 150) {
        this.paint();
        painted = performance.now();
      }
      await pause();
    }
    if (read > 200) this.speed = ` · ${thousands(Math.round((1000 * read) / spent))} characters a second (${this.model.kernel})`;
    this.paint();
    this.settle();
  }

  // What is worth its time only when nothing more comes.
  settle() {
    clearTimeout(this.later);
    const { revision } = this;
    this.later = setTimeout(async () => {
      this.layers.show(this.track, this.reading, this.here);
      const goesOn = async () => (await pause(), this.revision === revision && !this.isWriting);
      const result = await scoreUnits(this.track, this.reading, goesOn);
      if (!result) return;
      const isFirst = !this.found.result;
      this.found.show(result, this.unit);
      const held = this.facts.found ? " Scores on held-out text are those of rnnx study." : "";
      byId("found-note").textContent = `For each property of Python text and each layer the unit that follows it best, over the ${thousands(result.characters)} characters ${result.characters < this.reading.chars.length ? "at the beginning of the text" : "above"}: the best of ${thousands(this.model.hidden * result.scores.depth.length / this.model.layers)} each, so on a short text some by chance. A click colours the text by it.${held}`;
      if (isFirst) this.layers.set(this.found.best());
      this.drawHeat();
    }, 250);
  }

  // ---- colours ---------------------------------------------------------------------------

  // Colours by a unit, or with none by surprise.
  choose(unit) {
    this.unit = unit;
    byId("state").value = unit ? `${unit.layer}.${unit.name}` : "";
    byId("unit-label").hidden = byId("unit-range").hidden = !unit;
    if (unit) byId("unit").value = byId("unit-range").value = unit.unit;
    this.found.mark(unit);
    this.paint();
  }

  paint() {
    this.colouring = new Colouring(this.track, this.reading, this.unit);
    this.colouring.scale();
    this.view.paint(this.colouring);
    const { most } = this.colouring;
    const bar = make("i", { className: this.unit ? "value" : "surprise" });
    const [low, high] = this.unit ? [signed(-most, 2), signed(most, 2)] : ["0", `${MOST_BITS} bits or more`];
    byId("scale").replaceChildren(low, bar, high);
    this.tell();
    this.point(this.here);
  }

  tell() {
    const { reading, track } = this;
    const n = reading.chars.length;
    const parts = [track.done < track.ids.length ? `${thousands(track.done)} of ${thousands(track.ids.length)} read` : `${thousands(n)} characters`];
    if (reading.odd) parts.push(`${thousands(reading.odd)} not in the vocabulary, read as ${this.alphabet.tokens[this.alphabet.unknown] ?? "what the model has of them"}`);
    if (reading.skipped) parts.push(`${thousands(reading.skipped)} not in the vocabulary, not read`);
    let bits = 0;
    for (let t = 0; t < track.done; t++) bits -= track.score[t] / Math.LN2;
    if (track.done) parts.push(`${(bits / track.done).toFixed(3)} bits a ${this.facts.bytes ? "byte" : "character"}`);
    if (this.text.value.length >= this.text.maxLength) parts.push("the page holds no more");
    byId("status").textContent = parts.join(" · ") + this.speed;
  }

  // Shows what is known of a character; -1 is none.
  point(here) {
    this.here = here;
    this.look(here);
    this.layers.point(here);
  }

  look(i) {
    this.view.point(i);
    this.detail.show(this.track, this.reading, this.colouring, i);
  }

  drawHeat() {
    const [layer, name] = byId("heat-state").value.split(".");
    const key = byId("heat-order").value;
    const order = Array.from({ length: this.model.hidden }, (_, unit) => unit);
    const scored = this.found.result?.scores[key]?.find((one) => one.layer === Number(layer) && one.name === name);
    if (scored) {
      const { measure } = PROPERTIES.find((property) => property.key === key);
      const rank = order.map((unit) => strength(measure, scored.score[unit]) || 0);
      order.sort((a, b) => rank[b] - rank[a] || a - b);
    }
    const [start, end] = around(this.reading.chars, this.here, MOST_COLUMNS);
    this.heat.draw(this.track, this.colouring, { layer: Number(layer), name }, order, start, end);
  }

  // ---- writing ---------------------------------------------------------------------------

  // Writes behind the text, a few characters a frame, until it is long enough or told to stop.
  async write() {
    if (this.isWriting) return void (this.isWriting = false);
    const { alphabet, track, view, text } = this;
    this.isWriting = true;
    this.revision++;
    text.readOnly = true;
    byId("generate").textContent = "Stop";
    if (!this.reading.ids.length) {
      text.value += this.facts.tokens[this.facts.start]; // a text begins after it, as in rnnx generate
      this.reread();
    }
    await this.work();
    this.undone = text.value.length;
    const begun = this.reading.chars.length;
    const decoder = new TextDecoder();
    let ids = []; // drawn, but not a whole character yet
    for (let left = within(byId("length")); left > 0 && this.isWriting && text.value.length < text.maxLength; ) {
      let written = "";
      for (let k = 0; k < WRITTEN && left > 0; k++, left--) {
        const id = draw(track.after(track.done - 1), Number(byId("temperature").value), this.facts.unknown, Math.random());
        track.push(id);
        ids.push(id);
        for (const char of decoder.decode(alphabet.write(id), { stream: true })) {
          alphabet.add(this.reading, char, text.value.length + written.length, ids);
          written += char;
          ids = [];
        }
      }
      view.extend(this.reading, this.reading.chars.length);
      text.value += written;
      view.markNew(begun);
      this.here = this.reading.chars.length - 1;
      this.paint();
      byId("sheet").scrollTop = byId("sheet").scrollHeight;
      await frame();
    }
    this.isWriting = text.readOnly = false;
    byId("generate").textContent = "Generate";
    byId("undo").hidden = false;
    this.reread(); // bytes that are no text are now what the page shows for them
    this.layers.show(track, this.reading, this.here);
  }

  // ---- input -----------------------------------------------------------------------------

  listen() {
    const on = (id, event, react) => byId(id).addEventListener(event, react);
    on("text", "input", (event) => {
      const normal = this.alphabet.normal(this.text.value);
      if (!event.isComposing && normal !== this.text.value) this.text.value = normal;
      byId("undo").hidden = true;
      this.view.markNew();
      this.reread();
      this.followCursor();
    });
    on("text", "keyup", () => this.followCursor());
    on("text", "click", (event) => {
      const i = View.under(event.clientX, event.clientY);
      if (i >= 0) this.point(i);
      else this.followCursor();
    });
    on("text", "pointermove", (event) => {
      const i = View.under(event.clientX, event.clientY);
      if (event.pointerType === "mouse" && i >= 0) this.look(i);
    });
    on("text", "pointerleave", () => this.look(this.here));
    on("state", "input", () => {
      const [layer, name] = byId("state").value.split(".");
      this.choose(name ? { layer: Number(layer), name, unit: within(byId("unit")) } : null);
    });
    for (const id of ["unit", "unit-range"]) on(id, "input", () => byId(id).value !== "" && this.choose({ ...this.unit, unit: within(byId(id)) }));
    on("temperature", "input", () => (byId("temperature-shown").textContent = Number(byId("temperature").value).toFixed(2)));
    on("generate", "click", () => this.write());
    on("undo", "click", () => {
      this.text.value = this.text.value.slice(0, this.undone);
      byId("undo").hidden = true;
      this.reread();
    });
    on("layers", "click", (event) => {
      const i = View.under(event.clientX, event.clientY);
      if (i >= 0) this.point(i);
    });
    for (const id of ["heat-state", "heat-order"]) on(id, "input", () => this.drawHeat());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.drawHeat());
    // On a phone a tap shows a character; the keyboard comes when it is asked for.
    const isPhone = matchMedia("(pointer: coarse)").matches;
    if (isPhone) this.text.inputMode = "none";
    on("keyboard", "click", () => {
      const isOn = this.text.inputMode === "none";
      this.text.inputMode = isOn ? "text" : "none";
      byId("keyboard").ariaPressed = String(isOn);
      this.text.blur();
      if (isOn) this.text.focus({ preventScroll: true });
    });
  }

  // The character before the cursor was read last.
  followCursor() {
    const { at } = this.reading;
    const cursor = this.text.selectionStart;
    let i = at.length - 1;
    while (i > 0 && at[i] >= cursor) i--;
    this.point(i);
  }
}

for (const [kind, colour] of [["n", "--low"], ["p", "--high"], ["s", "--hot"]]) {
  for (let step = 1; step <= STEPS; step++) {
    const share = Math.round((62 * step) / STEPS);
    document.styleSheets[0].insertRule(`.text .${kind}${step} { background: color-mix(in srgb, var(${colour}) ${share}%, transparent); }`);
  }
}
// For the console and the tests: the model, the text's track, the tensors, and what they are made by.
const explorer = (window.explorer = new Explorer(JSON.parse(byId("facts").textContent)));
explorer.parts = { Model, Track, lex, correlations, areas, draw };
explorer.ready = frame().then(pause).then(() => explorer.begin());
explorer.ready.catch((error) => {
  byId("status").textContent = `The model cannot run here: ${error.message}`;
  throw error;
});
