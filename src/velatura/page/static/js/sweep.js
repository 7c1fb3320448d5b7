// Sweep: one photo over methods, strengths and styles, as a grid; click one to go on with it.

import { h, fill, button, toast } from "./dom.js";
import { api, freshKey, untilOver } from "./api.js";
import { Cell } from "./cell.js";
import { keep, recall } from "./keeping.js";
import { methodChoices } from "./panel.js";
import { commonSettings, fits, inRequest, methodNamed, methodTitle, settings, state } from "./state.js";
import { t } from "./texts.js";

const STRENGTHS = ["0.2", "0.4", "0.6", "0.8"];
const MOST = 48; // pictures
const KEPT = "sweep";

export class Sweep {
  constructor(stylise, goOn) {
    this.stylise = stylise;
    this.goOn = goOn;
    this.methods = new Set(["guided", "s2prest"]);
    this.strengths = new Set(["0.4", "0.8"]);
    this.styles = null; // refs; all chosen ones of Stylise at first
    this.cells = null; // by the job's id; null before those of last time are recalled
    this.form = h("div", { class: "toolcard" });
    this.grid = h("div", { class: "sweepgrid" });
    this.element = h("div", {}, h("div", { class: "panelhead" }, h("h2", {}, t.sweep.title)), h("p", { class: "soft", style: "margin-bottom: 1rem" }, t.sweep.intro), this.form, this.grid);
  }

  async show() {
    if (!this.cells) await this.recall();
    if (!state.photo) {
      fill(this.form, h("p", {}, t.go.photoFirst), h("div", {}, button(t.tabs.stylise, this.goOn, { class: "primary" })));
      return;
    }
    this.styles ??= new Set(state.tray.filter((style) => style.chosen).map((style) => style.ref));
    this.showForm();
  }

  /** The grid as it was before a reload. */
  async recall() {
    this.cells = new Map();
    const { group, cells } = (await recall(KEPT)) ?? { cells: [] };
    for (const [id, what] of cells) this.place(id, what);
    if (cells.length) this.follow(group);
  }

  options(title, chosen, pairs) {
    const group = h("fieldset", { class: "options" }, h("legend", { class: "title" }, title), pairs.map(([key, text]) => h("label", { class: "check" },
      h("input", { type: "checkbox", checked: chosen.has(key), onchange: (event) => { event.target.checked ? chosen.add(key) : chosen.delete(key); this.showCount(); } }), text)));
    return group;
  }

  showForm() {
    this.go = button("", () => this.submit(), { class: "primary" });
    this.stop = button(t.sweep.cancelAll, () => Promise.all(this.left().map(({ id }) => api.cancel(id))));
    const regions = this.regions();
    fill(this.form,
      h("div", { class: "references" }, h("img", { src: api.smallUrl(state.photo.id), alt: t.photo.alt(state.photo.name) }),
        h("p", { class: "help" }, [t.sweep.fromStylise, regions.length ? t.sweep.inRegions(regions.length) : ""].join(" "))),
      h("div", { class: "columns" },
        this.options(t.sweep.methods, this.methods, methodChoices().map((name) => [name, methodTitle(name)])),
        this.options(t.sweep.strengths, this.strengths, STRENGTHS.map((strength) => [strength, strength])),
        this.options(t.sweep.styles, this.styles, state.tray.map((style) => [style.ref, style.name]))),
      h("div", { class: "row" }, this.go, this.stop));
    this.showCount();
  }

  /** The cells that are not over. */
  left() { return [...this.cells.values()].filter((cell) => !cell.isOver); }

  regions() { return state.tool === "everywhere" ? [] : state.regions.filter((region) => region.mask); }

  /** The combinations that can be made: each method with the styles, and where there are any the regions, that it takes. */
  combinations() {
    const styles = state.tray.filter((style) => this.styles.has(style.ref));
    const methods = methodChoices().filter((method) => this.methods.has(method) && (methodNamed(method)?.regions || !this.regions().length));
    return methods.flatMap((method) => styles.filter((style) => fits(style, methodNamed(method)))
      .flatMap((style) => STRENGTHS.filter((strength) => this.strengths.has(strength)).map((strength) => ({ method, style: { ref: style.ref, name: style.name }, strength }))));
  }

  showCount() {
    if (!this.go) return;
    const count = this.combinations().length;
    this.go.disabled = !count || count > MOST;
    this.go.textContent = count > MOST ? t.sweep.most(MOST) : count ? t.sweep.go(count) : t.sweep.none;
    this.stop.hidden = !this.left().length;
  }

  async submit() {
    if (!this.stylise.panel.fold.check()) throw new Error(t.sweep.wrong);
    this.go.disabled = true;
    for (const cell of this.cells.values()) cell.leave();
    this.cells = new Map();
    fill(this.grid);
    const group = `sweep ${freshKey()}`;
    try {
      const regions = this.regions().length ? await this.stylise.regions.request() : [];
      for (const what of this.combinations()) this.place((await api.submit(this.request(what, regions, group))).id, what);
    } finally {
      await keep(KEPT, { group, cells: [...this.cells].map(([id, { what }]) => [id, what]) });
      this.follow(group);
      this.showForm();
    }
  }

  request({ method, style, strength }, regions, group) {
    const where = regions.length ? { regions: regions.map((region) => ({ where: region.where, weight: region.weight, ...inRequest(style.ref) })) } : { styles: [inRequest(style.ref)] };
    const sent = method === state.method ? settings() : commonSettings(method);
    return { kind: "stylize", content: state.photo.id, ...where, method, seed: state.seed, group, settings: { ...sent, strength: Number(strength) } };
  }

  /** A cell for a job, in the row of its method and style. */
  place(id, what) {
    const cell = new Cell(id, what, async (job) => { this.goOn(); await this.stylise.use(job, job); });
    const row = [...this.cells.values()].find((each) => each.what.method === what.method && each.what.style.ref === what.style.ref)?.element.parentElement ?? this.row(what);
    row.append(cell.element);
    this.cells.set(id, cell);
  }

  row({ method, style }) {
    const row = h("div", { class: "grid" });
    this.grid.append(h("section", {}, h("h3", { style: "margin-bottom: .6rem" }, `${methodTitle(method)} · ${style.name}`), row));
    return row;
  }

  follow(group) {
    const { cells } = this;
    untilOver(group, [...cells.keys()], (job) => { cells.get(job.id).take(job); this.showCount(); }).catch((error) => toast(error.message, { error: true }));
  }
}
