// Sweep: one photo over methods, strengths and styles, as a grid; click one to go on with it.

import { h, fill, button, guarded, toast } from "./dom.js";
import { api, freshKey, untilOver } from "./api.js";
import { methodChoices } from "./panel.js";
import { methodNamed, methodTitle, settings, state } from "./state.js";
import { t } from "./texts.js";

const STRENGTHS = ["0.2", "0.4", "0.6", "0.8"];
const MOST = 48; // pictures

export class Sweep {
  constructor(stylise, goOn) {
    this.stylise = stylise;
    this.goOn = goOn;
    this.methods = new Set(["guided", "s2prest"]);
    this.strengths = new Set(["0.4", "0.8"]);
    this.styles = null; // refs; all chosen ones of Stylise at first
    this.jobs = [];
    this.form = h("div", { class: "toolcard" });
    this.grid = h("div", { class: "sweepgrid" });
    this.element = h("div", {}, h("div", { class: "panelhead" }, h("h2", {}, t.sweep.title)), h("p", { class: "soft", style: "margin-bottom: 1rem" }, t.sweep.intro), this.form, this.grid);
  }

  async show() {
    if (!state.photo) {
      fill(this.form, h("p", {}, t.go.photoFirst), h("div", {}, button(t.tabs.stylise, this.goOn, { class: "primary" })));
      return;
    }
    this.styles ??= new Set(state.tray.filter((style) => style.chosen).map((style) => style.ref));
    this.showForm();
  }

  options(title, chosen, pairs) {
    const group = h("fieldset", { class: "options" }, h("legend", { class: "title" }, title), pairs.map(([key, text]) => h("label", { class: "check" },
      h("input", { type: "checkbox", checked: chosen.has(key), onchange: (event) => { event.target.checked ? chosen.add(key) : chosen.delete(key); this.showCount(); } }), text)));
    return group;
  }

  showForm() {
    this.go = button("", () => this.submit(), { class: "primary" });
    fill(this.form,
      h("div", { class: "references" }, h("img", { src: api.smallUrl(state.photo.id), alt: t.photo.alt(state.photo.name) }), h("p", { class: "help" }, t.sweep.fromStylise)),
      h("div", { class: "columns" },
        this.options(t.sweep.methods, this.methods, methodChoices().map((name) => [name, methodTitle(name)])),
        this.options(t.sweep.strengths, this.strengths, STRENGTHS.map((strength) => [strength, strength])),
        this.options(t.sweep.styles, this.styles, state.tray.map((style) => [style.ref, style.name]))),
      h("div", { class: "row" }, this.go, this.jobs.length ? button(t.sweep.cancelAll, () => Promise.all(this.jobs.map((id) => api.cancel(id)))) : null));
    this.showCount();
  }

  /** The combinations that can be made: a style of the library goes with its own method only. */
  combinations() {
    const styles = state.tray.filter((style) => this.styles.has(style.ref));
    const fits = (style, method) => (style.ref.startsWith("text:") ? methodNamed(method).text_styles : !style.method || style.method === methodNamed(method).style_method);
    return methodChoices().filter((method) => this.methods.has(method)).flatMap((method) => styles.filter((style) => fits(style, method))
      .flatMap((style) => STRENGTHS.filter((strength) => this.strengths.has(strength)).map((strength) => ({ method, style, strength }))));
  }

  showCount() {
    const count = this.combinations().length;
    this.go.disabled = !count || count > MOST;
    this.go.textContent = count > MOST ? t.sweep.most(MOST) : count ? t.sweep.go(count) : t.sweep.none;
  }

  async submit() {
    const combinations = this.combinations();
    const group = `sweep ${freshKey()}`;
    this.jobs = [];
    fill(this.grid);
    const shows = new Map();
    const rows = new Map();
    for (const { method, style, strength } of combinations) {
      const key = `${method} ${style.ref}`;
      if (!rows.has(key)) {
        const row = h("div", { class: "grid" });
        rows.set(key, row);
        this.grid.append(h("section", {}, h("h3", { style: "margin-bottom: .6rem" }, `${methodTitle(method)} · ${style.name}`), row));
      }
      const request = { kind: "stylize", content: state.photo.id, styles: [{ style: style.ref }], method, seed: state.seed, group,
        settings: { ...(method === state.method ? settings() : sizeOnly()), strength: Number(strength) } };
      const job = await api.submit(request);
      this.jobs.push(job.id);
      const [card, showEnd] = this.cell({ method, style, strength });
      rows.get(key).append(card);
      shows.set(job.id, showEnd);
    }
    untilOver(group, this.jobs, (job) => shows.get(job.id)(job)).catch((error) => toast(error.message, { error: true }));
    this.showForm();
  }

  /** A cell of the grid, and what shows its job in it when that is over. */
  cell({ method, style, strength }) {
    const picture = h("div", { class: "pic blank" }, t.history.status.queued);
    const card = h("article", { class: "card" }, picture, h("div", { class: "text" }, h("h4", {}, `${t.set.strength} ${strength}`)));
    return [card, (job) => {
      if (job.state !== "done") {
        fill(picture, job.state === "failed" ? job.reason : t.history.status.cancelled);
        return;
      }
      const go = async () => { this.goOn(); await this.stylise.use(job.request, job); };
      picture.replaceWith(h("button", { type: "button", class: "pic", "aria-label": `${t.sweep.goOn}: ${t.sweep.cell(methodTitle(method), strength, style.name)}`, onclick: guarded(go) },
        h("img", { src: api.smallResultUrl(job.id), alt: "" })));
      card.append(h("div", { class: "acts" }, button(t.sweep.goOn, go, { class: "plain" })));
    }];
  }
}

function sizeOnly() {
  const { size } = settings();
  return size === undefined ? {} : { size };
}
