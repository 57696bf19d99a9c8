// Coloured text: a line of the text is an element, a character one in it. Only what changes is
// written.
class View {
  constructor(root) {
    this.root = root;
    this.start = 0; // the first character shown
    this.spans = [];
    this.classes = [];
    this.here = -1;
  }

  // Shows the characters of a reading from `start` to `end`; those before `same` stand already.
  show(reading, start, end, same = start) {
    if (start !== this.start) same = start;
    this.start = start;
    let keep = Math.max(0, Math.min(same - start, this.spans.length));
    if (keep === this.spans.length && keep === end - start) return;
    while (keep > 0 && this.spans[keep - 1].dataset.end === undefined) keep--;
    const line = this.spans[keep]?.parentElement;
    let next = line;
    while (next) {
      const after = next.nextElementSibling;
      next.remove();
      next = after;
    }
    this.spans.length = this.classes.length = keep;
    this.extend(reading, end);
  }

  // Shows what comes behind.
  extend(reading, end) {
    let line = this.root.lastElementChild;
    for (let i = this.start + this.spans.length; i < end; i++) {
      if (!line || this.spans.at(-1)?.dataset.end !== undefined || !this.spans.length) {
        line = document.createElement("div");
        this.root.append(line);
      }
      const span = document.createElement("span");
      const char = reading.chars[i];
      if (char === "\n") span.dataset.end = "";
      else span.textContent = char;
      if (reading.isOdd[i]) span.dataset.odd = "";
      span.dataset.i = i;
      line.append(span);
      this.spans.push(span);
      this.classes.push("");
    }
  }

  paint(colouring) {
    this.spans.forEach((span, n) => {
      const name = colouring.classOf(this.start + n);
      if (name === this.classes[n]) return;
      this.classes[n] = span.className = name;
    });
    this.point(this.here);
  }

  // Marks the characters from `from` on as written by the model; with none, no character.
  markNew(from = Infinity) {
    for (const span of this.root.querySelectorAll("[data-new]")) delete span.dataset.new;
    for (const span of this.spans.slice(from - this.start)) span.dataset.new = "";
  }

  // Marks one character.
  point(i) {
    this.spans[this.here - this.start]?.removeAttribute("aria-current");
    this.here = i;
    this.spans[i - this.start]?.setAttribute("aria-current", "true");
  }

  // The character below a point of the window.
  static under(x, y) {
    for (const element of document.elementsFromPoint(x, y)) {
      if (element.dataset.i !== undefined) return Number(element.dataset.i);
    }
    return -1;
  }
}
