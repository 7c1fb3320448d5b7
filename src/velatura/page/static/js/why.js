// Why a result looks as it does: scores with what they mean, the layers of the run, losses, and how it was made.

import { h, dialog } from "./dom.js";
import { api } from "./api.js";
import { curve } from "./curve.js";
import { methodTitle } from "./state.js";
import { t } from "./texts.js";

/** A name as the program has it ("mask0", "mse_rgb.1") in words; the number is that of a region. */
function named(name) {
  const [, stem, number] = name.match(/^(.*?)[._]?(\d+)?$/);
  const whole = t.why.names[name];
  const words = whole ?? t.why.names[stem] ?? stem.replaceAll("_", " ");
  return number === undefined || whole ? words : t.why.inRegion(words, Number(number) + 1);
}

const factRow = ([what, value]) => [t.why.facts[what] ?? what, what === "method" ? methodTitle(value) : value];
const settingRow = ([name, value]) => [t.settings[name]?.[0] ?? t.set.named[name] ?? name.replaceAll("_", " "), value];

/** A heading and a table below it. */
const table = (title, rows, heads) => [h("h3", {}, title), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
  h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell)))))))];

export async function showWhy(job) {
  const { facts, regions, settings, scores, curves } = await api.why(job.id);
  const layers = Object.keys(job.outcome.layers);
  dialog(t.why.title,
    h("p", { class: "soft" }, [job.title.split(" · ")[0], methodTitle(job.request.method)].join(" · ")),
    layers.length ? [h("h3", {}, t.why.layers), h("div", { class: "layers" }, layers.map((name) => h("figure", {},
      h("img", { src: api.layerUrl(job.id, name), alt: named(name), loading: "lazy" }), h("figcaption", { class: "soft" }, named(name)))))] : [],
    scores.length ? table(t.why.scores, scores.map(([name, ...rest]) => [named(name), ...rest]), [t.why.score, t.why.value, t.why.meaning]) : h("p", {}, t.why.none),
    Object.keys(curves).length ? [h("h3", {}, t.why.curves), h("div", { class: "layers" }, Object.entries(curves).map(([name, values]) => h("figure", {},
      curve(values.map((value, at) => [at, value]), named(name)), h("figcaption", { class: "soft" }, t.why.from(named(name), values[0], values.at(-1))))))] : [],
    regions.length ? table(t.why.regions, regions, [t.why.number, t.where.label, t.regions.style, t.regions.weight, t.why.span]) : [],
    table(t.why.made, facts.map(factRow), [t.why.what, t.why.value]),
    settings.length ? table(t.why.settings, settings.map(settingRow), [t.why.setting, t.why.value]) : []);
}
