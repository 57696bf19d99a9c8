// Colours: how strong, in STEPS steps, and of which kind. Their rules stand in page.css: `p3` is a
// value above zero, `n3` one below, `s3` a surprise.
const STEPS = 12;
// Bits from which on a surprise has the strongest colour.
const MOST_BITS = 8;

const signed = (x, digits = 3) => `${x < 0 ? "−" : "+"}${Math.abs(x).toFixed(digits)}`;

function valueClass(value, most) {
  const step = Math.min(STEPS, Math.round((Math.abs(value) / most) * STEPS));
  return step ? `${value < 0 ? "n" : "p"}${step}` : "";
}

function surpriseClass(bits) {
  const step = Math.min(STEPS, Math.round((bits / MOST_BITS) * STEPS));
  return step > 0 ? `s${step}` : "";
}

// What the characters of a reading are coloured by: `classOf(i)`, once `scale` has looked at them.
class Colouring {
  constructor(track, reading, unit) {
    Object.assign(this, { track, reading, unit, most: 1 });
  }

  // The place whose state is shown at character i; none before the first, and of what is not read.
  place(i) {
    const { first } = this.reading;
    const last = first[i + 1] - 1;
    return last >= first[i] && last < this.track.done ? last : -1;
  }

  // Bits of surprise at character i: of all its ids together.
  bits(i) {
    let bits = 0;
    for (let id = this.reading.first[i]; id < this.reading.first[i + 1]; id++) bits -= this.track.score[id] / Math.LN2;
    return bits;
  }

  scale() {
    if (!this.unit) return;
    let most = 0;
    for (let t = 0; t < this.track.done; t++) most = Math.max(most, Math.abs(this.track.value(this.unit, t)));
    this.most = most || 1;
  }

  classOf(i) {
    const place = this.place(i);
    if (place < 0) return "";
    return this.unit ? valueClass(this.track.value(this.unit, place), this.most) : surpriseClass(this.bits(i));
  }
}
