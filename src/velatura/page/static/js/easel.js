// The easel: the photo, its regions over it, the picture while it is painted, and before/after when it is done.

import { h, fill, guarded, dropTarget, fileButton, button, freshId } from "./dom.js";
import { drawMasks, gridSize } from "./masks.js";
import { t } from "./texts.js";

export const ACCEPT = "image/*,.heic,.heif,.avif";
const STEP = 0.02; // of the side, for one press of an arrow key
const START = 30; // percent of the photo that is shown beside a new result

export class Easel {
  /** `on` has take(files), sample(), pick(point), box(corners), stroke(point, first): points in the grid's cells. */
  constructor(on) {
    this.on = on;
    this.tool = "everywhere";
    this.looks = [];
    this.point = null;
    this.corner = null;
    this.element = h("div", { class: "easel" });
    this.spoken = h("p", { class: "spoken", "aria-live": "polite" });
    this.caption = h("p", { class: "spoken low", "aria-hidden": "true" }); // what the line below says aloud
    dropTarget(this.element, on.take);
    this.showEmpty();
  }

  /** Say something over the photo, aloud too; an empty text takes it away. */
  say(text) { this.spoken.textContent = text; }

  /** Write something over the photo that is said elsewhere. */
  write(text) { this.caption.textContent = text; }

  showEmpty() {
    this.canvas = null;
    fill(this.element, h("div", { class: "empty" },
      h("p", { class: "big" }, t.photo.drop), h("p", { class: "soft" }, t.photo.or),
      h("div", { class: "row" }, fileButton(t.photo.choose, ACCEPT, this.on.take, { cls: "primary" }), button(t.photo.sample, this.on.sample))));
  }

  /** Show a photo ({url, name, width, height}) with the regions over it. */
  setPhoto(photo) {
    this.photo = photo;
    this.size = gridSize(photo.width, photo.height);
    this.canvas = h("canvas", { class: "layer", width: this.size.width, height: this.size.height, role: "application", "aria-label": t.photo.canvas });
    this.listen();
    this.preview = h("img", { class: "layer preview", alt: t.job.preview, hidden: true, onload: () => this.fitPreview() });
    this.stage = h("div", { class: "stage", style: `--ratio: ${photo.width / photo.height}` }, h("img", { src: photo.url, alt: t.photo.alt(photo.name) }), this.canvas, this.preview);
    this.compare = [];
    fill(this.element, this.stage, this.spoken, this.caption);
    this.point = { x: this.size.width / 2, y: this.size.height / 2 };
    this.setTool(this.tool);
  }

  setTool(tool) {
    this.tool = tool;
    if (!this.canvas) return;
    const draws = tool !== "everywhere";
    this.canvas.classList.toggle("drawing", draws);
    this.canvas.tabIndex = draws ? 0 : -1;
    this.canvas.style.pointerEvents = draws ? "auto" : "none";
    this.corner = null;
    this.draw();
  }

  /** Masks to draw: {mask, tint, alpha}; and the one under the pointer, or none. */
  setLooks(looks, hover = null) {
    this.looks = looks;
    this.hover = hover;
    this.draw();
  }

  draw() {
    const context = this.canvas?.getContext("2d");
    if (!context) return;
    drawMasks(context, this.size, this.tool === "everywhere" ? [] : [...this.looks, ...(this.hover ? [this.hover] : [])]);
    if (this.corner) {
      context.lineWidth = 2;
      context.strokeStyle = "#ffffff";
      context.setLineDash([6, 4]);
      context.strokeRect(this.corner.x, this.corner.y, this.point.x - this.corner.x, this.point.y - this.corner.y);
    }
    if (document.activeElement === this.canvas && this.keys) {
      context.setLineDash([]);
      context.lineWidth = 1.5;
      for (const [style, grow] of [["#000000", 1], ["#ffffff", 0]]) {
        context.strokeStyle = style;
        context.strokeRect(this.point.x - 6 - grow, this.point.y - 6 - grow, 12 + 2 * grow, 12 + 2 * grow);
      }
    }
  }

  listen() {
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      const inside = (value, most) => Math.min(most - 1, Math.max(0, value));
      return { x: inside(((event.clientX - box.left) / box.width) * this.size.width, this.size.width),
        y: inside(((event.clientY - box.top) / box.height) * this.size.height, this.size.height) };
    };
    this.canvas.addEventListener("pointerdown", guarded(async (event) => {
      if (event.button !== 0) return;
      this.keys = false;
      this.point = at(event);
      this.down = true;
      if (this.tool === "box" || this.tool === "brush" || this.tool === "erase") this.canvas.setPointerCapture(event.pointerId);
      if (this.tool === "box") this.corner = this.point;
      else await this.act(true);
    }));
    this.canvas.addEventListener("pointermove", guarded(async (event) => {
      this.point = at(event);
      if (this.down && (this.tool === "brush" || this.tool === "erase")) await this.on.stroke(this.point, false);
      else if (this.tool === "box") this.draw();
      else this.on.hover(this.point);
    }));
    this.canvas.addEventListener("pointerup", guarded(async () => {
      this.down = false;
      if (this.tool === "box" && this.corner) await this.endBox();
    }));
    this.canvas.addEventListener("pointerleave", () => { if (!this.down) this.on.hover(null); });
    this.canvas.addEventListener("blur", () => this.draw());
    this.canvas.addEventListener("keydown", guarded((event) => this.key(event)));
  }

  async key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (move) {
      event.preventDefault();
      this.keys = true;
      const far = event.shiftKey ? 4 * STEP : STEP;
      const { width, height } = this.size;
      this.point = { x: Math.min(width - 1, Math.max(0, this.point.x + move[0] * far * width)), y: Math.min(height - 1, Math.max(0, this.point.y + move[1] * far * height)) };
      this.on.hover(this.point);
      this.draw();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.keys = true;
      if (this.tool !== "box") await this.act(true);
      else if (this.corner) await this.endBox();
      else { this.corner = this.point; this.draw(); }
    } else if (event.key === "Escape") {
      this.corner = null;
      this.draw();
    }
  }

  async act(first) {
    if (this.tool === "click") await this.on.pick(this.point);
    else if (this.tool === "brush" || this.tool === "erase") await this.on.stroke(this.point, first);
  }

  async endBox() {
    const [from, to] = [this.corner, this.point];
    this.corner = null;
    this.draw();
    const box = [Math.min(from.x, to.x), Math.min(from.y, to.y), Math.max(from.x, to.x), Math.max(from.y, to.y)];
    if (box[2] - box[0] > 4 && box[3] - box[1] > 4) await this.on.box(box);
  }

  /** Show the picture as it is now over the photo; null takes it away. */
  showPreview(url) {
    if (!this.preview) return;
    this.dropResult();
    if (url) this.preview.src = url;
    this.preview.hidden = !url;
    this.canvas.hidden = Boolean(url);
  }

  /** A preview of one region's crop has other proportions than the photo: it is shown whole, not stretched. */
  fitPreview() {
    const ratio = this.preview.naturalWidth / this.preview.naturalHeight / (this.photo.width / this.photo.height);
    this.preview.classList.toggle("crop", Math.abs(ratio - 1) > 0.05);
  }

  /** Show a result over the photo with a slider between them. */
  showResult(url) {
    this.dropResult();
    const after = h("img", { class: "layer", alt: t.job.after, src: url });
    const divider = h("span", { class: "divider", "aria-hidden": "true" });
    const id = freshId("wipe");
    const input = h("input", { id, class: "wipe", type: "range", min: 0, max: 100, step: 1, "aria-label": t.result.slider });
    const wipe = () => {
      after.style.clipPath = `inset(0 0 0 ${input.value}%)`;
      divider.style.left = `${input.value}%`;
      input.setAttribute("aria-valuetext", `${100 - input.value} %`);
    };
    input.addEventListener("input", wipe);
    input.value = START;
    wipe();
    this.compare = [after, input, divider];
    after.addEventListener("load", () => { this.preview.hidden = true; }, { once: true });
    this.canvas.hidden = true;
    this.stage.append(...this.compare);
  }

  dropResult() {
    for (const element of this.compare ?? []) element.remove();
    this.compare = [];
  }

  /** Back to the photo and its regions. */
  showPhoto() {
    this.showPreview(null);
    if (this.canvas) this.canvas.hidden = false;
    this.draw();
  }
}
