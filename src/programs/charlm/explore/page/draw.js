// Choosing the next character.

// An id drawn from log-probabilities at a temperature, 0 for the likeliest; never `never`. `random`
// is a number from 0 to 1.
function draw(logProbs, temperature, never, random) {
  let best = -1;
  logProbs.forEach((p, id) => {
    if (id !== never && (best < 0 || p > logProbs[best])) best = id;
  });
  if (temperature === 0) return best;
  const mass = Array.from(logProbs, (p, id) => (id === never ? 0 : Math.exp((p - logProbs[best]) / temperature)));
  let left = random * mass.reduce((sum, m) => sum + m, 0);
  let chosen = best;
  for (let id = 0; id < mass.length; id++) {
    if (mass[id] === 0) continue;
    chosen = id;
    left -= mass[id];
    if (left < 0) break;
  }
  return chosen;
}

// The likeliest ids, the likeliest first.
function likeliest(logProbs, count) {
  const ids = Array.from(logProbs, (_, id) => id);
  return ids.sort((a, b) => logProbs[b] - logProbs[a] || a - b).slice(0, count);
}
