/* The arithmetic of the page "In the browser": what corrinit does in Python, for kernels of a few taps.

   Written again, and not corrinit itself in Pyodide: Pyodide's numpy is on no package index, so that no build
   without network could ship it. A test holds what is here against corrinit. Matrices are arrays of rows. */

"use strict";

globalThis.singleFilter = (() => {
  const indices = (n) => Array.from({ length: n }, (_, i) => i);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const dot = (a, b) => sum(a.map((value, i) => value * b[i]));
  const norm = (matrix) => Math.sqrt(sum(matrix.flat().map((value) => value * value)));
  const combine = (a, b, f) => a.map((row, i) => row.map((value, j) => f(value, b[i][j])));
  const withUnitDiagonal = (matrix) => matrix.map((row, i) => row.map((value, j) => (i === j ? 1 : value)));

  /* Eigenvalues and eigenvectors (columns) of a symmetric matrix, by cyclic Jacobi rotations. */
  function symmetricEigen(matrix) {
    const n = matrix.length;
    const a = matrix.map((row) => [...row]);
    const v = indices(n).map((i) => indices(n).map((j) => Number(i === j)));
    for (let sweep = 0; sweep < 60; sweep++) {
      const off = Math.sqrt(sum(a.flatMap((row, i) => row.slice(i + 1).map((x) => x * x))));
      if (off <= 1e-17 * norm(a)) break;
      for (let p = 0; p < n - 1; p++) {
        for (let q = p + 1; q < n; q++) {
          if (a[p][q] === 0) continue;
          const theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
          const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
          const c = 1 / Math.sqrt(t * t + 1);
          const s = t * c;
          for (let k = 0; k < n; k++) {
            [a[k][p], a[k][q]] = [c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]];
          }
          for (let k = 0; k < n; k++) {
            [a[p][k], a[q][k]] = [c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]];
            [v[k][p], v[k][q]] = [c * v[k][p] - s * v[k][q], s * v[k][p] + c * v[k][q]];
          }
        }
      }
    }
    return { values: indices(n).map((i) => a[i][i]), vectors: v };
  }

  /* f of a symmetric matrix: V f(values) Vᵀ. */
  function spectral(matrix, f) {
    const { values, vectors } = symmetricEigen(matrix);
    const mapped = values.map(f);
    const scaled = vectors.map((row) => row.map((value, k) => value * mapped[k]));
    return scaled.map((row) => vectors.map((other) => dot(row, other)));
  }

  /* The symmetric C with C C = R. Unlike a Cholesky factor it exists where R is singular, as for large α. */
  const symmetricRoot = (matrix) => spectral(matrix, (value) => Math.sqrt(Math.max(value, 0)));

  /* The nearest correlation matrix: alternating projections with Dykstra's correction (Higham 2002). */
  function nearestCorrelation(matrix) {
    const project = (m) => spectral(m, (value) => Math.max(value, 0));
    let current = matrix;
    let correction = matrix.map((row) => row.map(() => 0));
    for (let step = 0; step < 1000; step++) {
      const shifted = combine(current, correction, (a, b) => a - b);
      const projected = project(shifted);
      correction = combine(projected, shifted, (a, b) => a - b);
      const following = withUnitDiagonal(projected);
      const change = norm(combine(following, current, (a, b) => a - b));
      current = following;
      if (change <= 1e-12 * Math.max(1, norm(current))) break;
    }
    const repaired = project(current);
    const deviations = repaired.map((row, i) => Math.sqrt(row[i]));
    const unit = repaired.map((row, i) => row.map((value, j) => value / (deviations[i] * deviations[j])));
    const transposed = unit.map((_, j) => unit.map((row) => row[j]));
    return withUnitDiagonal(combine(unit, transposed, (a, b) => (a + b) / 2));
  }

  /* Off-diagonal entries times α, and how far the nearest correlation lies from that where it is none. */
  function withStrength(matrix, strength) {
    if (strength === 1) return { matrix, moved: 0 };
    const scaled = withUnitDiagonal(matrix.map((row) => row.map((value) => strength * value)));
    const repaired = nearestCorrelation(scaled);
    return { matrix: repaired, moved: norm(combine(repaired, scaled, (a, b) => a - b)) };
  }

  const meanOffDiagonal = (matrix) =>
    (sum(matrix.flat()) - matrix.length) / (matrix.length * (matrix.length - 1));

  /* exp(−δ/ℓ) of the city-block distance δ, by the correlation ρ of neighbours: ρ^δ. */
  function exponential(rows, columns, neighbours) {
    const taps = indices(rows * columns).map((i) => [Math.floor(i / columns), i % columns]);
    const distance = ([y, x], [v, u]) => Math.abs(y - v) + Math.abs(x - u);
    return taps.map((a) => taps.map((b) => (distance(a, b) === 0 ? 1 : neighbours ** distance(a, b))));
  }

  /* Standard normal numbers from a seed: mulberry32 and Box and Muller. */
  function normals(seed) {
    let state = seed >>> 0;
    const uniform = () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    return (count) => indices(count).map(normal);
  }

  /* w = C z, or m + s C z. */
  const correlate = (root, z, scale = 1, mean = 0) => root.map((row) => mean + scale * dot(row, z));

  /* Samples divided so that the largest eigenvalue of H = (1/n) Σ X Xᵀ is 1: descent is stable for λ < 1. */
  function normalized(inputs) {
    const taps = indices(inputs[0].length);
    const moment = taps.map(() => taps.map(() => 0));
    for (const x of inputs) {
      for (const i of taps) for (const j of taps) moment[i][j] += x[i] * x[j] / inputs.length;
    }
    const largest = Math.max(...symmetricEigen(moment).values);
    return inputs.map((x) => x.map((value) => value / Math.sqrt(largest)));
  }

  /* Gradient descent of one filter, Eq. (1): w ← w + (2λ/n) Σ (y − w·X) X over the samples with w·X > 0.
     The weights at every update, and how many samples are active at the last. */
  function descend(inputs, targets, start, rate, steps) {
    const [n, p] = [inputs.length, start.length];
    const path = [start];
    for (;;) {
      const weights = path.at(-1);
      const update = new Array(p).fill(0);
      let active = 0;
      for (let i = 0; i < n; i++) {  // plain loops: this is what a slider waits for
        let output = 0;
        for (let j = 0; j < p; j++) output += weights[j] * inputs[i][j];
        if (output <= 0) continue;
        active++;
        for (let j = 0; j < p; j++) update[j] += (targets[i] - output) * inputs[i][j];
      }
      if (path.length > steps) return { path, active };
      path.push(weights.map((w, j) => w + 2 * rate / n * update[j]));
    }
  }

  return { symmetricEigen, symmetricRoot, nearestCorrelation, withStrength, meanOffDiagonal, exponential,
    normals, correlate, normalized, descend };
})();
