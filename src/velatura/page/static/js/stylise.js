// Stylise: drop a photo, choose a style, watch it being painted, compare, keep.

import { h, fill, button, guarded, segmented, slider, toast } from "./dom.js";
import { api } from "./api.js";
import { Easel } from "./easel.js";
import { Panel } from "./panel.js";
import { Regions } from "./regions.js";
import { Running } from "./running.js";
import { showWhy } from "./why.js";
import { addStyle, methodNamed, settings, state, takeSettings, usableStyles, wholeStyles } from "./state.js";
import { t } from "./texts.js";

const TOOLS = ["everywhere", "click", "box", "brush", "erase"];
const LAST = "velatura-last-job";

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
      done: (job) => this.done(job),
      over: (message, how) => { this.easel.showPhoto(); this.showGo(); toast(message, { error: how === "failed" }); },
    });
    this.tools = h("div", { class: "toolbar" });
    this.after = h("div", { class: "toolbar", hidden: true });
    this.go = button(t.go.stylise, () => this.submit(), { class: "primary", id: "go" });
    this.element = h("div", { class: "studio" }, h("h2", { class: "unseen" }, t.tabs.stylise),
      h("div", { class: "easelside" }, this.easel.element, this.running.element, this.after, this.tools),
      h("div", { class: "panel" }, this.panel.tray, this.regions.element, this.panel.method, this.panel.settings, this.panel.fold,
        h("div", { class: "gobar" }, this.go)));
  }

  async start() {
    this.show();
    [state.methods] = await Promise.all([api.methods(), this.loadLibrary()]);
    this.show();
    await this.resume();
  }

  /** Put the library's styles into the tray, those that are new. */
  async loadLibrary() {
    const names = new Set();
    for (const style of await api.styles()) {
      if (style.damaged) continue;
      names.add(style.name);
      addStyle({ ref: style.name, name: style.name, method: style.method, url: style.has_thumbnail ? api.thumbnailUrl(style.name) : null });
    }
    state.tray = state.tray.filter((style) => !style.method || names.has(style.ref));
    this.panel.showTray();
  }

  /** Go on showing the last job of this browser, if it still waits or runs. */
  async resume() {
    const id = localStorage.getItem(LAST);
    if (!id) return;
    const { job } = await api.job(id).catch(() => ({ job: null }));
    if (!job || !["queued", "running"].includes(job.state)) return;
    await this.use(job.request);
    this.running.follow(id);
    this.showGo();
  }

  show() {
    this.panel.show();
    this.regions.list();
    this.showTools();
    this.showGo();
  }

  async takePhoto(file) {
    await this.setPhoto(await api.addPicture(file));
  }

  async setPhoto(photo) {
    this.running.leave();
    this.after.hidden = true;
    state.photo = { ...photo, url: api.shownUrl(photo.id) };
    this.regions.clear();
    this.easel.setPhoto(state.photo);
    this.show();
    if (state.tool === "click") await this.regions.needLabels();
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
      ["brush", "erase"].includes(state.tool)
        ? h("div", { style: "width: 150px" }, slider({ label: t.where.brushSize, min: 1, max: 10, step: 1, value: Math.round(100 * this.regions.radius), say: (value) => `${value} %`, oninput: (value) => { this.regions.radius = value / 100; } })) : null,
      h("span", { class: "end" }, button(t.photo.change, () => this.anotherPhoto())),
      t.where.hint[state.tool] ? h("p", { class: "help", style: "flex-basis: 100%" }, t.where.hint[state.tool]) : null);
  }

  anotherPhoto() {
    state.photo = null;
    this.regions.clear();
    this.easel.canvas = null;
    this.easel.showEmpty();
    this.show();
  }

  showGo() {
    const busy = Boolean(this.running.id);
    this.go.disabled = busy || !state.photo || !usableStyles().length;
    this.go.textContent = !state.photo ? t.go.photoFirst : usableStyles().length ? t.go.stylise : t.style.first;
    this.showTools();
  }

  async request() {
    const where = state.tool === "everywhere" ? { styles: wholeStyles() } : { regions: await this.regions.request() };
    return { kind: "stylize", content: state.photo.id, ...where, method: state.method, settings: settings(), seed: state.seed, group: "page" };
  }

  async submit() {
    this.go.disabled = true;
    try {
      await this.run(await this.request());
    } finally {
      this.showGo();
    }
  }

  async run(request) {
    const job = await api.submit(request);
    localStorage.setItem(LAST, job.id);
    this.after.hidden = true;
    this.easel.showPhoto();
    this.running.follow(job.id);
    this.showGo();
    this.easel.element.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  async done(job) {
    this.easel.showResult(api.shownResultUrl(job.id));
    this.easel.say("");
    const name = `${job.title.split(" · ")[0].replace(/[^\w .-]+/g, " ")}.png`;
    fill(this.after,
      h("a", { class: "button primary", href: api.resultUrl(job.id), download: name }, t.result.download),
      h("a", { class: "button", href: api.manifestUrl(job.id), download: name.replace(/png$/, "json") }, t.result.manifest),
      button(t.result.why, () => showWhy(job)),
      String(job.request.settings.size) === "full" ? null : button(t.result.full, () => this.run({ ...job.request, settings: { ...job.request.settings, size: "full" } })),
      h("span", { class: "end" }, button(t.result.edit, () => { this.after.hidden = true; this.easel.showPhoto(); this.showGo(); })));
    this.after.hidden = false;
    this.showGo();
  }

  /** Fill the page with what a job was asked for; shows the result too where there is one. */
  async use(request, job = null) {
    takeSettings(request.method, request.settings);
    state.seed = request.seed;
    state.tool = request.regions.length ? "click" : "everywhere";
    const shares = new Map(request.styles.map(({ style, weight }) => [style, weight]));
    const refs = [...shares.keys(), ...request.regions.map((region) => region.style)];
    for (const style of state.tray) style.chosen = false;
    for (const ref of refs) Object.assign(await this.styleOf(ref), { chosen: true, weight: shares.get(ref) ?? 1 });
    await this.setPhoto(await api.picture(request.content));
    this.easel.setTool(state.tool);
    if (request.regions.length) await this.regions.take(request.regions);
    this.show();
    if (job?.state === "done") await this.done(job);
  }

  async styleOf(ref) {
    if (!ref.startsWith("picture:")) return addStyle({ ref, name: ref.replace(/^text:/, "") });
    const picture = await api.picture(ref.slice(8));
    return addStyle({ ref, name: picture.name, url: api.smallUrl(picture.id) });
  }
}

export const canUse = (request) => request.kind === "stylize" && Boolean(methodNamed(request.method));
