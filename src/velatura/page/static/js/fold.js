// All other settings, folded away: each with a name and help in plain words, and a sentence where its value cannot be used.

import { h, fill, button, faultPlace, freshId, sayAt, toast } from "./dom.js";
import { chosenMethod, state } from "./state.js";
import { t } from "./texts.js";

const SHOWN_ABOVE = new Set(["strength", "colours", "style_scale", "resolution", "size"]);
const NEEDS_FILES = /^(ip_adapter|control)|^noise_file$/; // no file of the server is named from a page
const SEED = { name: "seed", kind: "whole number", default: 0, low: 0, high: 1e15 - 1, allowed: t.set.seedAllowed }; // a number that JavaScript holds exactly

export class Fold {
  constructor() {
    this.element = h("details", {});
    this.inputs = new Map();
    this.count = h("span", { class: "soft" });
  }

  show() {
    const specs = (chosenMethod()?.settings ?? []).filter(({ name, kind }) => !SHOWN_ABOVE.has(name) && !NEEDS_FILES.test(name) && kind !== "numbers by name");
    const [known, rare] = [specs.filter(({ name }) => t.settings[name]), specs.filter(({ name }) => !t.settings[name])];
    this.inputs.clear();
    this.showCount();
    fill(this.element, h("summary", {}, t.set.more, this.count), h("div", { class: "settings" }, this.seed(),
      specs.length ? known.map((spec) => this.setting(spec)) : h("p", { class: "help" }, t.set.loading),
      rare.length ? h("details", {}, h("summary", {}, t.set.rare), h("div", { class: "settings" }, rare.map((spec) => this.setting(spec)))) : null,
      h("div", {}, button(t.set.reset, () => { state.changed = {}; state.wrong = {}; this.show(); toast(t.set.isReset); }))));
  }

  showCount() {
    this.count.textContent = ` ${t.set.moreHelp(Object.keys(state.changed).length)}`;
  }

  /** Whether every value can be used; else the first that cannot is shown, with the reason at its field. */
  check() {
    const [name] = Object.keys(state.wrong);
    if (!name) return true;
    const input = this.inputs.get(name);
    for (let at = input.parentElement; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    input.focus();
    input.scrollIntoView({ block: "center" });
    return false;
  }

  seed() {
    const set = (seed) => { state.seed = seed; };
    const [input, place] = this.number(SEED, state.seed, set);
    const another = () => { set(Math.floor(Math.random() * 1e6)); input.value = state.seed; input.dispatchEvent(new Event("change")); };
    return h("div", { class: "field" }, h("label", { for: input.id }, t.set.seed), h("div", { class: "row" }, h("div", { class: "grow" }, input), button(t.set.another, another)),
      place, h("p", { class: "help" }, t.set.seedHelp));
  }

  setting(spec) {
    const value = state.changed[spec.name] ?? spec.default;
    const set = (entered) => {
      if (entered === spec.default) delete state.changed[spec.name];
      else state.changed[spec.name] = entered;
      this.showCount();
    };
    const isNumber = spec.kind === "whole number" || spec.kind === "number";
    const [input, place] = spec.choices.length ? [this.list(spec, value, set)] : isNumber ? this.number(spec, value, set) : [this.text(value, set)];
    this.inputs.set(spec.name, input);
    const [label, help] = t.settings[spec.name] ?? [spec.name.replaceAll("_", " "), spec.help.replaceAll("`", "")];
    const range = isNumber && spec.allowed ? t.set.range(spec.allowed) : "";
    return h("div", { class: "field" }, h("label", { for: input.id }, label), input, place ?? null, h("p", { class: "help" }, [help, range].filter(Boolean).join(" ")));
  }

  list({ choices, default: standard }, value, set) {
    const options = choices.includes(standard) ? choices : [standard, ...choices];
    const input = h("select", { id: freshId("setting"), onchange: () => set(input.value) }, options.map((each) => h("option", { value: each, selected: each === value }, each || t.set.standard)));
    return input;
  }

  text(value, set) {
    const input = h("input", { id: freshId("setting"), type: "text", value, maxlength: 2000, onchange: () => set(input.value) });
    return input;
  }

  /** A number's field and the place for what is wrong with it. An empty field means the default. */
  number(spec, value, set) {
    const place = faultPlace();
    const input = h("input", { id: freshId("setting"), type: "number", value: state.wrong[spec.name] ?? value, step: spec.kind === "number" ? "any" : 1, onchange: () => {
      const why = fault(spec, input);
      if (why) state.wrong[spec.name] = input.value;
      else {
        delete state.wrong[spec.name];
        if (input.value === "") input.value = spec.default;
        set(Number(input.value));
      }
      sayAt(input, place, why);
    } });
    this.inputs.set(spec.name, input);
    if (spec.name in state.wrong) sayAt(input, place, fault(spec, input));
    return [input, place];
  }
}

/** Why a field's value cannot be used; empty where it can. */
function fault({ kind, default: standard, low, high, allowed }, input) {
  if (input.validity.badInput) return t.set.noNumber;
  const value = Number(input.value);
  if (input.value === "" || value === standard) return "";
  const isBelow = low !== null && (value < low || (value === low && allowed.startsWith("over")));
  if (isBelow || (high !== null && value > high)) return t.set.outside(allowed);
  return kind === "whole number" && !Number.isInteger(value) ? t.set.noWhole : "";
}
