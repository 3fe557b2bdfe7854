/* The page "In the browser": sliders, and what single-filter.js computes drawn as SVG. */

"use strict";

(() => {
  const math = globalThis.singleFilter;
  const correlations = JSON.parse(document.getElementById("correlations").textContent);
  const element = (id) => document.getElementById(id);
  const number = (id) => Number(element(id).value);
  const FILTERS = 100;
  const UPDATES = 300;
  const STARTS = ["independent", "correlated"];
  const signed = (value, digits) => value.toFixed(digits).replace("-", "−");

  function draw(svg, tag, attributes, text = "") {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    svg.append(node);
    return node;
  }

  /* Cells of a grid, blue above 0 and orange below, the stronger the farther from it. */
  function grid(svg, rows, { x, y, cell, largest }) {
    rows.forEach((row, i) => row.forEach((value, j) => {
      const place = { x: x + j * cell, y: y + i * cell, width: cell, height: cell };
      const opacity = Math.min(1, Math.abs(value) / largest).toFixed(3);
      draw(svg, "rect", { ...place, class: value < 0 ? "negative" : "positive", "fill-opacity": opacity });
    }));
    const frame = { x, y, width: rows[0].length * cell, height: rows.length * cell, class: "frame" };
    draw(svg, "rect", frame);
  }

  const square = (taps) => [0, 3, 6].map((first) => taps.slice(first, first + 3));

  function drawCorrelation({ matrix, moved }) {
    const svg = element("matrix");
    svg.replaceChildren();
    grid(svg, matrix, { x: 0, y: 0, cell: 20, largest: 1 });
    matrix.forEach((row, i) => row.forEach((value, j) => {
      draw(svg, "text", { x: 20 * j + 10, y: 20 * i + 13, "text-anchor": "middle" }, signed(value, 2));
    }));
    const nearest = ` α R is no correlation; this is the nearest one, ${moved.toFixed(2)} away.`;
    const mean = signed(math.meanOffDiagonal(matrix), 3);
    element("matrix-caption").textContent =
      `R of the nine taps, row by row of the kernel. Mean off-diagonal correlation ${mean}.${moved > 1e-6 ? nearest : ""}`;
  }

  function drawFilters(root, normals) {
    const svg = element("filters");
    svg.replaceChildren();
    for (let index = 0; index < 8; index++) {
      const z = normals(9);
      const [x, y] = [(index % 2) * 94, Math.floor(index / 2) * 46];
      grid(svg, square(z), { x, y, cell: 13, largest: 2 });
      grid(svg, square(math.correlate(root, z)), { x: x + 45, y, cell: 13, largest: 2 });
    }
  }

  /* Every filter's optimum, two starts and samples, from numbers that no slider changes. */
  function problems(root, optimumRoot) {
    const inputRoot = math.symmetricRoot(math.exponential(3, 3, number("neighbours")));
    return Array.from({ length: FILTERS }, (_, index) => {
      const normals = math.normals(number("seed") * 1009 + index + 1);
      const [drawn, z] = [math.correlate(optimumRoot, normals(9)), normals(9)];
      const sign = drawn.reduce((total, tap) => total + tap, 0) < 0 ? -1 : 1;  // active, as inputs mostly are
      const optimum = drawn.map((tap) => sign * tap);
      const inputs = math.normalized(
        Array.from({ length: number("samples") }, () => math.correlate(inputRoot, normals(9), 0.5, 1)),
      );
      const outputs = inputs.map((x) => x.reduce((total, value, tap) => total + value * optimum[tap], 0));
      const targets = outputs.map((output) => Math.max(output, 0));
      const starts = [z, math.correlate(root, z)].map((start) => start.map((tap) => number("scale") * tap));
      return { inputs, targets, starts, optimum };
    });
  }

  const distance = (a, b) => Math.hypot(...a.map((value, i) => value - b[i]));

  function descents(found, which) {
    const runs = found.map(({ inputs, targets, starts, optimum }) => ({
      ...math.descend(inputs, targets, starts[which], number("rate"), UPDATES), optimum,
    }));
    const living = runs.filter(({ active }) => active > 0);
    const curve = Array.from({ length: UPDATES + 1 }, (_, step) => Math.sqrt(
      living.reduce((total, { path, optimum }) => total + distance(path[step], optimum) ** 2, 0) / living.length,
    ));
    return { name: STARTS[which], runs, curve, dead: runs.length - living.length };
  }

  /* An empty picture whose units are pixels, so that letters keep their size in a narrow window. */
  function emptied(svg, height) {
    svg.replaceChildren();
    const width = Math.max(280, svg.clientWidth);
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    return width;
  }

  function drawCurves(both) {
    const svg = element("descent");
    const right = emptied(svg, 260) - 10;
    const largest = Math.max(...both.flatMap(({ curve }) => curve));
    const across = (step) => 40 + (right - 40) * Math.log10(1 + step) / Math.log10(1 + UPDATES);
    const down = (value) => 225 - 205 * value / largest;
    const tick = 10 ** Math.floor(Math.log10(largest / 1.5));
    for (let value = 0; value <= largest; value += tick) {
      draw(svg, "line", { x1: 40, x2: right, y1: down(value), y2: down(value), class: "rule" });
      draw(svg, "text", { x: 34, y: down(value) + 4, "text-anchor": "end" }, String(Number(value.toFixed(3))));
    }
    for (const step of [0, 1, 3, 10, 30, 100, 300]) {
      draw(svg, "text", { x: across(step), y: 243, "text-anchor": "middle" }, String(step));
    }
    draw(svg, "text", { x: (40 + right) / 2, y: 258, "text-anchor": "middle" }, "update");
    const upper = both[0].curve[UPDATES] >= both[1].curve[UPDATES] ? 0 : 1;
    both.forEach(({ name, curve }, which) => {
      const points = curve.map((value, step) => `${across(step).toFixed(1)},${down(value).toFixed(1)}`);
      draw(svg, "polyline", { points: points.join(" "), class: `curve ${name}` });
      const beside = which === upper ? -18 : 20;
      draw(svg, "text", { x: right, y: down(curve[UPDATES]) + beside, "text-anchor": "end" }, name);
    });
  }

  function drawOne(both, found) {
    const svg = element("one");
    const width = emptied(svg, 130);
    const lives = found.findIndex((_, index) => both.every(({ runs }) => runs[index].active > 0));
    if (lives < 0) return;
    const cell = Math.min(22, width / 19);
    const place = { y: 8, cell, largest: 2 };
    const say = (x, line, text) =>
      draw(svg, "text", { x, y: 3 * cell + 8 + 18 * line, "text-anchor": "middle" }, text);
    both.forEach(({ name, runs }, which) => {
      const { path } = runs[lives];
      const left = 7.5 * cell * which;
      [path[0], path[UPDATES]].forEach((taps, end) => {
        grid(svg, square(taps), { ...place, x: left + 3.5 * cell * end });
        say(left + 3.5 * cell * end + 1.5 * cell, 1, end ? "end" : "start");
      });
      say(left + 3.25 * cell, 2, name);
    });
    grid(svg, square(found[lives].optimum), { ...place, x: 15.5 * cell });
    say(17 * cell, 1, "optimum");
  }

  function tell(both) {
    element("numbers").replaceChildren(...both.map(({ name, curve, dead }) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      const cells = [...[0, 10, UPDATES].map((step) => curve[step].toFixed(2)), `${dead} of ${FILTERS}`];
      row.append(head, ...cells.map((text) => {
        const cell = document.createElement("td");
        cell.textContent = text;
        return cell;
      }));
      return row;
    }));
    const [independent, correlated] = both.map(({ curve }) => curve[UPDATES]);
    const ratio = correlated / independent;
    element("summary").textContent = Math.abs(ratio - 1) < 0.02
      ? `After ${UPDATES} updates both starts are as near to their optimum.`
      : `After ${UPDATES} updates the correlated start is ${ratio < 1 ? "nearer to" : "farther from"} its optimum: ` +
        `${ratio.toFixed(2)} times the distance of the independent one.`;
  }

  function show() {
    for (const output of document.querySelectorAll(".tap-lab output")) {
      output.value = element(output.htmlFor.value).value;
    }
    const given = correlations[element("source").value];
    const strengthened = math.withStrength(given, number("strength"));
    const root = math.symmetricRoot(strengthened.matrix);
    drawCorrelation(strengthened);
    drawFilters(root, math.normals(number("seed")));
    const found = problems(root, math.symmetricRoot(given));
    const both = STARTS.map((_, which) => descents(found, which));
    drawCurves(both);
    drawOne(both, found);
    tell(both);
  }

  let waiting = 0;
  const later = () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(show);
  };
  addEventListener("resize", later);
  for (const name of Object.keys(correlations)) element("source").append(new Option(name));
  for (const form of document.querySelectorAll(".tap-lab form")) {
    form.addEventListener("input", later);
    form.addEventListener("submit", (event) => event.preventDefault());
  }
  show();
})();
