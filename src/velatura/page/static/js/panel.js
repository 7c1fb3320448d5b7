// The choices beside the easel: styles, method, strength, colours, stroke size, and all other settings folded away.

import { h, fill, button, choice, dialog, dropTarget, fileButton, freshId, segmented, slider, toast } from "./dom.js";
import { api } from "./api.js";
import { Fold } from "./fold.js";
import { addStyle, chosenMethod, fits, methodNamed, methodTitle, state, usableStyles } from "./state.js";
import { t } from "./texts.js";

const FIRST = ["guided", "s2prest", "diffstyler"];
const NO_PICTURE = [400, 413, 415, 422]; // answers to a file that cannot be taken
const COLOUR_CHOICES = ["", "style", "content", "between"];

export const methodChoices = () => [...FIRST, ...state.methods.map(({ name }) => name).filter((name) => !FIRST.includes(name) && !methodNamed(name).published)]
  .filter((name) => !state.methods.length || state.methods.some((method) => method.name === name));

/** Upload style pictures into the tray, chosen. Raises one sentence for all that are no pictures, after the others. */
async function takeStyles(files) {
  const faults = [];
  for (const file of files) {
    try {
      const picture = await api.addPicture(file);
      addStyle({ ref: `picture:${picture.id}`, name: picture.name, url: api.smallUrl(picture.id) }).chosen = true;
    } catch (error) {
      if (!NO_PICTURE.includes(error.status)) throw error;
      faults.push({ name: file.name, why: error.message });
    }
  }
  if (faults.length) throw new Error(faults.length === 1 ? faults[0].why : t.style.bad(faults.map(({ name }) => name), faults[0].why));
}

export class Panel {
  constructor(changed) {
    this.changed = changed;
    this.tray = h("div", { class: "part" });
    this.method = h("div", { class: "part" });
    this.settings = h("div", { class: "part" });
    this.fold = new Fold();
    dropTarget(this.tray, (files) => this.take(files));
  }

  async take(files) {
    try {
      await takeStyles(files);
    } finally {
      this.showTray();
      this.changed();
    }
  }

  show() {
    this.showTray();
    this.showMethod();
    this.showSettings();
    this.fold.show();
  }

  showTray() {
    const chosen = usableStyles().filter((style) => style.chosen);
    const unusable = state.tray.length - usableStyles().length;
    const unused = state.tray.filter((style) => (!style.method || style.kept) && !style.chosen && !state.regions.some((region) => region.style === style.ref));
    const mixes = chosenMethod()?.mixes;
    fill(this.tray, h("h3", { class: "title" }, t.style.title),
      state.tray.length ? h("div", { class: "tray" }, state.tray.map((style) => this.swatch(style))) : h("p", { class: "help" }, t.style.none),
      unusable ? h("p", { class: "help" }, t.style.unusable(unusable, methodTitle(state.method))) : null,
      h("div", { class: "row" }, fileButton(t.style.add, "image/*,.heic,.heif,.avif", (files) => this.take(files), { multiple: true }),
        button(t.style.words, () => this.askWords(), { disabled: chosenMethod()?.text_styles === false }),
        unused.length ? button(t.style.tidy, () => this.tidy(unused), { class: "plain" }) : null),
      chosenMethod()?.text_styles === false ? h("p", { class: "help" }, t.style.noWords(methodTitle(state.method))) : null,
      chosen.length > 1 && state.tool === "everywhere" ? (mixes
        ? [h("p", { class: "help" }, t.style.mixed), chosen.map((style) => slider({ label: t.style.share(style.name), min: 0.1, max: 1, step: 0.1, value: style.weight, say: (value) => value.toFixed(1), oninput: (value) => { style.weight = value; } }))]
        : h("p", { class: "help" }, t.style.cannotMix(methodTitle(state.method)))) : null);
  }

  /** Take pictures and words away that are not chosen. */
  tidy(unused) {
    const before = state.tray;
    const put = (tray) => { state.tray = tray; this.showTray(); this.changed(); };
    put(before.filter((style) => !unused.includes(style)));
    toast(t.style.tidied(unused.length), { undo: () => put([...new Set([...state.tray, ...before])]) });
  }

  /** A style to choose; one that the method cannot use stays in its place, dimmed. */
  swatch(style) {
    const able = fits(style, chosenMethod());
    return h("button", { type: "button", class: able ? "swatch" : "swatch unable", disabled: !able, "aria-pressed": String(able && style.chosen), title: style.name, onclick: () => {
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
    state.wrong = {};
    this.showTray();
    this.showSettings();
    this.fold.show();
    this.changed();
  }

  showSettings() {
    const standard = chosenMethod()?.settings.find((spec) => spec.name === "strength")?.default ?? 0.5;
    const between = state.colours === "between"
      ? slider({ label: t.set.share, min: 0, max: 1, step: 0.05, value: state.between, say: (value) => `${Math.round(100 * value)} %`, oninput: (value) => { state.between = value; } }) : null;
    fill(this.settings,
      slider({ label: t.set.strength, min: 0, max: 1, step: 0.05, value: state.strength ?? (standard >= 0 ? standard : 0.5), say: (value) => (state.strength === null && standard < 0 ? t.set.own : value.toFixed(2)), help: t.set.strengthHelp, cls: state.strength === null && standard < 0 ? "unset" : "", oninput: (value) => { state.strength = value; } }),
      choice({ label: t.set.colours, value: state.colours, options: COLOUR_CHOICES.map((key) => [key, t.set.coloursOf[key]]), onchange: (value) => { state.colours = value; this.showSettings(); } }), between,
      slider({ label: t.set.stroke, min: -2, max: 2, step: 0.5, value: state.stroke, say: t.set.strokeSay, oninput: (value) => { state.stroke = value; } }),
      segmented({ label: t.set.quality, options: Object.entries(t.set.qualities).sort((a, b) => "256 0 full".indexOf(a[0]) - "256 0 full".indexOf(b[0])), value: state.quality, onchange: (value) => { state.quality = value; } }));
  }
}
