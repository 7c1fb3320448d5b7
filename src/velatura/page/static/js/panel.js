// The choices beside the easel: styles, method, strength, colours, stroke size, and all other settings folded away.

import { h, fill, button, choice, dialog, dropTarget, fileButton, freshId, segmented, slider, toast } from "./dom.js";
import { api } from "./api.js";
import { addStyle, chosenMethod, methodNamed, methodTitle, state, usableStyles } from "./state.js";
import { t } from "./texts.js";

const FIRST = ["guided", "s2prest", "diffstyler"];
const OWN_FIELDS = new Set(["strength", "colours", "style_scale", "resolution", "size"]); // shown above the fold
const COLOUR_CHOICES = ["", "style", "content", "between"];

export const methodChoices = () => [...FIRST, ...state.methods.map(({ name }) => name).filter((name) => !FIRST.includes(name) && !methodNamed(name).published)]
  .filter((name) => !state.methods.length || state.methods.some((method) => method.name === name));

/** Upload style pictures into the tray, chosen. */
export async function takeStyles(files) {
  for (const file of files) {
    const picture = await api.addPicture(file);
    addStyle({ ref: `picture:${picture.id}`, name: picture.name, url: api.smallUrl(picture.id) }).chosen = true;
  }
}

export class Panel {
  constructor(changed) {
    this.changed = changed;
    this.tray = h("div", { class: "part" });
    this.method = h("div", { class: "part" });
    this.settings = h("div", { class: "part" });
    this.fold = h("details", {});
    dropTarget(this.tray, async (files) => { await takeStyles(files); this.showTray(); this.changed(); });
  }

  show() {
    this.showTray();
    this.showMethod();
    this.showSettings();
    this.showFold();
  }

  showTray() {
    const styles = usableStyles();
    const chosen = styles.filter((style) => style.chosen);
    const mixes = chosenMethod()?.mixes;
    fill(this.tray, h("h3", { class: "title" }, t.style.title),
      styles.length ? h("div", { class: "tray" }, styles.map((style) => this.swatch(style))) : h("p", { class: "help" }, t.style.none),
      h("div", { class: "row" }, fileButton(t.style.add, "image/*,.heic,.heif,.avif", async (files) => { await takeStyles(files); this.showTray(); this.changed(); }, { multiple: true }),
        chosenMethod()?.text_styles ? button(t.style.words, () => this.askWords()) : null),
      chosen.length > 1 && state.tool === "everywhere" ? (mixes
        ? [h("p", { class: "help" }, t.style.mixed), chosen.map((style) => slider({ label: t.style.share(style.name), min: 0.1, max: 1, step: 0.1, value: style.weight, say: (value) => value.toFixed(1), oninput: (value) => { style.weight = value; } }))]
        : h("p", { class: "help" }, t.style.cannotMix(methodTitle(state.method)))) : null);
  }

  swatch(style) {
    return h("button", { type: "button", class: "swatch", "aria-pressed": String(style.chosen), title: style.name, onclick: () => {
      style.chosen = !style.chosen;
      this.showTray();
      this.changed();
      [...this.tray.querySelectorAll(".swatch")].find((each) => each.title === style.name)?.focus();
    } },
    style.url ? h("img", { src: style.url, alt: "", loading: "lazy" }) : h("span", { class: "words", "aria-hidden": "true" }, style.ref.startsWith("text:") ? "“ ”" : style.name.slice(0, 2)),
    h("span", { class: "name" }, style.name));
  }

  askWords() {
    const id = freshId("words");
    const input = h("input", { id, type: "text", placeholder: t.style.wordsHint, maxlength: 200, required: true });
    const box = dialog(t.style.words, h("form", { class: "field", onsubmit: (event) => {
      event.preventDefault();
      const words = input.value.trim();
      if (words) addStyle({ ref: `text:${words}`, name: words }).chosen = true;
      box.close();
      this.showTray();
      this.changed();
    } }, h("label", { for: id }, t.style.wordsLabel), input, h("button", { class: "primary", type: "submit" }, t.style.use)));
    box.classList.add("narrow");
  }

  showMethod() {
    const name = freshId("method");
    const row = (method) => h("label", {}, h("input", { type: "radio", name, value: method, checked: method === state.method, onchange: () => this.setMethod(method) }),
      h("span", { class: "title" }, methodTitle(method)), h("span", { class: "help" }, t.method.help[method] ?? ""));
    const [first, others] = [methodChoices().filter((each) => FIRST.includes(each)), methodChoices().filter((each) => !FIRST.includes(each))];
    fill(this.method, h("fieldset", { class: "methods" }, h("legend", { class: "title", style: "margin-bottom:.5rem" }, t.method.title), first.map(row),
      others.length ? h("details", { open: others.includes(state.method) }, h("summary", {}, t.method.more), h("div", { class: "methods" }, others.map(row))) : null));
  }

  setMethod(method) {
    state.method = method;
    state.changed = {};
    this.showTray();
    this.showSettings();
    this.showFold();
    this.changed();
  }

  showSettings() {
    const standard = chosenMethod()?.settings.find((spec) => spec.name === "strength")?.default ?? 0.5;
    const between = state.colours === "between"
      ? slider({ label: t.set.between, min: 0, max: 1, step: 0.05, value: state.between, say: (value) => `${Math.round(100 * value)} %`, oninput: (value) => { state.between = value; } }) : null;
    fill(this.settings,
      slider({ label: t.set.strength, min: 0, max: 1, step: 0.05, value: state.strength ?? (standard >= 0 ? standard : 0.5), say: (value) => (state.strength === null && standard < 0 ? t.set.standard : value.toFixed(2)), help: t.set.strengthHelp, oninput: (value) => { state.strength = value; } }),
      choice({ label: t.set.colours, value: state.colours, options: COLOUR_CHOICES.map((key) => [key, t.set.coloursOf[key]]), onchange: (value) => { state.colours = value; this.showSettings(); } }), between,
      slider({ label: t.set.stroke, min: -2, max: 2, step: 0.5, value: state.stroke, say: t.set.strokeSay, oninput: (value) => { state.stroke = value; } }),
      segmented({ label: t.set.quality, options: Object.entries(t.set.qualities).sort((a, b) => "256 0 full".indexOf(a[0]) - "256 0 full".indexOf(b[0])), value: state.quality, onchange: (value) => { state.quality = value; } }));
  }

  showFold() {
    const specs = (chosenMethod()?.settings ?? []).filter((spec) => !OWN_FIELDS.has(spec.name) && spec.kind !== "numbers by name");
    const count = h("span", { class: "soft" });
    const counted = () => { count.textContent = ` ${t.set.moreHelp(Object.keys(state.changed).length)}`; };
    const seed = h("input", { id: freshId("seed"), type: "number", min: 0, step: 1, value: state.seed, onchange: () => { state.seed = Math.max(0, Math.floor(Number(seed.value) || 0)); seed.value = state.seed; } });
    const other = button(t.set.another, () => { state.seed = Math.floor(Math.random() * 1e6); seed.value = state.seed; });
    counted();
    fill(this.fold, h("summary", {}, t.set.more, count), h("div", { class: "settings" },
      h("div", { class: "field" }, h("label", { for: seed.id }, t.set.seed), h("div", { class: "row" }, h("div", { class: "grow" }, seed), other)),
      specs.length ? specs.map((spec) => this.setting(spec, counted)) : h("p", { class: "help" }, t.set.loading),
      h("div", {}, button(t.set.reset, () => { state.changed = {}; this.showFold(); toast(t.set.reset); }))));
  }

  setting(spec, counted) {
    const id = freshId("setting");
    const value = state.changed[spec.name] ?? spec.default;
    const set = (entered) => {
      if (entered === spec.default || (typeof entered === "number" && Number.isNaN(entered))) delete state.changed[spec.name];
      else state.changed[spec.name] = entered;
      counted();
    };
    let input;
    if (spec.choices.length) {
      const options = spec.choices.includes(spec.default) ? spec.choices : [spec.default, ...spec.choices];
      input = h("select", { id, onchange: () => set(input.value) }, options.map((each) => h("option", { value: each, selected: each === value }, each || t.set.standard)));
    } else if (spec.kind === "whole number" || spec.kind === "number") {
      input = h("input", { id, type: "number", value, min: spec.kind === "number" || spec.default !== -1 ? spec.low : null, max: spec.high, step: spec.kind === "number" ? "any" : 1, onchange: () => {
        if (input.checkValidity()) set(input.value === "" ? NaN : Number(input.value));
        else input.reportValidity();
      } });
    } else {
      input = h("input", { id, type: "text", value, onchange: () => set(input.value) });
    }
    return h("div", { class: "field" }, h("label", { for: id }, spec.name.replaceAll("_", " ")), input,
      h("p", { class: "help" }, [spec.allowed, spec.help].filter(Boolean).join(". ")));
  }
}
