"use strict";
// Draws the page from the JSON in #data. Everything that a model or a data set wrote is set as text, never as HTML.

const data = JSON.parse(document.getElementById("data").textContent);
const runs = data.runs;
const one = runs.length === 1;
// Okabe and Ito: told apart by people who see colours differently, on white and on black.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999"];
const colour = i => COLOURS[i % COLOURS.length];
/** A colour of the style sheet as a canvas takes it: the one of the two that light or dark asks for. */
function ink(name) {
  const probe = el("i", { style: `color:var(${name})` });
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

/** An element with text, attributes and children. */
function el(tag, attrs = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter(child => child !== null && child !== undefined));
  return node;
}
const main = document.querySelector("main");
const nav = el("nav");
function section(title) {
  const id = title.toLowerCase().replace(/[^a-z]+/g, "-");
  const node = el("section", { id }, el("h2", {}, title));
  nav.append(el("a", { href: "#" + id }, title));
  main.append(node);
  return node;
}
const percent = value => (100 * value).toFixed(1);
const signed = value => (value >= 0 ? "+" : "\u2212") + Math.abs(100 * value).toFixed(1);
const p_words = p => (p < 0.001 ? "p < 0.001" : "p = " + p.toFixed(p < 0.05 ? 3 : 2));
function short(value) {
  if (value === null || value === undefined) return "";
  const size = Math.abs(value);
  if (size < 1e4 && Number.isInteger(value)) return String(value);
  if (size >= 1e6) return (value / 1e6).toFixed(1) + "M";
  if (size >= 1e4) return (value / 1e3).toFixed(1) + "k";
  return size >= 100 ? value.toFixed(0) : size >= 0.1 ? value.toFixed(2) : size >= 1e-4 ? value.toFixed(4) : value.toExponential(1);
}
function hours(value) {
  const minutes = value * 60;
  return minutes < 1 ? Math.round(minutes * 60) + " s" : minutes < 120 ? Math.round(minutes) + " min" : value.toFixed(1) + " h";
}
function table(head, rows, numbers_from = 1) {
  const cls = i => (i >= numbers_from ? { class: "n" } : {});
  return el("div", { class: "wide" }, el("table", {},
    el("tr", {}, ...head.map((text, i) => el("th", cls(i), text))),
    ...rows.map(row => el("tr", {}, ...row.map((cell, i) => el("td", cls(i), cell ?? ""))))));
}

/** Events that are no warnings. */
const HARMLESS = new Set(["best_kept", "config_edited", "early_stop", "relaunch"]);

// ---- the strip -------------------------------------------------------------------------------------------------------

function strip(run) {
  const { curves, results, gains } = run;
  const last = curves.step.length - 1;
  const tile = (name, value, more) =>
    value === null || value === undefined ? null : el("div", {}, el("span", { class: "soft" }, name), el("b", {}, value), more ? el("span", { class: "soft" }, more) : null);
  const whole = results.filter(cell => cell.part === "");
  const tiles = [
    tile("run", run.name, `${run.is_finished ? "finished" : "not finished"}, ${run.attempts} attempt${run.attempts === 1 ? "" : "s"}`),
    tile("model", run.model),
    tile("data", run.data.length ? run.data.join(", ") : null),
    last >= 0 ? tile("steps", String(last + 1), `${hours(curves.hours[last])} in steps`) : null,
    last >= 0 && curves.tokens[last] > 0 ? tile("tokens", short(curves.tokens[last])) : null,
  ];
  for (const benchmark of new Set(whole.map(cell => cell.benchmark))) {
    const course = whole.filter(cell => cell.benchmark === benchmark);
    const [first, end] = [course[0], course[course.length - 1]];
    const best = course.reduce((a, b) => (b.accuracy > a.accuracy ? b : a));
    const change = course.length > 1 ? `${signed(end.accuracy - first.accuracy)} since ${first.phase}, ` : "";
    tiles.push(tile(benchmark, percent(end.accuracy) + " %",
      `${change}${percent(end.low)} to ${percent(end.high)}; best ${percent(best.accuracy)} (${best.phase})`));
  }
  const warned = run.notices.filter(notice => !HARMLESS.has(notice.kind)).reduce((sum, notice) => sum + notice.count, 0);
  tiles.push(tile("warnings", String(warned), run.notices.map(notice => `${notice.kind} ${notice.count}`).join(", ")));
  return el("div", { class: "strip" }, ...tiles.filter(Boolean));
}

// ---- results ---------------------------------------------------------------------------------------------------------

function results() {
  const all = runs.flatMap(run => run.results);
  if (!all.length) return;
  const at = section("Results");
  const columns = [...new Map(all.map(cell => [cell.benchmark + "\n" + cell.part, cell])).values()];
  at.append(el("p", { class: "soft" }, "Accuracy in % with its 95 % interval."));
  const rows = runs.flatMap(run => [...new Set(run.results.map(cell => cell.phase))].map(phase => [
    one ? phase : `${run.name}: ${phase}`,
    ...columns.map(column => {
      const cell = run.results.find(c => c.phase === phase && c.benchmark === column.benchmark && c.part === column.part);
      return cell ? el("span", {}, percent(cell.accuracy) + " ", el("span", { class: "soft" }, `${percent(cell.low)}\u2013${percent(cell.high)}`)) : "";
    }),
  ]));
  at.append(table(["", ...columns.map(c => `${c.benchmark} ${c.part || "all"}`)], rows));
  for (const run of runs) {
    if (!run.gains.length) continue;
    at.append(el("h3", {}, `${one ? "" : run.name + ": "}what each part added, in points (exact paired test)`));
    at.append(table(["from", "to", "benchmark", "change", ""], run.gains.map(gain => [
      gain.before, gain.after, gain.benchmark,
      el("span", { class: gain.p > 0.05 ? "soft" : gain.gain > 0 ? "good" : "bad" }, signed(gain.gain)),
      p_words(gain.p) + (gain.p > 0.05 ? ", within chance" : ""),
    ]), 3));
  }
  for (const pair of data.pairs) {
    at.append(el("h3", {}, `${pair.first} and ${pair.second}, question by question`));
    at.append(table(["benchmark", pair.first, pair.second, "change", ""], pair.rows.map(row => [
      row.task ? `${row.benchmark} ${row.task}` : row.benchmark, percent(row.before), percent(row.after),
      el("span", { class: row.p > 0.05 ? "soft" : row.gain > 0 ? "good" : "bad" }, signed(row.gain)), p_words(row.p),
    ])));
    at.append(el("details", {}, el("summary", {}, `${pair.recipe.length} keys of the recipes differ`), el("pre", {}, pair.recipe.join("\n"))));
  }
  for (const run of runs) for (const [phase, benchmark, text] of run.published)
    at.append(el("details", {}, el("summary", {}, `${one ? "" : run.name + ": "}${benchmark}, ${phase}`), el("pre", {}, text)));
}

// ---- curves ----------------------------------------------------------------------------------------------------------

/** Plots: title, and the metrics that share it; `*` takes every metric with that start. */
const PLOTS = [
  ["Reward", ["reward/mean"]], ["Right answers", ["reward/accuracy"]], ["Right answers by task", ["accuracy/*"]],
  ["Parts of the reward", ["reward/*"]], ["Evaluated while training", null],
  ["Groups: mixed, all right, all wrong", ["groups/mixed", "groups/all_right", "groups/all_wrong"]],
  ["Length of answers, tokens", ["completion/length_mean", "completion/length_max"]], ["Cut by the length limit", ["completion/truncated"]],
  ["KL", ["grpo/kl"]], ["Entropy, nats", ["grpo/entropy", "rollout/neg_logprob"]], ["Clipped tokens", ["grpo/clip_fraction"]],
  ["Trainer against rollout, log-probs", ["grpo/logprob_diff_mean", "grpo/ratio_outside"]],
  ["Gradient norm", ["grpo/grad_norm", "sft/grad_norm"]], ["Loss (SFT)", ["sft/loss"]], ["Learning rate", ["grpo/lr", "sft/lr"]],
  ["Score (rejection)", ["reject/score_mean", "reject/best_mean"]], ["Kept (rejection)", ["reject/questions_kept"]],
  ["Seconds a step by part", ["time/*_s"]], ["Memory, MiB", ["memory/resident_mib"]],
];
/** What a `*` does not mean. */
const OTHERS = new Set(["reward/mean", "reward/std", "reward/accuracy", "reward/zero_std", "time/step_s", "time/rollout_tokens_per_s"]);
function metrics_of(pattern) {
  const names = [...new Set(runs.flatMap(run => Object.keys(run.curves.series)))].sort();
  if (!pattern.includes("*")) return names.filter(name => name === pattern);
  const [start, end] = pattern.split("*");
  return names.filter(name => name.startsWith(start) && name.endsWith(end) && !OTHERS.has(name));
}

let axis = "steps";
const place = { steps: (run, i) => i + 1, tokens: (run, i) => run.curves.tokens[i], hours: (run, i) => run.curves.hours[i] };
/** The mean of a twentieth of the neighbours within a phase. */
function smooth(values, phases) {
  const half = Math.max(1, Math.floor(values.length / 40));
  return values.map((value, i) => {
    if (value === null) return null;
    let sum = 0, n = 0;
    for (let j = Math.max(0, i - half); j <= Math.min(values.length - 1, i + half); j++)
      if (values[j] !== null && phases[j] === phases[i]) { sum += values[j]; n++; }
    return sum / n;
  });
}
/** Series for a plot: label, colour, x, y, and whether points stand alone. */
function lines_of(metrics) {
  const lines = [];
  if (metrics === null) {
    runs.forEach((run, r) => {
      const names = [...new Set(run.points.map(point => point.benchmark))];
      names.forEach((name, k) => {
        const points = run.points.filter(point => point.benchmark === name);
        lines.push({ label: one ? name : `${run.name} ${name}`, colour: colour(one ? k : r), dots: true,
          x: points.map(p => (p.at === 0 ? 0 : place[axis](run, p.at - 1))), y: points.map(p => p.accuracy) });
      });
    });
    return lines;
  }
  const names = metrics.flatMap(metrics_of);
  runs.forEach((run, r) => names.forEach((name, k) => {
    const values = run.curves.series[name];
    if (!values || values.filter(v => v !== null).length < 2) return;
    const part = name.replace(/^[a-z]+\//, "");
    const is_shared = names.some(other => other !== name && other.endsWith("/" + part));
    const label = names.length === 1 ? "" : is_shared ? name : part;
    lines.push({ label: one ? label || name : `${run.name} ${label}`.trim(), colour: colour(one ? k : r + k * runs.length),
      x: values.map((_, i) => place[axis](run, i)), y: smooth(values, run.curves.phase), raw: values });
  }));
  return lines;
}
/** All x of all lines once, and each line's y there. */
function joined(lines) {
  // All plots have the whole run along them.
  const ends = runs.filter(run => run.curves.step.length).map(run => place[axis](run, run.curves.step.length - 1));
  const xs = [...new Set(lines.flatMap(line => line.x).concat(0, ...ends))].sort((a, b) => a - b);
  const index = new Map(xs.map((x, i) => [x, i]));
  const columns = lines.flatMap(line => [line.raw, line.y].filter(Boolean).map(values => {
    const column = new Array(xs.length).fill(undefined);
    values.forEach((value, i) => { column[index.get(line.x[i])] = value ?? undefined; });
    return column;
  }));
  return [xs, ...columns];
}
function shade(plot) {
  if (!one) return;
  const { phase } = runs[0].curves;
  const ctx = plot.ctx, { top, height, left, width } = plot.bbox;
  ctx.save();
  ctx.beginPath(); ctx.rect(left, top, width, height); ctx.clip();
  for (let i = 0, start = 0; i <= phase.length; i++) {
    if (i < phase.length && phase[i] === phase[start]) continue;
    const from = start === 0 ? plot.scales.x.min : place[axis](runs[0], start - 1);
    const [a, b] = [from, place[axis](runs[0], i - 1)].map(x => plot.valToPos(x, "x", true));
    ctx.globalAlpha = 0.1;
    ctx.fillStyle = colour(phase[start]);
    ctx.fillRect(a, top, Math.max(b - a, 1), height);
    start = i;
  }
  ctx.restore();
}
function curves() {
  if (!runs.some(run => run.curves.step.length > 1 || run.points.length)) return;
  const at = section("Curves");
  const grid = el("div", { class: "grid" });
  const axes = Object.keys(place).filter(name => name === "steps" || runs.every(run => place[name](run, run.curves.step.length - 1) > 0));
  const buttons = axes.map(name => el("button", { onclick: () => { axis = name; draw(); } }, name));
  at.append(el("div", { class: "tools" }, "along ", ...buttons, el("span", { class: "soft" }, "drag to zoom, double click to see all; the thin line is each step")));
  if (one) at.append(el("div", { class: "legend" }, ...[...new Set(runs[0].curves.phase)].map(i =>
    el("span", {}, el("i", { style: `background:${colour(i)};opacity:.35` }), runs[0].phases[i] ?? ""))));
  at.append(grid);
  const sync = uPlot.sync("runs");
  function draw() {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", axes[i] === axis));
    grid.replaceChildren();
    for (const [title, metrics] of PLOTS) {
      const lines = lines_of(metrics);
      if (!lines.length) continue;
      const node = el("div", { class: "plot" }, el("h3", {}, title));
      grid.append(node);
      const series = lines.flatMap(line => [
        line.raw ? { label: line.label, show: true, stroke: line.colour + "44", width: 1, spanGaps: true, points: { show: false } } : null,
        { label: line.label, stroke: line.colour, width: 2, spanGaps: true, points: { show: line.dots === true, size: 6 }, value: (_, v) => short(v) },
      ].filter(Boolean));
      const stroke = ink("--soft"), lineColour = ink("--line");
      const axisOf = values => ({ stroke, grid: { stroke: lineColour, width: 1 }, ticks: { stroke: lineColour }, values, size: 52 });
      const plot = new uPlot({
        width: node.clientWidth || 380, height: 210, series: [{ label: axis, value: (_, v) => short(v) }, ...series],
        scales: { x: { time: false } }, cursor: { sync: { key: sync.key } },
        axes: [{ ...axisOf((_, ticks) => ticks.map(short)), size: 30 }, axisOf((_, ticks) => ticks.map(short))],
        hooks: { drawClear: [shade] },
      }, joined(lines), node);
      // The legend has one row for each line, not for its steps too.
      node.querySelectorAll(".u-legend .u-series").forEach((row, i) => {
        if (i > 0 && series[i - 1].width === 1) row.style.display = "none";
      });
      plot.node = node;
      plots.push(plot);
    }
  }
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("resize", () => plots.forEach(plot => plot.node.isConnected && plot.setSize({ width: plot.node.clientWidth, height: 210 })));
}
const plots = [];

// ---- questions -------------------------------------------------------------------------------------------------------

const SVG = "http://www.w3.org/2000/svg";
function picture(run, group) {
  const uri = group.image === null ? undefined : run.images[group.image];
  if (!uri) return el("div", { class: "soft" }, group.image === null && !group.prompt.includes("<image>") ? "" : "no picture at hand");
  const frame = document.createElementNS(SVG, "svg");
  frame.setAttribute("viewBox", "0 0 1 1");
  frame.setAttribute("preserveAspectRatio", "none");
  const add = (box, stroke, dash) => {
    if (!box) return;
    const rect = document.createElementNS(SVG, "rect");
    const set = { x: box[0], y: box[1], width: Math.max(box[2] - box[0], 0), height: Math.max(box[3] - box[1], 0), fill: "none", stroke, "stroke-width": 2, "vector-effect": "non-scaling-stroke", "stroke-dasharray": dash };
    for (const [name, value] of Object.entries(set)) rect.setAttribute(name, value);
    frame.append(rect);
  };
  group.answers.forEach(answer => add(answer.box ?? answer[3], "#ff9466", "3 2"));
  add(group.box, "#4cc38a", "none");
  return el("div", { class: "picture", title: "green: right; orange: answered" }, el("img", { src: uri, alt: "", loading: "lazy" }), frame);
}
function question(run, group, title, answers) {
  return el("div", { class: "card" }, picture(run, group), el("div", {},
    el("b", {}, title), " ", el("span", { class: "soft" }, group.sample),
    el("pre", {}, group.prompt.replaceAll("<image>", "").trim()), "right answer: ", el("code", {}, group.solution)),
  el("div", { class: "answers" }, ...answers));
}
const mean = values => values.reduce((a, b) => a + b, 0) / Math.max(values.length, 1);
const rewards = group => group.answers.map(answer => answer.reward).filter(reward => reward !== null);
function spread(group) { const all = rewards(group); const m = mean(all); return mean(all.map(value => (value - m) ** 2)); }

function group_card(run, group) {
  const title = `${one ? "" : run.name + " "}${group.phase} step ${group.step}, ${group.task} ${group.form}`;
  const card = question(run, group, title, group.answers.map(answer => el("div", {},
    el("b", { class: answer.advantage === null ? "" : answer.advantage > 0 ? "good" : answer.advantage < 0 ? "bad" : "soft" }, answer.reward === null ? "failed" : answer.reward.toFixed(2)), " ",
    el("span", { class: "soft" }, [...answer.parts.map(([name, value]) => `${name} ${value.toFixed(2)}`),
      answer.advantage === null ? "" : `advantage ${answer.advantage.toFixed(2)}`, `${answer.tokens} tokens`, answer.is_cut ? "cut" : ""].filter(Boolean).join("  ")),
    el("pre", {}, answer.text))));
  if (group.verdict !== "admit" && group.verdict !== "") card.children[1].append(el("div", { class: "bad" }, "not trained on: " + group.verdict));
  return card;
}
function browser() {
  const all = runs.flatMap(run => run.groups.map(group => ({ run, group })));
  if (!all.length) return;
  const at = section("Answers");
  const options = values => values.map(value => el("option", {}, value));
  const search = el("input", { type: "search", placeholder: "search questions and answers", size: 30, "aria-label": "search" });
  const phase = el("select", { "aria-label": "phase" }, el("option", { value: "" }, "all phases"), ...options([...new Set(all.map(({ group }) => group.phase))]));
  const task = el("select", { "aria-label": "task" }, el("option", { value: "" }, "all tasks"), ...options([...new Set(all.map(({ group }) => group.task))]));
  const kept = el("select", { "aria-label": "which" }, ...options(["all groups", "trained on", "left out"]));
  const sort = el("select", { "aria-label": "order" }, ...options(["by step", "lowest reward first", "highest reward first", "most mixed first"]));
  const count = el("span", { class: "soft" });
  const list = el("div");
  let shown = 10;
  function draw() {
    const words = search.value.toLowerCase();
    const has = group => !words || [group.sample, group.prompt, group.solution, ...group.answers.map(a => a.text)].some(text => text.toLowerCase().includes(words));
    const found = all.filter(({ group }) => (!phase.value || group.phase === phase.value) && (!task.value || group.task === task.value)
      && (kept.value === "all groups" || (group.verdict === "admit") === (kept.value === "trained on")) && has(group));
    const key = { "lowest reward first": g => mean(rewards(g)), "highest reward first": g => -mean(rewards(g)), "most mixed first": g => -spread(g) }[sort.value];
    if (key) found.sort((a, b) => key(a.group) - key(b.group));
    count.textContent = `${found.length} of ${all.length} groups that the page holds`;
    list.replaceChildren(...found.slice(0, shown).map(({ run, group }) => group_card(run, group)));
    if (found.length > shown) list.append(el("button", { onclick: () => { shown += 20; draw(); } }, "more"));
  }
  for (const control of [search, phase, task, kept, sort]) control.addEventListener("input", () => { shown = 10; draw(); });
  at.append(el("div", { class: "tools" }, search, phase, task, kept, sort, count), list);
  draw();
}
function before_and_after() {
  const all = runs.flatMap(run => run.changes.map(change => ({ run, change })));
  if (!all.length) return;
  const at = section("Before and after");
  all.forEach(({ run, change }) => at.append(question(run, change, `${one ? "" : run.name + " "}${change.task}`, change.answers.map(([phase, text, right]) =>
    el("div", {}, el("b", {}, phase), " ", el("span", { class: right ? "good" : "bad" }, right ? "right" : "wrong"), el("pre", {}, text))))));
}

// ---- what it was made from -------------------------------------------------------------------------------------------

function origins() {
  const at = section("Recipe, data, machine");
  const fold = (title, text) => (text ? at.append(el("details", {}, el("summary", {}, title), el("pre", {}, text))) : undefined);
  for (const run of runs) {
    const of = one ? "" : run.name + ": ";
    fold(`${of}${run.changed.length} keys that are not at their defaults`, run.changed.join("\n"));
    fold(`${of}the whole recipe`, run.recipe);
    for (const audit of run.audits) fold(`${of}data set ${audit.data}`, JSON.stringify(audit, null, 1));
    fold(`${of}environment`, run.environment ? JSON.stringify(run.environment, null, 1) : "");
    for (const notice of run.notices) fold(`${of}${notice.count} events \`${notice.kind}\`, the last`, JSON.stringify(notice.last, null, 1));
    for (const what of run.damaged) at.append(el("p", { class: "bad" }, `${of}left out: ${what}`));
  }
}

main.append(el("h1", {}, runs.map(run => run.name).join(" and ")), nav);
runs.forEach(run => main.append(strip(run)));
results();
curves();
browser();
before_and_after();
origins();
if (data.watch) main.append(el("p", { class: "soft" }, `loads again every ${data.watch} s while the run goes on`));
if (data.watch) setTimeout(() => location.reload(), data.watch * 1000);
