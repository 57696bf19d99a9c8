// The heat map: a row for each unit, a column for each character.
const MOST_COLUMNS = 500;
const COLUMN = 8; // pixels
const LETTERS = 18; // pixels above the rows

class Heat {
  constructor(canvas, picked) {
    this.canvas = canvas;
    this.at = { row: 0, column: 0 };
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("click", (event) => {
      this.move(event);
      picked(this.order[this.at.row], this.start + this.at.column);
    });
    canvas.addEventListener("keydown", (event) => {
      const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [0, 0];
      if (down || right) this.to(this.at.row + down, this.at.column + right);
      else if (event.key === "Enter" || event.key === " ") picked(this.order[this.at.row], this.start + this.at.column);
      else return;
      event.preventDefault();
    });
  }

  // Draws one h or c of a layer for the characters from `start` to `end`, units in this order.
  draw(track, colouring, { layer, name }, order, start, end) {
    const { hidden } = track.model;
    const columns = Math.min(end - start, MOST_COLUMNS);
    const row = Math.max(1, Math.min(8, Math.floor(512 / hidden)));
    Object.assign(this, { track, colouring, layer, name, order, start, columns, row });
    const { canvas } = this;
    const scale = Math.min(2, window.devicePixelRatio || 1);
    const [width, height] = [columns * COLUMN, LETTERS + hidden * row];
    canvas.width = Math.max(1, width * scale);
    canvas.height = height * scale;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    if (!columns) return;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.cells(hidden), 0, LETTERS, width, height - LETTERS);
    pen.fillStyle = colour("--ink");
    pen.font = "11px ui-monospace, monospace";
    pen.textAlign = "center";
    for (let t = 0; t < columns; t++) {
      const char = colouring.reading.chars[start + t];
      pen.fillText(char === "\n" ? "↵" : char, (t + 0.5) * COLUMN, LETTERS - 6);
    }
  }

  value(row, column) {
    const place = this.colouring.place(this.start + column);
    return place < 0 ? NaN : this.track.value({ layer: this.layer, name: this.name, unit: this.order[row] }, place);
  }

  // One pixel a value. h is between -1 and 1; of c the largest of 98 in 100 values has full colour.
  cells(hidden) {
    const values = new Float32Array(hidden * this.columns);
    for (let row = 0, i = 0; row < hidden; row++) {
      for (let t = 0; t < this.columns; t++, i++) values[i] = this.value(row, t) || 0;
    }
    const sizes = values.map(Math.abs).sort();
    this.most = this.name === "c" ? sizes[Math.floor(0.98 * (sizes.length - 1))] || 1 : 1;
    const image = new ImageData(this.columns, hidden);
    const [paper, low, high] = ["--card", "--low", "--high"].map((name) => rgb(colour(name)));
    values.forEach((value, i) => {
      const share = Math.min(1, Math.abs(value) / this.most);
      const full = value < 0 ? low : high;
      for (let k = 0; k < 3; k++) image.data[4 * i + k] = paper[k] + (full[k] - paper[k]) * share;
      image.data[4 * i + 3] = 255;
    });
    const small = new OffscreenCanvas(this.columns, hidden);
    small.getContext("2d").putImageData(image, 0, 0);
    return small;
  }

  move(event) {
    const box = this.canvas.getBoundingClientRect();
    this.to(Math.floor((event.clientY - box.top - LETTERS) / this.row), Math.floor((event.clientX - box.left) / COLUMN));
  }

  to(row, column) {
    if (!this.columns) return;
    const within = (n, end) => Math.max(0, Math.min(end - 1, n));
    this.at = { row: within(row, this.order.length), column: within(column, this.columns) };
    const unit = { layer: this.layer, name: this.name, unit: this.order[this.at.row] };
    const char = this.colouring.reading.chars[this.start + this.at.column];
    this.said?.(`${unitName(unit)}, character ${thousands(this.start + this.at.column + 1)} (${nameOf(char)}): ${signed(this.value(this.at.row, this.at.column))}`);
  }
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
