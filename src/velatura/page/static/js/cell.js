// A cell of a sweep's grid: a job that waits, is painted before one's eyes, and can be gone on with.

import { h, fill, button, guarded } from "./dom.js";
import { api, follow, isOver } from "./api.js";
import { methodTitle } from "./state.js";
import { t } from "./texts.js";

export class Cell {
  static live = null; // the one cell that is followed live: a browser keeps few streams open at once

  /** `what` is {method, style, strength}; `go` gets the job that somebody wants to go on with. */
  constructor(id, what, go) {
    [this.id, this.what, this.go] = [id, what, go];
    this.isOver = false;
    this.picture = h("div", { class: "pic blank" }, t.history.status.queued);
    this.words = h("p", { class: "help" });
    this.element = h("article", { class: "card" }, this.picture, h("div", { class: "text" }, h("h4", {}, `${t.set.strength} ${what.strength}`), this.words));
  }

  /** Show the job as it stands. */
  take(job) {
    if (job.state === "running") this.follow();
    if (job.state === "queued") fill(this.picture, t.history.status.queued); // again, after the server was stopped
    if (!isOver(job) && job.state !== "gone") return;
    this.isOver = true;
    this.leave();
    if (job.state === "done") this.showResult(job);
    else fill(this.picture, job.state === "failed" ? job.reason : t.history.status[job.state]);
  }

  follow() {
    fill(this.picture, t.history.status.running);
    if (Cell.live) return;
    Cell.live = this;
    this.unfollow = follow(this.id, (name, data) => {
      if (name === "progress" && data.total) this.words.textContent = `${t.job.stages[data.stage] ?? data.stage} · ${t.job.step(data.done, data.total)}`;
      if (data.preview) fill(this.picture, h("img", { src: data.preview, alt: t.job.preview }));
    });
  }

  /** Stop following live. */
  leave() {
    this.unfollow?.();
    this.words.textContent = "";
    if (Cell.live === this) Cell.live = null;
  }

  showResult(job) {
    const { method, strength, style } = this.what;
    const go = () => this.go(job);
    this.picture.replaceWith(h("button", { type: "button", class: "pic", "aria-label": `${t.sweep.goOn}: ${t.sweep.cell(methodTitle(method), strength, style.name)}`, onclick: guarded(go) },
      h("img", { src: api.smallResultUrl(job.id), alt: "" })));
    this.element.append(h("div", { class: "acts" }, button(t.sweep.goOn, go, { class: "plain" })));
  }
}
