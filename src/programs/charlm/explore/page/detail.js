// What is known of one character: how likely it was, the unit's value after it, what the model
// expects next.
class Detail {
  constructor(root, alphabet) {
    this.root = root;
    this.alphabet = alphabet;
  }

  say(text) {
    this.root.replaceChildren(make("p", { className: "note", textContent: text }));
  }

  show(track, reading, colouring, i) {
    const char = reading.chars[i];
    if (char === undefined) return this.say("Point at a character, tap it, or move the cursor to it.");
    const before = reading.chars.slice(0, i);
    const line = before.filter((c) => c === "\n").length + 1;
    const column = i - (before.lastIndexOf("\n") + 1) + 1;
    const place = colouring.place(i);
    const rows = [["Place", `line ${line}, column ${column}`]];
    if (reading.isOdd[i]) rows.push(["Not in the vocabulary", place < 0 ? "the model does not read it" : `read as ${this.alphabet.tokens[this.alphabet.unknown] ?? "what it has of it"}`]);
    const bits = place < 0 ? 0 : colouring.bits(i);
    if (place >= 0) rows.push(["Surprise", `${bits.toFixed(2)} bits, p = ${percent(2 ** -bits)}`]);
    const { unit } = colouring;
    if (unit && place >= 0) rows.push([unitName(unit), signed(track.value(unit, place))]);
    const list = make("dl", {}, rows.map(([name, value]) => make("div", {}, [make("dt", { textContent: name }), make("dd", { textContent: value })])));
    const head = make("h2", {}, [make("code", { textContent: nameOf(char) }), ` character ${thousands(i + 1)} of ${thousands(reading.chars.length)}`]);
    const parts = [head, list];
    if (place >= 0) parts.push(make("h3", { textContent: "Next, after it" }), this.expected(track.after(place)));
    this.root.replaceChildren(...parts);
  }

  // The five likeliest.
  expected(logProbs) {
    const items = likeliest(logProbs, 5).map((id) => {
      const p = Math.exp(logProbs[id]);
      const bar = make("i", {});
      bar.style.width = `${100 * p}%`;
      return make("li", {}, [make("code", { textContent: this.alphabet.name(id) }), make("span", {}, [bar]), make("b", { textContent: percent(p) })]);
    });
    return make("ol", {}, items);
  }
}

// An element with these properties and children.
function make(name, properties, children = []) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

const percent = (p) => `${(100 * p).toFixed(p < 0.001 ? 3 : 1)} %`;
const thousands = (n) => n.toLocaleString("en");
const unitName = ({ layer, name, unit }) => `Layer ${layer + 1}, ${name} ${unit}`;
