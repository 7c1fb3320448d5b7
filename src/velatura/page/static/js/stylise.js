// Stylise: drop a photo, choose a style, watch it being painted, compare, keep.

import { h, fill, button, fileButton, guarded, segmented, slider, toast } from "./dom.js";
import { api, isOver } from "./api.js";
import { ACCEPT, Easel } from "./easel.js";
import { Panel } from "./panel.js";
import { Regions } from "./regions.js";
import { Running } from "./running.js";
import { showWhy } from "./why.js";
import { addStyle, methodNamed, methodTitle, settings, state, takeSettings, usableStyles, wholeStyles } from "./state.js";
import { t } from "./texts.js";
import { Work } from "./work.js";

const TOOLS = ["everywhere", "click", "box", "brush", "erase"];

export class Stylise {
  constructor() {
    this.easel = new Easel({
      take: (files) => this.takePhoto(files[0]), sample: () => this.sample(),
      pick: (point) => this.regions.pick(point), box: (box) => this.regions.box(box),
      hover: (point) => this.regions.hover(point), stroke: (point, first) => this.regions.stroke(point, first),
    });
    this.regions = new Regions(this.easel, () => this.showGo());
    this.panel = new Panel(() => { this.regions.list(); this.showGo(); });
    this.running = new Running({
      preview: (url) => this.easel.showPreview(url),
      preparing: (words) => this.easel.write(words),
      done: (job) => this.done(job),
      over: (message, how) => { this.edit(); toast(message, { error: how === "failed" }); },
    });
    this.tools = h("div", { class: "toolbar" });
    this.after = h("div", { class: "toolbar", hidden: true });
    this.go = button(t.go.stylise, () => this.submit(), { class: "primary", id: "go" });
    this.element = h("div", { class: "studio" }, h("h2", { class: "unseen" }, t.tabs.stylise),
      h("div", { class: "easelside" }, this.easel.element, this.running.element, this.after, this.tools),
      h("div", { class: "panel" }, this.panel.tray, this.regions.element, this.panel.method, this.panel.settings, this.panel.fold.element,
        h("div", { class: "gobar" }, this.go)));
    this.work = new Work(this.element);
    document.addEventListener("keydown", (event) => this.key(event));
  }

  async start() {
    this.show();
    state.methods = await api.methods();
    await this.work.recall();
    await this.loadLibrary();
    const { shown } = state;
    if (state.photo) this.openPhoto();
    this.show();
    if (shown) await this.resume(shown);
  }

  /** Put the library's styles into the tray, those that are new. */
  async loadLibrary() {
    const names = new Set();
    for (const style of await api.styles()) {
      if (style.damaged) continue;
      names.add(style.name);
      addStyle({ ref: style.name, name: style.name, method: style.method, url: style.has_thumbnail ? api.thumbnailUrl(style.name) : null });
    }
    state.tray = state.tray.filter((style) => !style.method || style.kept || names.has(style.ref));
    this.panel.showTray();
  }

  /** Go on showing the job that was followed, or its result. */
  async resume(id) {
    const { job } = await api.job(id).catch(() => ({ job: null }));
    if (!job || job.request.content !== state.photo?.id) return;
    if (job.state === "done") await this.done(job);
    else if (isOver(job)) toast(t.job.failed(job.reason), { error: job.state === "failed" });
    else this.followed(job.id);
    this.showGo();
  }

  show() {
    this.panel.show();
    this.regions.list();
    this.showTools();
    this.showGo();
  }

  /** Take another photo; regions that were drawn on the former one come back with it. */
  async takePhoto(file) {
    const { photo, regions, current } = state;
    await this.setPhoto(await api.addPicture(file));
    if (!regions.some((region) => region.mask)) return;
    toast(t.photo.changed, { undo: () => {
      Object.assign(state, { photo, regions, current });
      this.openPhoto();
      this.show();
    } });
  }

  async setPhoto(photo) {
    state.photo = { ...photo, url: api.shownUrl(photo.id) };
    this.regions.clear();
    this.openPhoto();
    this.show();
  }

  /** Show the photo with the regions that are there. */
  openPhoto() {
    this.running.leave();
    this.after.hidden = true;
    state.shown = null;
    this.regions.forPhoto();
    this.easel.setPhoto(state.photo);
    this.easel.setTool(state.tool);
    this.regions.draw();
    if (state.tool === "click") guarded(() => this.regions.needLabels())();
  }

  async sample() {
    const file = async (name) => (await fetch(`/page/example/${name}`)).blob();
    const style = await api.addPicture(await file("style.jpg"), `${t.style.example}.jpg`);
    addStyle({ ref: `picture:${style.id}`, name: t.style.example, url: api.smallUrl(style.id) }).chosen = true;
    await this.setPhoto(await api.addPicture(await file("photo.jpg"), "astronaut.jpg"));
  }

  async setTool(tool) {
    state.tool = tool;
    this.easel.setTool(tool);
    this.show();
    this.regions.draw();
    if (tool === "click") await this.regions.needLabels();
  }

  showTools() {
    const busy = Boolean(this.running.id) || !this.after.hidden;
    this.tools.hidden = !state.photo || busy;
    fill(this.tools,
      segmented({ label: t.where.label, options: TOOLS.map((tool) => [tool, t.where[tool]]), value: state.tool, onchange: guarded((tool) => this.setTool(tool)) }),
      state.tool === "everywhere" ? null : h("div", { class: "row" },
        button(t.undo, () => this.regions.undo(), { disabled: !this.regions.steps.before.length, "aria-keyshortcuts": "Control+Z" }),
        button(t.redo, () => this.regions.redo(), { disabled: !this.regions.steps.after.length, "aria-keyshortcuts": "Control+Shift+Z" })),
      ["brush", "erase"].includes(state.tool)
        ? h("div", { style: "width: 150px" }, slider({ label: t.where.brushSize, min: 1, max: 10, step: 1, value: Math.round(100 * this.regions.radius), say: (value) => `${value} %`, oninput: (value) => { this.regions.radius = value / 100; } })) : null,
      h("span", { class: "end" }, fileButton(t.photo.change, ACCEPT, ([file]) => this.takePhoto(file))),
      t.where.hint[state.tool] ? h("p", { class: "help", style: "flex-basis: 100%" }, t.where.hint[state.tool]) : null);
  }

  /** Ctrl+Z takes back what was drawn, wherever no text is being written. */
  key(event) {
    const isWriting = event.target.matches?.("input:not([type=range], [type=radio], [type=checkbox]), textarea");
    const canDraw = this.element.checkVisibility() && !this.tools.hidden && state.tool !== "everywhere" && !document.querySelector("dialog[open]");
    if (!(event.ctrlKey || event.metaKey) || isWriting || !canDraw) return;
    const pressed = event.key.toLowerCase();
    if (!["z", "y"].includes(pressed)) return;
    event.preventDefault();
    if (pressed === "y" || event.shiftKey) this.regions.redo();
    else this.regions.undo();
  }

  showGo() {
    const busy = Boolean(this.running.id);
    const isUnable = state.tray.some((style) => style.chosen) && !usableStyles().length;
    this.go.disabled = busy || !state.photo || !usableStyles().length;
    this.go.textContent = !state.photo ? t.go.photoFirst : usableStyles().length ? t.go.stylise : isUnable ? t.style.otherFirst(methodTitle(state.method)) : t.style.first;
    this.showTools();
    this.work.keepSoon();
  }

  async request() {
    const where = state.tool === "everywhere" ? { styles: wholeStyles() } : { regions: await this.regions.request() };
    return { kind: "stylize", content: state.photo.id, ...where, method: state.method, settings: settings(), seed: state.seed, group: "page" };
  }

  async submit() {
    if (!this.panel.fold.check()) return;
    this.go.disabled = true;
    try {
      await this.run(await this.request());
    } finally {
      this.showGo();
    }
  }

  async run(request) {
    const job = await api.submit(request);
    this.after.hidden = true;
    this.easel.showPhoto();
    this.followed(job.id);
    this.showGo();
    await this.work.keepNow();
    this.easel.element.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  followed(id) {
    state.shown = id;
    this.running.follow(id);
  }

  /** Back from a result, or a run that gave none, to the photo. */
  edit() {
    state.shown = null;
    this.after.hidden = true;
    this.easel.showPhoto();
    this.showGo();
  }

  async done(job) {
    state.shown = job.id;
    this.easel.showResult(api.shownResultUrl(job.id));
    this.easel.say("");
    const name = `${job.title.split(" · ")[0].replace(/[^\w .-]+/g, " ")}.png`;
    fill(this.after,
      h("a", { class: "button primary", href: api.resultUrl(job.id), download: name }, t.result.download),
      h("a", { class: "button", href: api.manifestUrl(job.id), download: name.replace(/png$/, "json") }, t.result.manifest),
      button(t.result.why, () => showWhy(job)),
      String(job.request.settings.size) === "full" ? null : button(t.result.full, () => this.run({ ...job.request, settings: { ...job.request.settings, size: "full" } })),
      h("span", { class: "end" }, button(t.result.edit, () => this.edit())));
    this.after.hidden = false;
    this.showGo();
  }

  /** Fill the page with what a job was asked for; shows the result too where that is wanted. The names of styles that are gone. */
  async use({ request, styles = [] }, result = null) {
    takeSettings(request.method, request.settings);
    state.seed = request.seed;
    state.tool = request.regions.length ? "click" : "everywhere";
    await this.loadLibrary();
    for (const style of state.tray) style.chosen = false;
    const refs = new Map(); // as the tray names the styles, by the names in the request
    const gone = new Set();
    for (const used of [...request.styles, ...request.regions]) {
      const known = styles.find(({ style }) => style === used.style);
      const style = known?.missing ? null : await this.styleOf(used, request.method);
      if (!style) gone.add(known?.name ?? used.style);
      else {
        refs.set(used.style, style.ref);
        Object.assign(style, { chosen: true, weight: request.regions.length ? 1 : used.weight });
      }
    }
    await this.setPhoto(await api.picture(request.content));
    if (request.regions.length) await this.regions.take(request.regions.map((region) => ({ ...region, style: refs.get(region.style) ?? "" })));
    this.show();
    if (result?.state === "done") await this.done(result);
    return [...gone];
  }

  /** The style in the tray that a request used: of the library, else the copy that its job keeps; null where both are gone. */
  async styleOf({ style: ref, kept }, method) {
    if (ref.startsWith("text:")) return addStyle({ ref, name: ref.replace(/^text:/, "") });
    if (ref.startsWith("picture:")) {
      const picture = await api.picture(ref.slice(8));
      return addStyle({ ref, name: picture.name, url: api.smallUrl(picture.id) });
    }
    const there = state.tray.find((style) => style.ref === ref);
    if (there || !kept) return there ?? null;
    return addStyle({ ref: `kept:${kept}`, name: ref, kept, method: methodNamed(method)?.style_method ?? "" });
  }
}

export const canUse = (request) => request.kind === "stylize" && Boolean(methodNamed(request.method));
