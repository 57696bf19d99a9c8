// Draws the charts anew from their numbers: as wide as there is room, linear or logarithmic, smoothed.
// Without it they stay as they are in the page.

// ---- numbers -----------------------------------------------------------------------------------

// Round numbers, about `count` steps apart, that enclose `low` to `high`.
function ticksOf(low, high, count) {
  const pad = high > low ? 0 : Math.max(Math.abs(low) * 0.1, 1e-12);
  const raw = (high - low + 2 * pad) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw) ?? 10 * power;
  const first = Math.floor((low - pad) / step + 1e-9);
  const last = Math.ceil((high + pad) / step - 1e-9);
  return Array.from({ length: Math.max(last - first, 1) + 1 }, (_, i) => (first + i) * step);
}

// Powers of ten between `low` and `high`, with 2 and 5 times these where there is room.
function logTicksOf(low, high, count) {
  const marks = (factors) => {
    const found = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++)
      for (const m of factors) found.push(Number(`${m}e${e}`));
    return found.filter((t) => t >= low && t <= high);
  };
  const some = marks([1, 2, 5]);
  if (some.length > 2 * count) return marks([1]);
  if (some.length > 2) return some;
  return ticksOf(low, high, count).filter((t) => t >= low && t <= high);
}

const exponential = (y, digits) => y.toExponential(digits).replace("e+", "e");

// A tick's text, with as many decimals as `step` needs.
function tickText(y, step, unit) {
  const decimals = (s) => Math.min(Math.max(-Math.floor(Math.log10(s * 1.0001)), 0), 9);
  const size = Math.abs(y);
  if (unit === "percent") return `${(y * 100).toFixed(decimals(step * 100))} %`;
  if (unit === "short" && (step >= 1e6 || (size >= 1e6 && step >= 1e5)))
    return `${(y / 1e6).toFixed(decimals(step / 1e6))}M`;
  if (unit === "short" && step >= 100 && size >= 1e3)
    return `${(y / 1e3).toFixed(decimals(step / 1e3))}k`;
  if (unit === "plain" && size > 0 && step < 1e-3) {
    const digits = decimals(step) + Math.floor(Math.log10(size));
    return exponential(y, Math.min(Math.max(digits, 0), 6));
  }
  return (y + 0).toFixed(decimals(step));
}

// A value with the digits that one reads.
function valueText(y, unit) {
  const size = Math.abs(y);
  if (unit === "percent") return `${(y * 100).toFixed(2)} %`;
  if (unit === "short" && size >= 1e6) return `${(y / 1e6).toFixed(2)}M`;
  if (unit === "short" && size >= 1e4) return `${(y / 1e3).toFixed(1)}k`;
  if (unit === "short") return y.toFixed(0);
  if (y === 0) return "0";
  if (size >= 1e-2 && size < 1e5) return y.toFixed(4);
  const [digits, exponent] = exponential(y, 3).split("e");
  return `${Number(digits)}e${exponent}`;
}

// The exponential moving average with this weight on what was before, free of its start at zero.
function smoothed(ys, weight) {
  let [sum, all] = [0, 0];
  return ys.map((y) => {
    if (y === null) return null;
    sum = weight * sum + (1 - weight) * y;
    all = weight * all + (1 - weight);
    return sum / all;
  });
}

// ---- lines -------------------------------------------------------------------------------------

// The lines that are drawn: those of steps are smoothed, and lie pale behind what became of them.
function linesOf(data, { log, weight }) {
  const shown = (line, [x, y], more) => {
    const points = x.map((x, i) => ({ x, y: log && !(y[i] > 0) ? null : y[i] }));
    return { ...line, points, values: points.filter((p) => p.y !== null), ...more };
  };
  return data.lines.flatMap((line) => {
    const isSmoothed = weight > 0 && data.x === "step" && ["thin", "fine"].includes(line.stroke);
    if (!isSmoothed) return [shown(line, line.points)];
    const [x, y] = line.means ?? line.points;
    const name = `${line.name}, smoothed`;
    return [
      shown(line, line.points, { pale: true }),
      shown(line, [x, smoothed(y, weight)], { name, stroke: "fine" }),
    ];
  });
}

// ---- the picture -------------------------------------------------------------------------------

function add(parent, name, attributes, text = "") {
  const node = document.createElementNS(parent.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  parent.append(node);
  return node;
}

// Draws into the picture, and returns its lines and where they lie.
function drawChart(svg, data, width, settings) {
  const narrow = width < 560;
  const height = narrow ? Math.min(data.size[1], 270) : data.size[1];
  const log = settings.log && data.unit !== "percent";
  const lines = linesOf(data, { ...settings, log });
  const right = narrow ? null : data.right;
  const labels = narrow ? [] : lines.filter((line) => line.label).map((line) => line.label.length * 7.2 + 66);

  const frame = { left: 58, top: 10, width: width - 58 - (right ? 56 : 14), height: height - 52 };
  const reach = frame.width - Math.min(Math.max(8, ...labels), frame.width / 3);
  const xMax = Math.max(1, ...lines.map((line) => line.points.at(-1)?.x ?? 0));
  const ticks = ticksFor(data, lines, log, height / 55);
  const scale = log ? Math.log10 : (y) => y;
  const [low, high] = [ticks.low, ticks.high].map(scale);
  frame.bottom = frame.top + frame.height;
  frame.px = (x) => frame.left + (x / xMax) * reach;
  frame.py = (y) => frame.top + ((high - scale(y)) / (high - low)) * frame.height;

  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  drawAxes(svg, data, frame, ticks);
  const xTicks = ticksOf(0, xMax, Math.max(reach / (narrow ? 75 : 110), 2)).filter((x) => x <= xMax);
  drawXAxis(svg, data, frame, xTicks);
  if (right) drawRightAxis(svg, data, frame, log ? logTicksOf : ticksOf, ticks);
  for (const [x, text] of data.changes.filter(([x]) => x <= xMax)) {
    const d = `M${frame.px(x)} ${frame.top}v${frame.height}`;
    add(add(svg, "path", { class: "change", d }), "title", {}, text);
  }
  drawLines(svg, data, frame, lines);
  if (!narrow) drawEnds(svg, data, frame, lines);
  if (!lines.some((line) => line.values.length)) {
    const place = { x: frame.left + frame.width / 2, y: frame.top + frame.height / 2 };
    const why = data.range ? "no values above zero" : "no values";
    add(svg, "text", { class: "none", ...place }, why);
  }
  if (data.outside && !log) {
    add(svg, "text", { class: "note", x: frame.left + frame.width, y: height - 6 }, data.outside);
  }
  return { ...frame, lines };
}

// The ticks of y with their range.
function ticksFor(data, lines, log, count) {
  const values = log ? lines.flatMap((line) => line.values.map((p) => p.y)) : (data.range ?? []);
  if (!values.length) return { all: [], low: 1, high: 10 };
  const least = values.reduce((a, b) => Math.min(a, b));
  const most = values.reduce((a, b) => Math.max(a, b));
  if (!log) {
    const all = ticksOf(least, most, Math.max(count, 3));
    return { all, low: all[0], high: all.at(-1) };
  }
  const [low, high] = [least / 1.05, most * 1.05];
  return { all: logTicksOf(low, high, count), low, high };
}

// How far a tick is from the one beside it.
const stepAt = (ticks, i) => (ticks.length > 1 ? ticks[Math.max(i, 1)] - ticks[Math.max(i, 1) - 1] : 1);

function drawAxes(svg, data, frame, { all }) {
  const end = frame.left + frame.width;
  all.forEach((y, i) => {
    add(svg, "path", { class: "grid", d: `M${frame.left} ${frame.py(y)}H${end}` });
    const text = tickText(y, stepAt(all, i), data.unit);
    add(svg, "text", { class: "ty", x: frame.left - 8, y: frame.py(y) + 4 }, text);
  });
  const middle = frame.top + frame.height / 2;
  const place = `translate(13 ${middle}) rotate(-90)`;
  add(svg, "text", { class: "name", transform: place }, data.y);
}

function drawXAxis(svg, data, frame, ticks) {
  const { left, width, bottom, px } = frame;
  add(svg, "path", { class: "axis", d: `M${left} ${bottom}h${width}` });
  ticks.forEach((x, i) => {
    if (stepAt(ticks, i) < 1 && x % 1) return;
    add(svg, "path", { class: "axis", d: `M${px(x)} ${bottom}v5` });
    const text = tickText(x, stepAt(ticks, i), "short");
    add(svg, "text", { class: "tx", x: px(x), y: bottom + 18 }, text);
  });
  add(svg, "text", { class: "name", x: left + width / 2, y: bottom + 36 }, data.x);
}

// The second scale: the values of the first, divided by its factor.
function drawRightAxis(svg, data, frame, marks, { all, low, high }) {
  if (!all.length) return;
  const [label, factor] = data.right;
  const [x, middle] = [frame.left + frame.width, frame.top + frame.height / 2];
  add(svg, "path", { class: "axis", d: `M${x} ${frame.top}v${frame.height}` });
  const ticks = marks(low / factor, high / factor, Math.max(frame.height / 55, 3));
  ticks.forEach((y, i) => {
    if (y * factor < low || y * factor > high) return;
    add(svg, "path", { class: "axis", d: `M${x} ${frame.py(y * factor)}h5` });
    const text = tickText(y, stepAt(ticks, i), data.unit);
    add(svg, "text", { class: "tr", x: x + 9, y: frame.py(y * factor) + 4 }, text);
  });
  const place = `translate(${x + 49} ${middle}) rotate(90)`;
  add(svg, "text", { class: "name", transform: place }, label);
}

function drawLines(svg, data, frame, lines) {
  const { left, top, width, height, px, py } = frame;
  // An inner picture cuts off what leaves the scale.
  const box = { x: left, y: top - 2, width, height: height + 4 };
  const viewBox = `${box.x} ${box.y} ${box.width} ${box.height}`;
  const plot = add(svg, "svg", { ...box, viewBox });
  for (const line of lines) {
    let [d, begun] = ["", false];
    for (const { x, y } of line.points) {
      if (y !== null) d += `${begun ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`;
      begun = y !== null;
    }
    const look = `line c${line.colour} ${line.stroke}${line.dash}${line.pale ? " pale" : ""}`;
    if (d) add(plot, "path", { class: look, d });
    drawMarks(svg, data, frame, line);
  }
}

// Markers at epoch values, of many only at the last; and at a lone value that no line would show.
function drawMarks(svg, data, { px, py }, line) {
  const isOfEpochs = ["dashed", "bold"].includes(line.stroke);
  const { values } = line;
  const marked = values.length > 60 ? values.slice(-1) : values;
  if (!isOfEpochs && values.length > 1) return;
  for (const { x, y } of marked) {
    const place = `translate(${px(x).toFixed(1)} ${py(y).toFixed(1)})`;
    const look = { class: `c${line.colour} ${line.stroke}`, transform: place };
    if (line.mark) add(svg, "path", { ...look, class: `mark ${look.class}`, d: line.mark });
    else add(svg, "circle", { ...look, r: 3.2 });
  }
}

// Names and last values right of the lines' ends, pushed apart where they would overlap.
function drawEnds(svg, data, { top, bottom, px, py }, lines) {
  const ends = lines.filter((line) => line.label && line.values.length).map((line) => {
    const { x, y } = line.values.at(-1);
    return { line, text: `${line.label} ${valueText(y, data.unit)}`, x: px(x), y: py(y) };
  });
  ends.sort((a, b) => a.y - b.y);
  const near = (a, b) => Math.abs(a.x - b.x) < 150;
  ends.forEach((end, i) => {
    const above = ends.slice(0, i).filter((other) => near(other, end));
    end.y = Math.max(end.y, top + 8, ...above.map((other) => other.y + 15));
  });
  ends.reverse().forEach((end, i) => {
    const below = ends.slice(0, i).filter((other) => near(other, end));
    end.y = Math.min(end.y, bottom, ...below.map((other) => other.y - 15));
    add(svg, "text", { class: `end c${end.line.colour}`, x: end.x + 9, y: end.y + 4 }, end.text);
  });
}
