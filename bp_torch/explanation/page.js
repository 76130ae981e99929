"use strict";
// The page's playground: one sample, a neuron or a small network. First the mathematics, then what
// is drawn, then what happens on a click. `window.page` is what a test may look at.

// ---------------------------------------------------------------- the mathematics

const sigmoid = (z) => 1 / (1 + Math.exp(-z));         // ŷ = σ(z) = 1/(1 + e^{−z})
const sigmoidPrime = (yHat) => (1 - yHat) * yHat;      // σ′(z) = ŷ(1 − ŷ)

const COSTS = {
  quadratic: {
    value: (yHat, y) => (yHat - y) ** 2 / 2,           // C = ½(ŷ − y)²
    prime: (yHat, y) => yHat - y,                      // ∂C/∂ŷ = ŷ − y
  },
  "cross-entropy": {                                   // C = −[y ln ŷ + (1 − y) ln(1 − ŷ)]
    value: (yHat, y) => -(y * Math.log(kept(yHat)) + (1 - y) * Math.log(rest(yHat))),
    prime: (yHat, y) => (1 - y) / rest(yHat) - y / kept(yHat),
  },
};

// ŷ and 1 − ŷ kept from 0, where ŷ has rounded to 0 or 1: logarithms and quotients stay finite.
const kept = (yHat) => Math.max(yHat, 2 ** -1022);
const rest = (yHat) => Math.max(1 - yHat, 2 ** -54);

// Each layer's z and output; a layer is {weight: [[…]], bias: […]}.
function forward(layers, x) {
  const links = [];
  let a = x;
  for (const { weight, bias } of layers) {
    const z = weight.map((row, k) => dot(row, a) + bias[k]);   // z = Wx + b
    const yHat = z.map(sigmoid);
    links.push({ a, z, yHat });
    a = yHat;
  }
  return links;
}

// The chain rule from the cost down to the first layer; `how` holds the mistakes to be made.
function backward(layers, links, y, how, rate) {
  const cost = COSTS[how.crossEntropy ? "cross-entropy" : "quadratic"];
  const last = links[links.length - 1];
  let byOutput = last.yHat.map((yHat, k) => cost.prime(yHat, y[k]));          // ∂C/∂ŷ
  const gradients = [];
  for (let place = layers.length - 1; place >= 0; place--) {
    const { a, yHat } = links[place];
    const prime = yHat.map((v) => (how.withoutSigmaPrime ? 1 : sigmoidPrime(v)));
    const delta = byOutput.map((v, k) => v * prime[k]);                       // δ = ∂C/∂ŷ · σ′(z)
    const weight = delta.map((d) => a.map((v) => d * v));                     // ∂C/∂w = δ x
    gradients.unshift({ byOutput, prime, delta, weight, bias: delta });       // ∂C/∂b = δ
    if (place > 0) {
      const above = layers[place].weight.map((row, k) =>
        row.map((w, j) => (how.updatedWeights ? w - rate * weight[k][j] : w)));
      byOutput = a.map((_, j) => sum(delta.map((d, k) => d * above[k][j])));  // Σ over paths
    }
  }
  return gradients;
}

function costOf(layers, x, y, how) {
  const links = forward(layers, x);
  const cost = COSTS[how.crossEntropy ? "cross-entropy" : "quadratic"];
  return sum(links[links.length - 1].yHat.map((yHat, k) => cost.value(yHat, y[k])));
}

// w ← w − ν ∂C/∂w, of every weight at once.
function updated(layers, gradients, how, rate) {
  const sign = how.wrongSign ? -1 : 1;
  const moved = (value, slope) => value - rate * (sign * slope);
  return layers.map(({ weight, bias }, l) => ({
    weight: weight.map((row, k) => row.map((w, j) => moved(w, gradients[l].weight[k][j]))),
    bias: bias.map((b, k) => moved(b, gradients[l].bias[k])),
  }));
}

// The last layer's biases moved so that every output is badly wrong, and σ flat: z = ±4.
function saturated(layers, x, y) {
  const moved = clone(layers), { z } = forward(layers, x).at(-1), { bias } = moved.at(-1);
  bias.forEach((b, k) => { bias[k] = b + (y[k] < 0.5 ? 4 : -4) - z[k]; });
  return moved;
}

const clone = (value) => JSON.parse(JSON.stringify(value));
const sum = (values) => values.reduce((total, value) => total + value, 0);
const dot = (row, a) => sum(row.map((w, j) => w * a[j]));

// ---------------------------------------------------------------- the state

const start = JSON.parse(document.getElementById("start").textContent);
const state = {
  ...clone(start),
  how: { withoutSigmaPrime: false, crossEntropy: start.cost === "cross-entropy",
         wrongSign: false, updatedWeights: false },
  curves: {},                 // by what was switched on: the cost before each step
};
const oneNeuron = start.layers.length === 1 && start.layers[0].bias.length === 1;
window.page = { state };

const SWITCHES = [
  ["withoutSigmaPrime", "without σ′"],
  ["crossEntropy", "cross-entropy"],
  ["wrongSign", "wrong sign"],
  ...(start.layers.length > 1 ? [["updatedWeights", "updated weights"]] : []),
];

function run(steps) {
  for (let step = 0; step < steps; step++) {
    const links = forward(state.layers, state.x);
    const gradients = backward(state.layers, links, state.y, state.how, state.rate);
    remember();
    state.layers = updated(state.layers, gradients, state.how, state.rate);
  }
  remember(true);
  draw();
  say(`${steps === 1 ? "One step" : `${steps} steps`}, ${named(state.how)}: ` +
      `the cost is ${show(costOf(state.layers, state.x, state.y, state.how))}.`);
}

// The cost before a step, on the curve of what is switched on; the end of a curve is replaced, and
// one that began elsewhere begins anew.
function remember(end = false) {
  const name = named(state.how);
  if (!state.curves[name] || state.curves[name].ended) state.curves[name] = { values: [] };
  const curve = state.curves[name];
  if (curve.open) curve.values.pop();
  curve.values.push(costOf(state.layers, state.x, state.y, state.how));
  curve.open = end;
}

// From here on the numbers are others than the ones that the curves led to.
function endCurves() {
  Object.values(state.curves).forEach((curve) => { curve.ended = true; });
}

const named = (how) => SWITCHES.filter(([key]) => how[key]).map(([, name]) => name).join(", ") ||
  "the right gradient";

// ---------------------------------------------------------------- numbers and formulas

function show(value, digits = 4) {
  if (!Number.isFinite(value)) return value > 0 ? "∞" : Number.isNaN(value) ? "NaN" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) {
    const [mantissa, power] = size.toExponential(2).split("e");
    const raised = [...String(Number(power))].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("");
    return `${value < 0 ? "−" : ""}${Number(mantissa)}·10${raised}`;
  }
  return `${value < 0 ? "−" : ""}${Number(size.toFixed(digits))}`;
}

const mi = (text) => `<mi mathvariant="normal">${text}</mi>`;
const mo = (text) => `<mo stretchy="false">${text}</mo>`;
const row = (...parts) => `<mrow>${parts.join("")}</mrow>`;
const over = (a, b) => `<mfrac><mrow>${a}</mrow><mrow>${b}</mrow></mfrac>`;
const d = (of, by) => over(mo("∂") + mi(of), mo("∂") + mi(by));
const number = (value, kind) => `<mn class="${kind}">${show(value)}</mn>`;
// Each part is a formula of its own, so that a line too long is broken between two of them.
const equation = (...parts) =>
  `<p class="equation">${parts.map((part) => `<math displaystyle="true">${row(part)}</math>`).join(" ")}</p>`;
const inBrackets = (value, kind) => value < 0
  ? mo("(") + number(value, kind) + mo(")") : number(value, kind);

// The chain rule of one unit's first weight with the numbers plugged in.
function chainRule(links, gradients) {
  const place = links.length - 1, { a, z, yHat } = links[place];
  const { byOutput, prime, delta, weight } = gradients[place];
  const output = oneNeuron ? "ŷ" : "o₁", w = start.names.weights[place][0][0];
  const x = start.names.inputs[place][0], zName = "z";
  const terms = a.map((v, j) => mo(j ? "+" : "=") +
    inBrackets(state.layers[place].weight[0][j], "forward") + mo("·") + inBrackets(v, "forward"));
  return [
    equation(mi(zName), ...terms, mo("+") + inBrackets(state.layers[place].bias[0], "forward"),
      mo("=") + number(z[0], "forward")),
    equation(mi(output), mo("=") + mi("σ") + mo("(") + mi(zName) + mo(")"),
      mo("=") + number(yHat[0], "forward")),
    equation(d("C", output), mo("=") + (state.how.crossEntropy
      ? over(mi(output) + mo("−") + mi("y"), mi(output) + mo("(1 −") + mi(output) + mo(")"))
      : mi(output) + mo("−") + mi("y")), mo("=") + number(byOutput[0], "backward")),
    equation(d(output, zName), mo("=") + mi("σ′") + mo("(") + mi(zName) + mo(")"), mo("=") +
      (state.how.withoutSigmaPrime ? mi("1, left out")
        : mi(output) + mo("(1 −") + mi(output) + mo(")") + mo("=") + number(prime[0], "backward"))),
    equation(d(zName, w), mo("=") + mi(x) + mo("=") + number(a[0], "forward")),
    equation(mi("δ"), mo("=") + number(byOutput[0], "backward") + mo("·") +
      inBrackets(prime[0], "backward"), mo("=") + number(delta[0], "backward")),
    equation(d("C", w), mo("=") + mi("δ") + mo("·") + mi(x), mo("=") +
      number(delta[0], "backward") + mo("·") + inBrackets(a[0], "forward"),
      mo("=") + number(weight[0][0], "backward")),
    ...pathsTo(links, gradients),
  ].join("");
}

// In a network: the first hidden unit's share, summed over the paths that lead on from it.
function pathsTo(links, gradients) {
  if (links.length < 2) return [];
  const place = links.length - 2, above = gradients[place + 1];
  const terms = above.delta.map((value, k) => mo(k ? "+" : "=") +
    inBrackets(state.layers[place + 1].weight[k][0], "forward") + mo("·") +
    inBrackets(value, "backward"));
  const h = start.names.inputs[place + 1][0];
  return [
    equation(d("C", h), ...terms, mo("=") + number(gradients[place].byOutput[0], "backward")),
    equation(mi("δ") + mo("(") + mi(h) + mo(")"), mo("=") +
      number(gradients[place].byOutput[0], "backward") + mo("·") +
      inBrackets(gradients[place].prime[0], "backward"),
      mo("=") + number(gradients[place].delta[0], "backward")),
  ];
}

// ---------------------------------------------------------------- pictures

const widthOf = (id) => document.getElementById(id).clientWidth || 600;
const tag = (name, attributes, inside = "") => `<${name} ${Object.entries(attributes)
  .map(([key, value]) => `${key}="${value}"`).join(" ")}>${inside}</${name}>`;
const text = (x, y, content, kind = "", anchor = "middle") =>
  tag("text", { x, y, class: kind, "text-anchor": anchor }, content);

function picture(id, width, height, title, inside) {
  document.getElementById(id).innerHTML =
    `<svg viewBox="0 0 ${width} ${height}" style="width: ${width}px" role="img" ` +
    `aria-labelledby="${id}-title"><title id="${id}-title">${title}</title>${inside}</svg>`;
}

// From left to right where there is room, else from the top down, each label at a height of its own.
function placesOf(columns, room) {
  const most = Math.max(...columns.map((column) => column.length)), last = columns.length - 1;
  const left = 41, toCost = 102, up = 130;
  const least = last > 1 || columns[1].length > 1 ? 235 : 165;
  const needed = 2 * left + least * last + toCost;
  if (room >= needed) {
    const across = Math.min(250, (room - 2 * left - toCost) / last);
    const width = 2 * left + across * last + toCost;
    const at = (c, k) => [left + c * across,
      12 + up * (most - columns[c].length) / 2 + up * k + up / 2];
    const share = (c) => (columns[c].length > 1 && columns[c + 1].length > 1 ? 0.33 : 0.5);
    return { width, height: up * most + 14, at, share, cost: [width - left, 12 + up * most / 2] };
  }
  const width = Math.max(room, 110 * most), edges = (c) => columns[c].length * columns[c + 1].length;
  const tops = [60];
  for (let c = 0; c < last; c++) tops.push(tops[c] + 40 * (edges(c) + 1) + 96);
  const at = (c, k) => [width * (k + 0.5) / columns[c].length, tops[c]];
  const share = (c, j, k) => {
    const height = tops[c + 1] - tops[c];
    return (44 + 40 * (j * columns[c + 1].length + k + 0.5)) / height;
  };
  return { width, height: tops[last] + 178, at, share, cost: [width / 2, tops[last] + 136] };
}

function drawCircuit(links, gradients, cost) {
  const columns = [state.x, ...links.map((link) => link.yHat)], last = columns.length - 1;
  const { width, height, at, share, cost: costAt } = placesOf(columns, widthOf("circuit"));
  let lines = "", labels = "", nodes = "";
  state.layers.forEach(({ weight }, l) => weight.forEach((values, k) => values.forEach((w, j) => {
    const [x1, y1] = at(l, j), [x2, y2] = at(l + 1, k), part = share(l, j, k);
    lines += tag("line", { x1, y1, x2, y2, class: "edge" });
    const x = Math.max(46, Math.min(width - 46, x1 + part * (x2 - x1)));
    labels += pair(x, y1 + part * (y2 - y1),
      `${start.names.weights[l][k][j]} = ${show(w, 3)}`, show(gradients[l].weight[k][j], 3));
  })));
  columns[last].forEach((_, k) => {
    const [x1, y1] = at(last, k);
    lines += tag("line", { x1, y1, x2: costAt[0], y2: costAt[1], class: "edge" });
  });
  columns.forEach((column, c) => column.forEach((value, k) => {
    const slope = c === 0 ? "" : show(gradients[c - 1].byOutput[k], 3);
    const name = c === 0 ? start.names.inputs[0][k]
      : oneNeuron ? "ŷ" : `${c === last ? "o" : start.names.inputs[c][k][0]}${"₁₂₃₄"[k]}`;
    nodes += node(...at(c, k), name, show(value, 3), slope, 38);
  }));
  nodes += node(...costAt, "C", show(cost, 3), "1", 38);
  picture("circuit", width, height, `Circuit of the step: the output is ` +
    `${columns[last].map((v) => show(v)).join(", ")}, the cost ${show(cost)}.`,
    lines + labels + nodes);
}

const node = (x, y, name, value, slope, r) => tag("circle", { cx: x, cy: y, r, class: "node" }) +
  text(x, y - r - 7, name) + (slope === ""
    ? text(x, y + 5, value, "forward")
    : text(x, y - 3, value, "forward") + text(x, y + 15, slope, "backward"));

// A value above, its gradient below, on a ground that hides the line.
function pair(x, y, value, slope) {
  const wide = 7.4 * Math.max(value.length, slope.length);
  return tag("rect", { x: x - wide / 2, y: y - 18, width: wide, height: 36, class: "ground" }) +
    text(x, y - 4, value, "forward") + text(x, y + 13, slope, "backward");
}

function drawSigmoid(links) {
  const { z, yHat } = links[links.length - 1];
  const reach = Math.max(6, Math.min(40, Math.abs(z[0]) * 1.15));
  const width = Math.max(280, Math.min(640, widthOf("sigmoid"))), height = 330;
  const x = (v) => 44 + (v + reach) / (2 * reach) * (width - 60);
  const upper = (v) => 168 - 140 * v, lower = (v) => 300 - 380 * v;
  const points = (f) => Array.from({ length: 161 }, (_, i) => -reach + i * reach / 80)
    .map((v) => `${x(v).toFixed(1)},${f(v).toFixed(1)}`).join(" ");
  const here = Math.max(-reach, Math.min(reach, z[0])), slope = sigmoidPrime(yHat[0]);
  const half = reach / 4, tangent = (v) => upper(yHat[0] + slope * (v - z[0]));
  const grid = [0, 0.5, 1].map((v) => tag("line",
    { x1: 44, x2: width - 16, y1: upper(v), y2: upper(v), class: "axis" }) +
    text(38, upper(v) + 4, v, "small", "end")).join("") + [0, 0.25].map((v) => tag("line",
    { x1: 44, x2: width - 16, y1: lower(v), y2: lower(v), class: "axis" }) +
    text(38, lower(v) + 4, v ? "¼" : "0", "small", "end")).join("");
  picture("sigmoid", width, height,
    `σ at z = ${show(z[0])} is ${show(yHat[0])}, and its slope there is ${show(slope)}.`,
    grid +
    tag("polyline", { points: points((v) => upper(sigmoid(v))), class: "curve",
      stroke: "var(--forward)" }) +
    tag("line", { x1: x(here - half), y1: tangent(here - half), x2: x(here + half),
      y2: tangent(here + half), stroke: "var(--backward)", "stroke-width": 2 }) +
    tag("polyline", { points: points((v) => lower(sigmoidPrime(sigmoid(v)))), class: "curve",
      stroke: "var(--backward)" }) +
    tag("line", { x1: x(here), x2: x(here), y1: upper(yHat[0]), y2: lower(slope), class: "axis",
      "stroke-dasharray": "3 3" }) +
    tag("circle", { cx: x(here), cy: upper(yHat[0]), r: 5, fill: "var(--forward)" }) +
    tag("circle", { cx: x(here), cy: lower(slope), r: 5, fill: "var(--backward)" }) +
    text(50, 20, `ŷ = σ(z) = ${show(yHat[0])}`, "forward", "start") +
    text(50, 196, `σ′(z) = ${show(slope)}`, "backward", "start") +
    [-reach, 0, reach].map((v) => text(x(v), 322, show(v, 1), "small")).join(""));
}

const DASHES = ["", "7 4", "2 3", "9 3 2 3", "12 5", "4 4 1 4"];

function drawCurves() {
  const names = Object.keys(state.curves);
  const width = Math.max(280, Math.min(1000, widthOf("curves"))), height = 260;
  // Costs of two kinds are compared as shares of where each began.
  const shares = names.map((name) => state.curves[name].values.map(
    (value, _, all) => (all[0] ? value / all[0] : value)).filter(Number.isFinite));
  const top = Math.max(...shares.flat(), 1), steps = Math.max(
    ...shares.map((values) => values.length - 1), 10);
  const x = (i) => 62 + i / steps * (width - 80), y = (v) => 226 - v / top * 200;
  const lines = names.map((name, i) => tag("polyline", {
    points: shares[i].map((v, k) => `${x(k).toFixed(1)},${y(v).toFixed(1)}`).join(" "),
    class: "curve", stroke: `var(--c${i % 6})`, "stroke-dasharray": DASHES[i % 6],
  })).join("");
  const axes = [0, 0.5, 1].map((v) => tag("line", { x1: 62, x2: width - 18, y1: y(v * top),
    y2: y(v * top), class: "axis" }) + text(56, y(v * top) + 4, show(v * top, 3), "small", "end"))
    .join("") + text(62, 246, "0", "small") + text(width - 18, 246, `${steps} steps`, "small", "end");
  picture("curves", width, height, names.length
    ? `Cost over the steps, as a share of its start, with ${names.join("; ")}.` : "Cost over the steps: none taken yet.",
    axes + (names.length ? lines : text(width / 2, 120, "take a step, and the cost's curve begins")));
  document.getElementById("legend").innerHTML = names.map((name, i) =>
    `<li><svg viewBox="0 0 34 10" aria-hidden="true"><line x1="0" x2="34" y1="5" y2="5" ` +
    `stroke="var(--c${i % 6})" stroke-width="3" stroke-dasharray="${DASHES[i % 6]}"/></svg>` +
    `${name}: ${show(state.curves[name].values.at(-1))}</li>`).join("");
}

function draw() {
  const links = forward(state.layers, state.x);
  const gradients = backward(state.layers, links, state.y, state.how, state.rate);
  const cost = costOf(state.layers, state.x, state.y, state.how);
  drawCircuit(links, gradients, cost);
  drawSigmoid(links);
  document.getElementById("chain").innerHTML = chainRule(links, gradients);
  drawCurves();
  controls.forEach((control) => control.refresh());
}

// ---------------------------------------------------------------- what can be moved

const controls = [];

// A slider and a field for one number, in the group of that id.
function control(group, label, description, bounds, get, set) {
  const id = `c${controls.length}`, [low, high] = bounds;
  const box = document.createElement("div");
  box.className = "control";
  box.innerHTML = `<label for="${id}">${label}</label>` +
    `<input type="range" id="${id}" min="${low}" max="${high}" step="any" ` +
    `aria-label="${description}">` +
    `<input type="number" step="any" aria-label="${description}, exactly">`;
  const [slider, field] = box.querySelectorAll("input");
  const changed = (value) => {
    if (!Number.isFinite(value) || (bounds[2] && (value < low || value > high))) return;
    set(value);
    endCurves();
    draw();
  };
  slider.addEventListener("input", () => changed(Number(slider.value)));
  field.addEventListener("change", () => { changed(Number(field.value)); draw(); });
  controls.push({ refresh() {
    slider.value = get();
    slider.setAttribute("aria-valuetext", show(get()));
    if (document.activeElement !== field) field.value = Number(get().toPrecision(6));
  } });
  document.getElementById(group).append(box);
}

function say(sentence) { document.getElementById("said").textContent = sentence; }

function build() {
  const around = (values, least) => {
    const most = Math.max(least, ...values.flat(9).map((v) => 2 * Math.abs(v)));
    return [-most, most];
  };
  const inputs = around(start.x, 3);
  start.x.forEach((_, j) => control("numbers", start.names.inputs[0][j], `input ${j + 1}`, inputs,
    () => state.x[j], (value) => { state.x[j] = value; }));
  start.y.forEach((_, k) => control("numbers", start.y.length > 1 ? `y${"₁₂₃₄"[k]}` : "y",
    `target ${k + 1}`, [0, 1, true], () => state.y[k], (value) => { state.y[k] = value; }));
  control("numbers", "ν", "learning rate", [0, Math.max(5, 2 * start.rate), true],
    () => state.rate, (value) => { state.rate = value; });
  start.layers.forEach(({ weight, bias }, l) => {
    const bounds = around([weight, bias], 5);
    weight.forEach((values, k) => values.forEach((_, j) => control("numbers",
      start.names.weights[l][k][j], `weight ${start.names.weights[l][k][j]}`, bounds,
      () => state.layers[l].weight[k][j], (value) => { state.layers[l].weight[k][j] = value; })));
    bias.forEach((_, k) => control("numbers", start.names.biases[l][k],
      `bias ${start.names.biases[l][k]}`, bounds,
      () => state.layers[l].bias[k], (value) => { state.layers[l].bias[k] = value; }));
  });
  SWITCHES.forEach(([key, name]) => {
    const label = document.createElement("label");
    label.className = "switch";
    label.innerHTML = `<input type="checkbox" id="${key}"> ${name}`;
    label.firstChild.checked = state.how[key];
    label.firstChild.addEventListener("change", (event) => {
      state.how[key] = event.target.checked;
      state.layers = clone(state.begun ?? start.layers);  // curves begin at one place
      endCurves();
      draw();
      say(`Back at the start, with ${named(state.how)}.`);
    });
    document.getElementById("switches").append(label);
  });
  const buttons = {
    step: () => run(1),
    steps: () => run(100),
    saturated: () => {
      state.layers = saturated(state.layers, state.x, state.y);
      state.begun = clone(state.layers);
      state.curves = {};
      draw();
      say("Every output is on the wrong side now, at z = ±4, where σ is flat.");
    },
    reset: () => {
      Object.assign(state, clone(start), { curves: {} });
      delete state.begun;
      draw();
      say("Back at the numbers that the page came with.");
    },
    clear: () => { state.curves = {}; draw(); say("The curves are gone."); },
  };
  for (const [id, action] of Object.entries(buttons)) {
    document.getElementById(id).addEventListener("click", action);
  }
  addEventListener("resize", draw);
  draw();
}

build();
