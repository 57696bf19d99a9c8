// How well each unit follows a property of the text: Pearson's correlation, or for a property that
// is there or not the area under the ROC curve, folded so that 1 is best either way.

// The most characters that units are scored on, from the beginning.
const MOST_SCORED = 4000;
const BINS = 256;

// Correlation of `mark` with each unit, `values` being [characters, H]. NaN where either is constant.
function correlations(values, hidden, mark) {
  const n = mark.length;
  const [sum, square, product] = [0, 1, 2].map(() => new Float64Array(hidden));
  let total = 0, squares = 0;
  for (let t = 0, i = 0; t < n; t++) {
    const y = mark[t];
    total += y;
    squares += y * y;
    for (let u = 0; u < hidden; u++, i++) {
      const v = values[i];
      sum[u] += v;
      square[u] += v * v;
      product[u] += v * y;
    }
  }
  const spread = squares - (total * total) / n;
  return Float64Array.from(sum, (s, u) => {
    const own = square[u] - (s * s) / n;
    return own > 1e-9 && spread > 0 ? (product[u] - (s * total) / n) / Math.sqrt(own * spread) : NaN;
  });
}

// The chance that a unit is higher where `mark` is 1 than where it is 0, to a 256th of the unit's
// range; below one half the unit is lower there.
function areas(values, hidden, mark) {
  const n = mark.length;
  const inside = mark.reduce((sum, y) => sum + y, 0);
  const bins = [new Float64Array(BINS), new Float64Array(BINS)];
  return Float64Array.from({ length: hidden }, (_, u) => {
    let low = Infinity, high = -Infinity;
    for (let t = 0, i = u; t < n; t++, i += hidden) {
      low = Math.min(low, values[i]);
      high = Math.max(high, values[i]);
    }
    if (!(high - low > 1e-9) || !inside || inside === n) return NaN;
    for (const bin of bins) bin.fill(0);
    for (let t = 0, i = u; t < n; t++, i += hidden) {
      bins[mark[t]][Math.min(BINS - 1, Math.floor(((values[i] - low) / (high - low)) * BINS))]++;
    }
    let below = 0, won = 0;
    for (let b = 0; b < BINS; b++) {
      won += bins[1][b] * (below + bins[0][b] / 2);
      below += bins[0][b];
    }
    return won / (inside * (n - inside));
  });
}

// How good a score is, from 0 to 1, whichever way the unit goes.
const strength = (measure, score) => (measure === "AUC" ? Math.abs(2 * score - 1) : Math.abs(score));
const showScore = (measure, score) => (measure === "AUC" ? `AUC ${Math.max(score, 1 - score).toFixed(2)}` : `r ${signed(score, 2)}`);

// For each property the scores of every unit of every h and c; pauses between two arrays.
async function scoreUnits(track, reading, wait) {
  const marks = lex(reading.chars);
  // A character is the last of its ids; one without ids is not there for the model.
  const places = [], chars = [];
  for (let i = 0; i < reading.chars.length && places.length < MOST_SCORED; i++) {
    if (reading.first[i + 1] === reading.first[i]) continue;
    places.push(reading.first[i + 1] - 1);
    chars.push(i);
  }
  const { hidden } = track.model;
  const scores = Object.fromEntries(PROPERTIES.map(({ key }) => [key, []]));
  for (const [layer, states] of track.states.entries()) {
    for (const [name, all] of Object.entries(states)) {
      const values = new Float32Array(places.length * hidden);
      places.forEach((place, t) => values.set(all.subarray(place * hidden, (place + 1) * hidden), t * hidden));
      for (const { key, measure } of PROPERTIES) {
        const mark = Float32Array.from(chars, (i) => marks[key][i]);
        const score = measure === "AUC" ? areas(values, hidden, mark) : correlations(values, hidden, mark);
        scores[key].push({ layer, name, score });
        if (!(await wait())) return null;
      }
    }
  }
  return { scores, characters: places.length };
}

// The best unit of a layer for a property; none where the text has nothing of it.
function bestOf(scores, { key, measure }, layer) {
  let best = null;
  for (const { layer: at, name, score } of scores[key]) {
    if (at !== layer) continue;
    score.forEach((s, unit) => {
      if (strength(measure, s) > (best ? strength(measure, best.score) : 0)) best = { layer, name, unit, score: s };
    });
  }
  return best;
}
