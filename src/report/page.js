// Shows the values of every line at the pointer's place. The page says the same without it.
for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector(":scope > svg");
  const source = figure.querySelector("script");
  if (!svg || !source) continue;
  const data = JSON.parse(source.textContent);
  const lines = data.lines.filter((line) => line.px.length);
  const cursor = document.createElementNS(svg.namespaceURI, "path");
  const tip = document.createElement("div");
  cursor.setAttribute("class", "cursor");
  tip.className = "tip";
  tip.hidden = true;
  figure.append(tip);

  const nearest = (sorted, wanted) => {
    let low = 0;
    let high = sorted.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < wanted) low = middle;
      else high = middle;
    }
    return wanted - sorted[low] < sorted[high] - wanted ? low : high;
  };

  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    const wanted = Math.min(Math.max((event.clientX - box.left) / scale, data.left), data.right);
    if (!lines.length) return;
    // The line with the point closest to the pointer decides which x is read.
    const found = lines.map((line) => nearest(line.px, wanted));
    const distance = (i) => Math.abs(lines[i].px[found[i]] - wanted);
    const lead = found.map((_, i) => i).sort((a, b) => distance(a) - distance(b))[0];
    const x = lines[lead].px[found[lead]];
    cursor.setAttribute("d", `M${x} ${data.top}V${data.bottom}`);
    svg.append(cursor);
    tip.replaceChildren();
    const head = document.createElement("b");
    head.textContent = `${data.x} ${lines[lead].x[found[lead]].toLocaleString("en")}`;
    tip.append(head);
    lines.forEach((line, i) => {
      const at = nearest(line.px, x);
      const row = document.createElement("div");
      const dot = document.createElement("i");
      dot.className = `c${line.colour}`;
      const other = line.x[at] === lines[lead].x[found[lead]] ? "" : ` (${data.x} ${line.x[at].toLocaleString("en")})`;
      row.append(dot, `${line.name}: ${line.text[at]}${other}`);
      tip.append(row);
    });
    tip.hidden = false;
    const left = svg.offsetLeft || box.left - figure.getBoundingClientRect().left;
    const beside = left + x * scale + 14;
    const room = figure.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(4, beside > room ? left + x * scale - tip.offsetWidth - 14 : beside)}px`;
    tip.style.top = `${box.top - figure.getBoundingClientRect().top + data.top * scale + 6}px`;
  });
  svg.addEventListener("pointerleave", () => {
    tip.hidden = true;
    cursor.remove();
  });
}
