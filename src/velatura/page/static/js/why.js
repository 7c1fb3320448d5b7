// Why a result looks as it does: scores with what they mean, the layers of the run, losses, and how it was made.

import { h, dialog } from "./dom.js";
import { api } from "./api.js";
import { curve } from "./curve.js";
import { t } from "./texts.js";

/** A heading and a table below it. */
const table = (title, rows, heads) => [h("h3", {}, title), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
  h("table", {}, h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell) => h("td", {}, cell)))))))];

export async function showWhy(job) {
  const { facts, regions, settings, scores, curves } = await api.why(job.id);
  const layers = Object.keys(job.outcome.layers);
  dialog(t.why.title,
    h("p", { class: "soft" }, job.title),
    layers.length ? [h("h3", {}, t.why.layers), h("div", { class: "layers" }, layers.map((name) => h("figure", {},
      h("img", { src: api.layerUrl(job.id, name), alt: name, loading: "lazy" }), h("figcaption", { class: "soft" }, name.replaceAll("_", " ")))))] : [],
    scores.length ? table(t.why.scores, scores, [t.why.score, t.why.value, t.why.meaning]) : h("p", {}, t.why.none),
    Object.keys(curves).length ? [h("h3", {}, t.why.curves), h("div", { class: "layers" }, Object.entries(curves).map(([name, values]) => h("figure", {},
      curve(values.map((value, at) => [at, value]), name), h("figcaption", { class: "soft" }, name))))] : [],
    regions.length ? table(t.why.regions, regions, [t.why.number, t.where.label, t.regions.style, t.regions.weight, t.why.span]) : [],
    table(t.why.made, facts, [t.why.what, t.why.value]),
    settings.length ? table(t.why.settings, settings, [t.why.setting, t.why.value]) : []);
}
