// The parts of the page below the text: found units, layers side by side, the heat map.

// The most characters that a layer's column shows.
const MOST_BESIDE = 1500;

// A stretch of at most `most` characters around `here` that begins with a line, where one begins
// soon enough.
function around(chars, here, most) {
  if (chars.length <= most) return [0, chars.length];
  const earliest = Math.max(0, Math.min(here - Math.floor(most / 2), chars.length - most));
  const newline = chars.indexOf("\n", earliest);
  const start = earliest > 0 && newline >= 0 && newline < here ? newline + 1 : earliest;
  return [start, Math.min(chars.length, start + most)];
}

// The table of found units. `pick` gets the unit and the property of a click.
class Found {
  constructor(table, layers, heldOut, pick) {
    Object.assign(this, { table, layers, heldOut, pick, result: null });
  }

  show(result, shown) {
    this.result = result;
    const layers = Array.from({ length: this.layers }, (_, layer) => layer);
    const titles = ["Property", ...layers.map((layer) => `Layer ${layer + 1}`), ...(this.heldOut ? ["On held-out text"] : [])];
    const head = make("thead", {}, [make("tr", {}, titles.map((textContent) => make("th", { textContent, scope: "col" })))]);
    const rows = PROPERTIES.map((property) => {
      const units = layers.map((layer) => bestOf(result.scores, property, layer));
      const cells = units.map((unit) => make("td", {}, unit ? this.button(unit, property, shown) : ["–"]));
      if (this.heldOut) {
        const unit = this.heldOut[property.key];
        cells.push(make("td", {}, unit ? this.button(unit, property, shown, `layer ${unit.layer + 1}, `) : ["–"]));
      }
      return make("tr", {}, [make("th", { textContent: property.name, scope: "row" }), ...cells]);
    });
    this.table.replaceChildren(head, make("tbody", {}, rows));
  }

  button(unit, property, shown, before = "") {
    const isShown = shown && ["layer", "name", "unit"].every((key) => shown[key] === unit[key]);
    const button = make("button", { type: "button", textContent: `${before}${unit.name} ${unit.unit}`, title: unitName(unit), ariaPressed: String(Boolean(isShown)) });
    button.addEventListener("click", () => this.pick(unit, property));
    button.dataset.unit = unitName(unit);
    return [button, " ", make("small", { textContent: showScore(property.measure, unit.score) })];
  }

  mark(shown) {
    for (const button of this.table.querySelectorAll("button")) button.ariaPressed = String(Boolean(shown) && button.dataset.unit === unitName(shown));
  }

  // The best unit of each layer, for what the text has most of: the first property that it has.
  best(property) {
    const of = (one) => Array.from({ length: this.layers }, (_, layer) => bestOf(this.result.scores, one, layer));
    return property ? of(property) : (PROPERTIES.map(of).find((units) => units.some(Boolean)) ?? []);
  }
}

// One column a layer, each with a unit of its own.
class Layers {
  constructor(root, { layers, hidden }, names) {
    this.columns = Array.from({ length: layers }, (_, layer) => {
      const state = make("select", {}, names.map((name) => make("option", { value: name, textContent: name })));
      const number = make("input", { type: "number", min: 0, max: hidden - 1, value: 0 });
      state.setAttribute("aria-label", `State of layer ${layer + 1}`);
      number.setAttribute("aria-label", `Unit of layer ${layer + 1}`);
      const text = make("div", { className: "text", tabIndex: 0 });
      text.setAttribute("role", "group");
      text.setAttribute("aria-label", `The text coloured by layer ${layer + 1}`);
      root.append(make("article", { className: "card" }, [make("div", { className: "controls" }, [make("h3", { textContent: `Layer ${layer + 1}` }), state, number]), text]));
      const column = { view: new View(text), state, number };
      for (const control of [state, number]) control.addEventListener("input", () => this.paint());
      column.unit = () => ({ layer, name: state.value, unit: within(number) });
      return column;
    });
    if (names.includes("c")) for (const { state } of this.columns) state.value = "c";
  }

  set(units) {
    units.forEach((unit, layer) => {
      if (!unit) return;
      this.columns[layer].state.value = unit.name;
      this.columns[layer].number.value = unit.unit;
    });
    this.paint();
  }

  show(track, reading, here) {
    Object.assign(this, { track, reading });
    const [start, end] = around(reading.chars, here, MOST_BESIDE);
    for (const { view } of this.columns) view.show(reading, start, end);
    this.paint();
  }

  paint() {
    for (const { view, unit } of this.columns) {
      if (!this.track) return;
      const colouring = new Colouring(this.track, this.reading, unit());
      colouring.scale();
      view.paint(colouring);
    }
  }

  point(here) {
    const { view } = this.columns[0];
    const isShown = here >= view.start && here < view.start + view.spans.length;
    if (!isShown && this.track && here >= 0) this.show(this.track, this.reading, here);
    for (const { view } of this.columns) view.point(here);
  }
}

// The whole number in a field, within its bounds.
function within(field) {
  const n = Math.round(Number(field.value)) || 0;
  return Math.max(Number(field.min), Math.min(Number(field.max), n));
}
