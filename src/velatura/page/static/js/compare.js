// Compare: a blind choice between two ways of painting, over the results that are there; the choices are counted.

import { h, fill, button, choice, guarded } from "./dom.js";
import { api } from "./api.js";
import { methodTitle } from "./state.js";
import { t } from "./texts.js";

const MOST = 200; // results that are looked at

/** How a result was made, whatever its photo and style: what two results of one photo can differ in. */
function way({ method, settings }) {
  const rest = Object.entries(settings).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`).sort();
  return [methodTitle(method), ...rest].join(", ");
}

const subject = ({ content, styles, regions, seed }) => JSON.stringify([content, styles, regions, seed]);

export class Compare {
  constructor() {
    this.body = h("div", {});
    this.element = h("div", { onkeydown: guarded((event) => this.key(event)) }, h("div", { class: "panelhead" }, h("h2", {}, t.compare.title)), this.body);
  }

  async show() {
    const jobs = (await api.history({ state: "done", limit: MOST })).filter((job) => job.request.kind === "stylize");
    this.subjects = new Map(); // by photo and style: the latest job of each way
    for (const { id, request } of jobs) {
      const ways = this.subjects.get(subject(request)) ?? new Map();
      if (!ways.has(way(request))) ways.set(way(request), { id, request });
      this.subjects.set(subject(request), ways);
    }
    await this.showStart();
  }

  pairs(first, second) {
    return [...this.subjects.values()].filter((ways) => ways.has(first) && ways.has(second)).map((ways) => [ways.get(first), ways.get(second)]);
  }

  async showStart() {
    const results = this.results(await api.standings());
    const counts = new Map();
    for (const ways of this.subjects.values()) if (ways.size > 1) for (const name of ways.keys()) counts.set(name, (counts.get(name) ?? 0) + 1);
    const names = [...counts.keys()];
    if (names.length < 2) {
      fill(this.body, h("p", { class: "soft" }, t.compare.none), results);
      return;
    }
    let [first] = names;
    let second = names.find((name) => name !== first && this.pairs(first, name).length);
    const go = button(t.compare.start, () => this.start(first, second), { class: "primary" });
    const place = h("div", { class: "columns" });
    const showChoices = () => {
      const others = names.filter((name) => name !== first && this.pairs(first, name).length);
      if (!others.includes(second)) [second] = others;
      const options = (list) => list.map((name) => [name, t.compare.any(name, name === first ? counts.get(name) : this.pairs(first, name).length)]);
      fill(place, choice({ label: t.compare.first, options: options(names), value: first, onchange: (value) => { first = value; showChoices(); } }),
        choice({ label: t.compare.second, options: options(others), value: second, onchange: (value) => { second = value; } }));
    };
    showChoices();
    fill(this.body, h("div", { class: "toolcard" }, h("p", {}, t.compare.intro), place, h("div", {}, go)), results);
  }

  start(first, second) {
    const shuffled = this.pairs(first, second).map((pair) => ({ pair, at: Math.random(), flip: Math.random() < 0.5 })).sort((a, b) => a.at - b.at);
    this.trials = shuffled.map(({ pair, flip }) => ({ first, second, left: pair[flip ? 1 : 0], right: pair[flip ? 0 : 1], names: flip ? [second, first] : [first, second] }));
    this.at = 0;
    this.showTrial();
  }

  async showTrial() {
    const trial = this.trials[this.at];
    if (!trial) {
      this.trials = null;
      await this.showStart();
      return;
    }
    const { content, styles } = trial.left.request;
    const [style] = styles;
    const reference = (url, caption) => h("figure", {}, h("img", { src: url, alt: caption }), h("figcaption", { class: "soft" }, caption));
    fill(this.body, h("div", { class: "panelhead" }, h("div", { class: "references" }, reference(api.smallUrl(content), t.compare.photo),
      style?.style.startsWith("picture:") ? reference(api.smallUrl(style.style.slice(8)), t.style.title) : null),
    h("div", {}, h("h3", {}, t.compare.question), h("p", { class: "help" }, `${t.compare.of(this.at + 1, this.trials.length)} · ${t.compare.keys}`)),
    h("div", { class: "end" }, button(t.compare.tie, () => this.choose("")))),
    h("div", { class: "trial" }, [["left", trial.left], ["right", trial.right]].map(([side, { id }], number) =>
      h("button", { type: "button", "aria-label": t.compare[side], onclick: guarded(() => this.choose(trial.names[number])) }, h("img", { src: api.shownResultUrl(id), alt: "" })))));
    this.body.querySelector(".trial button").focus({ preventScroll: true });
  }

  async key(event) {
    const trial = this.trials?.[this.at];
    const won = trial && { ArrowLeft: trial.names[0], ArrowRight: trial.names[1], " ": "" }[event.key];
    if (won === undefined) return;
    event.preventDefault();
    await this.choose(won);
  }

  async choose(won) {
    const { first, second, left, right } = this.trials[this.at];
    await api.choose({ first, second, won, jobs: [left.id, right.id] });
    this.at += 1;
    await this.showTrial();
  }

  results(standings) {
    return standings.length ? h("div", { class: "toolcard" }, h("h3", {}, t.compare.results), h("p", { class: "help" }, t.compare.scoreHelp), standings.map(({ name, won, all, score, low, high }) => h("div", { class: "options" },
      h("span", {}, t.compare.preferred(name, won, all)),
      h("div", { class: "bar", "aria-hidden": "true" }, h("span", { style: `width: ${(100 * won) / all}%` })),
      high > low ? h("span", { class: "help" }, t.compare.score(score, low, high)) : null))) : null;
  }
}
