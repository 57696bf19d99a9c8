// What the page does beyond showing: scale and smoothing, values under the pointer and for the
// keyboard, and following a run under way. The page says the same without it.
document.documentElement.classList.add("js");

// ---- settings ----------------------------------------------------------------------------------

// They outlive a reload in the history's state, which no other page sees.
const before = history.state ?? {};
const settings = { log: before.log ?? false, weight: before.weight ?? 0, follow: before.follow ?? true };
const live = document.querySelector(".live");
const folds = [...document.querySelectorAll("details")];
const charts = [];
const spoken = document.createElement("p");
spoken.className = "spoken";
spoken.setAttribute("role", "status");
document.body.append(spoken);

// What a fold is called, without the count behind it.
const nameOf = (fold) => fold.querySelector("summary").firstChild.textContent;

function keep(more) {
  const open = Object.fromEntries(folds.map((fold) => [nameOf(fold), fold.open]));
  history.replaceState({ ...settings, open, ...more }, "");
}

// A control with its label; `use` is told each of its values.
function control(bar, type, text, name, attributes, use) {
  const label = document.createElement("label");
  const input = Object.assign(document.createElement("input"), { type, name, ...attributes });
  input.addEventListener("input", () => {
    use(input);
    keep();
  });
  label.append(...(type === "range" ? [text, input] : [input, text]));
  bar.append(label);
  return label;
}

function addControls() {
  const bar = document.createElement("div");
  bar.className = "controls";
  bar.setAttribute("role", "group");
  bar.setAttribute("aria-label", "Charts");
  control(bar, "checkbox", "logarithmic scale", "log", { checked: settings.log }, (input) => {
    settings.log = input.checked;
    charts.forEach((chart) => chart.draw());
  });
  const range = { min: 0, max: 0.99, step: 0.01, value: settings.weight };
  const shown = document.createElement("output");
  shown.value = settings.weight.toFixed(2);
  const slider = control(bar, "range", "smoothing of steps", "weight", range, (input) => {
    settings.weight = Number(input.value);
    shown.value = settings.weight.toFixed(2);
    charts.forEach((chart) => chart.draw());
  });
  slider.append(shown);
  if (live)
    control(bar, "checkbox", "follow the run", "follow", { checked: settings.follow }, (input) => {
      settings.follow = input.checked;
    });
  const hint = document.createElement("span");
  hint.id = "keys";
  hint.textContent = "Arrow keys read the values of a chart in focus.";
  bar.append(hint);
  charts[0].figure.before(bar);
}

// ---- values ------------------------------------------------------------------------------------

// The place in a sorted list of what is nearest.
function nearest(count, at, wanted) {
  let [low, high] = [0, count - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (at(middle) < wanted) low = middle;
    else high = middle;
  }
  return wanted - at(low) < at(high) - wanted ? low : high;
}

class Chart {
  constructor(figure, svg, data) {
    Object.assign(this, { figure, svg, data, cursor: null, stop: null });
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    figure.append(this.tip);
    svg.setAttribute("tabindex", 0);
    svg.setAttribute("role", "application");
    svg.setAttribute("aria-roledescription", "chart");
    svg.setAttribute("aria-describedby", "keys");
    const point = (event) => this.point(event.clientX);
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", () => this.hide());
    svg.addEventListener("blur", () => this.hide());
    svg.addEventListener("keydown", (event) => this.key(event));
    const resized = () => this.width !== this.room() && this.draw();
    new ResizeObserver(() => requestAnimationFrame(resized)).observe(figure);
    this.draw();
  }

  room() {
    return this.svg.getBoundingClientRect().width;
  }

  // Draws it, unless it is folded away.
  draw() {
    this.width = this.room();
    if (!this.width) return;
    this.hide();
    this.drawn = drawChart(this.svg, this.data, this.width, settings);
    this.lines = this.drawn.lines.filter((line) => line.values.length);
    const all = new Set(this.lines.flatMap((line) => line.values.map((p) => p.x)));
    this.stops = [...all].sort((a, b) => a - b);
  }

  point(clientX) {
    const wanted = clientX - this.svg.getBoundingClientRect().left;
    if (this.stops?.length)
      this.show(nearest(this.stops.length, (i) => this.drawn.px(this.stops[i]), wanted));
  }

  key(event) {
    const last = (this.stops?.length ?? 0) - 1;
    const far = Math.max(Math.round(last / 10), 1);
    const at = this.stop ?? last + 1;
    const to = {
      ArrowLeft: at - 1,
      ArrowRight: this.stop === null ? 0 : at + 1,
      PageDown: at - far,
      PageUp: at + far,
      Home: 0,
      End: last,
    }[event.key];
    if (event.key === "Escape") this.hide();
    if (to === undefined || last < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.show(Math.min(Math.max(to, 0), last));
    spoken.textContent = [...this.tip.children].map((row) => row.textContent).join("; ");
  }

  // The values at one of the places that have any.
  show(stop) {
    this.stop = stop;
    const [x, count] = [this.stops[stop], (x) => x.toLocaleString("en")];
    const d = `M${this.drawn.px(x)} ${this.drawn.top}V${this.drawn.bottom}`;
    this.cursor?.remove();
    this.cursor = add(this.svg, "path", { class: "cursor", d });
    const head = document.createElement("b");
    head.textContent = `${this.data.x} ${count(x)}`;
    const rows = this.lines.map(({ name, colour, values }) => {
      const at = values[nearest(values.length, (i) => values[i].x, x)];
      const row = document.createElement("div");
      const dot = document.createElement("i");
      dot.className = `c${colour}`;
      const other = at.x === x ? "" : ` (${this.data.x} ${count(at.x)})`;
      row.append(dot, `${name}: ${valueText(at.y, this.data.unit)}${other}`);
      return row;
    });
    this.tip.replaceChildren(head, ...rows);
    this.tip.hidden = false;
    const [box, home] = [this.svg, this.figure].map((e) => e.getBoundingClientRect());
    const cursor = box.left - home.left + this.drawn.px(x);
    const room = this.figure.clientWidth - this.tip.offsetWidth - 4;
    const beside = cursor + 14 > room ? cursor - this.tip.offsetWidth - 14 : cursor + 14;
    this.tip.style.left = `${Math.max(Math.min(beside, room), 4)}px`;
    // One that would hide the lines stands under them.
    const top = this.tip.offsetWidth > this.width / 2 ? box.height : this.drawn.top + 6;
    this.tip.style.top = `${box.top - home.top + top}px`;
  }

  hide() {
    this.tip.hidden = true;
    this.cursor?.remove();
    this.stop = null;
  }
}

// ---- a run under way ---------------------------------------------------------------------------

const focusable = () => [...document.querySelectorAll("input, summary, figure > svg")];

// Reads the page again, unless somebody reads it just now. The longer nothing has been drawn, the rarer
// it does: a process that was killed cannot say that the run has ended.
function follow() {
  const drawn = live.dataset.drawn * 1000;
  const every = live.dataset.every * 1000;
  live.textContent += ` Drawn at ${new Date(drawn).toLocaleTimeString()}.`;
  const look = () => {
    const isRead = charts.some((chart) => !chart.tip.hidden) || !getSelection().isCollapsed;
    if (settings.follow && !isRead && !document.hidden && !document.querySelector(":active")) {
      keep({ y: scrollY, focus: focusable().indexOf(document.activeElement) });
      location.reload();
    } else setTimeout(look, every);
  };
  // A browser keeps a delay in 32 bits; a longer one would be none.
  setTimeout(look, Math.min(Math.max(every, (Date.now() - drawn) / 10), 2 ** 31 - 1));
}

// ---- the page ----------------------------------------------------------------------------------

for (const fold of folds) {
  fold.open = before.open?.[nameOf(fold)] ?? fold.open;
  fold.addEventListener("toggle", () => keep());
}
for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector(":scope > svg");
  const source = figure.querySelector(":scope > script");
  if (svg && source) charts.push(new Chart(figure, svg, JSON.parse(source.textContent)));
}
if (charts.length) addControls();
if (before.y !== undefined) {
  focusable()[before.focus]?.focus({ preventScroll: true });
  scrollTo(0, before.y);
  keep();
}
if (live) follow();
