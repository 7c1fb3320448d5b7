// Regions: chosen by clicks on segments, by a box, or with a brush; each with its style and weight.

import { h, fill, button, choice, slider, toast } from "./dom.js";
import { api, fetchBlob, freshKey } from "./api.js";
import { TINTS, cellsOf, dab, maskOfSegments, pngOfMask } from "./masks.js";
import { chosenMethod, inRequest, methodTitle, state, usableStyles } from "./state.js";
import { t } from "./texts.js";
import { Undoing } from "./undoing.js";

const MOST_CUT = 4_000_000; // pixels
const REGION_ALPHA = 90, HOVER_ALPHA = 80;

export class Regions {
  constructor(easel, changed) {
    this.easel = easel;
    this.changed = changed; // called when the list is to be shown anew
    this.element = h("div", { class: "part" });
    this.labels = null;
    this.steps = new Undoing();
    this.radius = 0.03; // of the grid's longer side
  }

  clear() {
    state.regions = [];
    state.current = null;
    this.forPhoto();
  }

  /** Begin with another photo, whose regions are there already. */
  forPhoto() {
    this.labels = null;
    this.hovered = 0;
    this.steps.clear();
  }

  /** Take the last step back, or take it again. */
  undo() { if (this.steps.undo()) this.show(); }

  redo() { if (this.steps.redo()) this.show(); }

  /** Find the photo's segments, once for each photo. */
  async needLabels() {
    if (this.labels) return;
    const photo = state.photo;
    this.easel.say(t.where.finding);
    const labels = await cellsOf(await api.segments(photo.id), this.easel.size);
    if (photo !== state.photo) return;
    this.easel.say("");
    this.labels = labels;
    this.count = labels.reduce((most, number) => Math.max(most, number), 0);
  }

  current() {
    if (!state.current) this.add();
    return state.current;
  }

  add() {
    const style = usableStyles().find((each) => each.chosen) ?? usableStyles()[0];
    const used = new Set(state.regions.map((region) => region.tint));
    const tint = TINTS.find((each) => !used.has(each)) ?? TINTS[state.regions.length % TINTS.length];
    const region = { id: freshKey(), kind: "segments", numbers: new Set(), query: "", mask: null, style: style?.ref ?? "", weight: 1, tint };
    state.regions.push(region);
    state.current = region;
    return region;
  }

  remove(region) {
    this.steps.remember();
    const place = state.regions.indexOf(region);
    state.regions.splice(place, 1);
    if (state.current === region) state.current = state.regions.at(-1) ?? null;
    this.show();
    toast(`${t.remove}: ${t.regions.name(place + 1)}`, { undo: () => {
      if (state.regions.some(({ id }) => id === region.id)) return;
      this.steps.remember();
      state.regions.splice(place, 0, region);
      state.current = region;
      this.show();
    } });
  }

  under(point) {
    return this.labels?.[Math.floor(point.y) * this.easel.size.width + Math.floor(point.x)] ?? 0;
  }

  hover(point) {
    const number = state.tool === "click" && point ? this.under(point) : 0;
    if (number === this.hovered) return;
    this.hovered = number;
    this.easel.say(number ? t.where.under(number, this.count) : "");
    this.draw();
  }

  async pick(point) {
    await this.needLabels();
    const number = this.under(point);
    if (!number) return;
    this.steps.remember();
    let region = this.current();
    if (region.kind !== "segments") region = this.add();
    const there = region.numbers.delete(number);
    if (!there) region.numbers.add(number);
    region.mask = region.numbers.size ? maskOfSegments(this.labels, region.numbers) : null;
    this.easel.say(there ? t.where.dropped(number) : t.where.chosen(number));
    this.show();
  }

  async box(corners) {
    this.steps.remember();
    const region = this.current().mask ? this.add() : this.current();
    this.easel.say(t.where.cutting);
    try {
      const picture = await this.cuttable();
      const [sx, sy] = [picture.width / this.easel.size.width, picture.height / this.easel.size.height];
      const [left, top, right, bottom] = corners.map((value, at) => Math.round(value * (at % 2 ? sy : sx)));
      await this.ask(region, picture, `box:${left},${top},${right},${bottom}`);
      if (!region.mask.some(Boolean)) {
        await this.ask(region, picture, `polygon:${left},${top};${right},${top};${right},${bottom};${left},${bottom}`);
        toast(t.where.wholeBox);
      }
    } catch (error) {
      state.regions.splice(state.regions.indexOf(region), 1);
      state.current = state.regions.at(-1) ?? null;
      this.steps.forget();
      throw error;
    } finally {
      this.easel.say("");
      this.show();
    }
  }

  /** The photo; of a large one a smaller copy, because the server cuts nothing out of very large pictures while one waits. */
  async cuttable() {
    const { photo } = state;
    if (photo.width * photo.height <= MOST_CUT) return photo;
    photo.copy ??= await api.addPicture(await fetchBlob(photo.url), "copy.jpg");
    return photo.copy;
  }

  /** Let the server find a region's mask in a picture. */
  async ask(region, picture, query) {
    region.mask = (await cellsOf(await api.mask(picture.id, query), this.easel.size)).map((level) => (level > 127 ? 1 : 0));
    region.query = query;
    // Pixels of a copy are not the photo's: then the mask itself is sent.
    region.kind = picture === state.photo ? "box" : "painted";
  }

  stroke(point, first) {
    const { size } = this.easel;
    if (first) this.steps.remember();
    const region = this.current();
    if (first) region.mask = region.mask ? region.mask.slice() : new Uint8Array(size.width * size.height);
    region.kind = "painted";
    dab(region.mask, size, point, this.radius * Math.max(size.width, size.height), state.tool === "brush" ? 1 : 0);
    this.draw();
    if (first) this.show();
  }

  draw() {
    const looks = state.regions.filter((region) => region.mask).map(({ mask, tint }) => ({ mask, tint, alpha: REGION_ALPHA }));
    const under = this.hovered && this.labels ? { mask: maskOfSegments(this.labels, new Set([this.hovered])), tint: "#ffffff", alpha: HOVER_ALPHA } : null;
    this.easel.setLooks(looks, under);
  }

  show() {
    this.draw();
    this.list();
    this.changed();
  }

  list() {
    const able = chosenMethod()?.regions ?? true;
    fill(this.element, state.tool === "everywhere" ? [] : [
      h("h3", {}, t.regions.title),
      able ? null : h("p", { class: "bad" }, t.regions.unable(methodTitle(state.method))),
      state.regions.map((region, number) => this.row(region, number + 1)),
      state.regions.length ? h("p", { class: "help" }, t.regions.rest) : h("p", { class: "help" }, t.regions.none),
      state.regions.some((region) => region.mask) ? h("div", {}, button(t.regions.another, () => { this.add(); this.show(); })) : null,
    ]);
    this.element.hidden = state.tool === "everywhere";
  }

  row(region, number) {
    const styles = usableStyles().map((style) => [style.ref, style.name]);
    if (styles.length && !styles.some(([ref]) => ref === region.style)) region.style = styles[0][0];
    const what = { segments: region.numbers.size ? t.regions.parts(region.numbers.size) : t.regions.empty, box: t.regions.boxed, painted: t.regions.painted }[region.kind];
    const choose = () => { if (state.current !== region) { state.current = region; this.show(); } };
    return h("div", { class: region === state.current ? "region current" : "region", style: `--tint: ${region.tint}`, onpointerdown: (event) => { if (event.target.closest("div.region") === event.target) choose(); } },
      h("div", { class: "fieldhead" },
        h("label", { class: "check title" }, h("input", { type: "radio", name: "current-region", checked: region === state.current, onchange: choose }), t.regions.name(number)),
        h("span", { class: "soft" }, what),
        h("button", { type: "button", class: "plain", "aria-label": `${t.remove}: ${t.regions.name(number)}`, onclick: () => this.remove(region) }, "×")),
      styles.length ? choice({ label: t.regions.style, options: styles, value: region.style, onchange: (ref) => { region.style = ref; } }) : h("p", { class: "help" }, t.style.none),
      slider({ label: t.regions.weight, min: 0.1, max: 1, step: 0.1, value: region.weight, say: (value) => `${Math.round(100 * value)} %`, oninput: (value) => { region.weight = value; } }));
  }

  /** The regions as the service takes them; painted masks are uploaded first. Raises where none is chosen. */
  async request() {
    const method = chosenMethod();
    if (method && !method.regions) throw new Error(t.regions.unable(methodTitle(state.method)));
    const chosen = state.regions.filter((region) => region.mask);
    if (!chosen.length) throw new Error(t.regions.none);
    if (chosen.some((region) => !region.style)) throw new Error(t.style.first);
    return Promise.all(chosen.map(async (region) => ({ where: await this.where(region), ...inRequest(region.style), weight: region.weight })));
  }

  async where(region) {
    if (region.kind === "segments") return `segment:${[...region.numbers].sort((a, b) => a - b).join(",")}`;
    if (region.kind === "box") return region.query;
    const file = await pngOfMask(region.mask, this.easel.size);
    return `mask:${(await api.addPicture(file, "mask.png")).id}`;
  }

  /** Take regions over from a request that was sent before, their styles as the tray names them. */
  async take(regions) {
    this.clear();
    for (const { where, style, weight } of regions) {
      const region = this.add();
      Object.assign(region, { style, weight });
      if (where.startsWith("segment:")) {
        await this.needLabels();
        region.numbers = new Set(where.slice(8).split(",").map(Number));
        region.mask = maskOfSegments(this.labels, region.numbers);
        continue;
      }
      if (where.startsWith("mask:")) {
        region.kind = "painted";
        region.mask = (await cellsOf(await fetchBlob(api.shownUrl(where.slice(5))), this.easel.size)).map((level) => (level > 127 ? 1 : 0));
      } else {
        await this.ask(region, state.photo, where);
      }
    }
    this.show();
  }
}
