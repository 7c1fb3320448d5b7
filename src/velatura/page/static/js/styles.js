// Styles: the library with thumbnails; fit, rename, delete with undo, mix, export, import.

import { h, fill, button, choice, dialog, dropTarget, faultPlace, fileButton, freshId, sayAt, slider, toast } from "./dom.js";
import { api } from "./api.js";
import { curve } from "./curve.js";
import { methodChoices } from "./panel.js";
import { Running } from "./running.js";
import { addStyle, methodNamed, methodTitle, state } from "./state.js";
import { t } from "./texts.js";

export class Styles {
  constructor(stylise, goOn) {
    this.stylise = stylise;
    this.goOn = goOn;
    this.chosen = new Set();
    this.lossPlace = h("div", {});
    this.running = new Running({
      loss: (stage, done, sum) => this.loss(stage, done, sum),
      done: async (job) => { fill(this.lossPlace); toast(t.styles.kept(job.outcome.style)); await this.show(); },
      over: (message, how) => { fill(this.lossPlace); toast(message, { error: how === "failed" }); },
    });
    this.grid = h("div", { class: "grid" });
    this.mixing = h("div", {});
    this.element = h("div", {},
      h("div", { class: "panelhead" }, h("h2", {}, t.styles.title), h("div", { class: "end" },
        fileButton(t.styles.fit, "image/*,.heic,.heif,.avif", (files) => this.askFit(files), { multiple: true, cls: "primary" }),
        fileButton(t.styles.import, ".safetensors", async ([file]) => { const style = await api.importStyle(file); toast(t.styles.kept(style.name)); await this.show(); }))),
      h("div", { style: "margin-bottom: 1.2rem; display: grid; gap: .6rem" }, this.running.element, this.lossPlace), this.mixing, this.grid);
    dropTarget(this.element, (files) => this.askFit(files));
  }

  async show() {
    this.styles = await api.styles();
    this.chosen = new Set([...this.chosen].filter((name) => this.styles.some((style) => style.name === name)));
    fill(this.grid, this.styles.length ? this.styles.map((style) => this.card(style)) : h("p", { class: "soft" }, t.styles.none));
    this.showMixing();
    await this.stylise.loadLibrary();
  }

  card(style) {
    const { name } = style;
    const picture = style.has_thumbnail ? h("div", { class: "pic" }, h("img", { src: api.thumbnailUrl(name), alt: "", loading: "lazy" })) : h("div", { class: "pic blank" }, style.damaged ? t.styles.damaged : t.styles.noPicture);
    return h("article", { class: "card" }, picture,
      h("div", { class: "text" },
        h("div", { class: "fieldhead" }, h("h3", {}, name), style.damaged ? null : h("input", { type: "checkbox", "aria-label": t.styles.choose(name), checked: this.chosen.has(name),
          onchange: (event) => { event.target.checked ? this.chosen.add(name) : this.chosen.delete(name); this.showMixing(); } })),
        h("p", { class: "help" }, [methodTitle(style.method), style.model].filter(Boolean).join(" · ")),
        style.curve.length > 1 ? h("figure", {}, curve(style.curve, `${t.styles.loss}: ${name}`), h("figcaption", { class: "help" }, t.styles.fell(style.curve[0][1], style.curve.at(-1)[1]))) : null),
      h("div", { class: "acts" },
        style.damaged ? null : button(t.styles.use, () => this.use(style), { class: "plain" }),
        style.damaged ? null : button(t.rename, () => this.askName(name), { class: "plain" }),
        h("a", { class: "plainlink", href: api.styleFileUrl(name), download: `${name}.safetensors` }, t.styles.export),
        button(t.remove, () => this.remove(name), { class: "plain" })));
  }

  async use(style) {
    const method = state.methods.find((each) => each.style_method === style.method && !each.published);
    if (method && methodNamed(state.method)?.style_method !== style.method) state.method = method.name;
    for (const each of state.tray) each.chosen = false;
    addStyle({ ref: style.name, name: style.name, method: style.method }).chosen = true;
    this.goOn();
    this.stylise.show();
  }

  async remove(name) {
    const { undo } = await api.removeStyle(name);
    await this.show();
    toast(t.styles.removed(name), { undo: async () => { await api.restoreStyle(undo); await this.show(); } });
  }

  has(name) { return this.styles.some((style) => style.name === name); }

  /** A small dialogue that asks for a name; `go` gets it, and what is wrong is said at the field. */
  ask(title, label, value, go, ...more) {
    const id = freshId("name");
    const place = faultPlace();
    const input = h("input", { id, type: "text", value, maxlength: 80, required: true });
    const box = dialog(title, h("form", { class: "options", style: "gap: 1rem", onsubmit: async (event) => {
      event.preventDefault();
      try {
        await go(input.value.trim());
        box.close();
      } catch (error) {
        sayAt(input, place, error.message);
        input.focus();
      }
    } }, h("div", { class: "field" }, h("label", { for: id }, label), input, place), more, h("button", { type: "submit", class: "primary" }, title)));
    box.classList.add("narrow");
    input.select();
  }

  askName(name) {
    this.ask(t.rename, t.styles.renameTo, name, async (to) => {
      if (to !== name && this.has(to)) throw new Error(t.styles.taken(to));
      await api.renameStyle(name, to);
      await this.show();
    });
  }

  async askFit(files) {
    const pictures = await Promise.all(files.map((file) => api.addPicture(file)));
    let method = state.method;
    const replace = h("input", { type: "checkbox" });
    this.ask(t.styles.fit, t.styles.name, pictures[0].name, async (name) => {
      if (this.has(name) && !replace.checked) throw new Error(t.styles.takenFit(name));
      const job = await api.fitStyle({ name, pictures: pictures.map(({ id }) => id), method, replace: replace.checked });
      this.stage = null;
      fill(this.lossPlace);
      this.running.follow(job.id);
    }, h("div", { class: "references" }, pictures.map(({ id, name }) => h("img", { src: api.smallUrl(id), alt: name }))),
    choice({ label: t.styles.method, value: method, options: methodChoices().map((each) => [each, methodTitle(each)]), onchange: (value) => { method = value; } }),
    h("label", { class: "check" }, replace, t.styles.replace));
  }

  loss(stage, done, sum) {
    if (stage !== this.stage) [this.stage, this.points] = [stage, []];
    this.points.push([done, sum]);
    if (this.points.length > 1) fill(this.lossPlace, h("figure", {}, h("figcaption", { class: "soft" }, t.styles.lossCurve), curve(this.points, t.styles.lossCurve)));
  }

  showMixing() {
    const styles = this.styles.filter((style) => this.chosen.has(style.name));
    const weights = new Map(styles.map((style) => [style.name, 1]));
    const able = styles.length > 1 && new Set(styles.map((style) => style.method)).size === 1;
    fill(this.mixing, styles.length ? h("div", { class: "toolcard" }, h("h3", {}, t.styles.mix),
      able ? [h("div", { class: "columns" }, styles.map(({ name }) => slider({ label: t.style.share(name), min: 0.1, max: 1, step: 0.1, value: 1, say: (value) => value.toFixed(1), oninput: (value) => weights.set(name, value) }))),
        h("div", {}, button(t.styles.mixGo, () => this.ask(t.styles.mixGo, t.styles.mixName, styles.map(({ name }) => name).join(" and ").slice(0, 80), async (name) => {
          if (this.has(name)) throw new Error(t.styles.taken(name));
          await api.mixStyles({ name, parts: [...weights].map(([style, weight]) => ({ style, weight })) });
          this.chosen.clear();
          toast(t.styles.kept(name));
          await this.show();
        })))] : h("p", { class: "help" }, t.styles.mixHelp)) : null);
  }
}
