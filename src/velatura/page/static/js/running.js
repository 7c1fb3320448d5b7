// A job while it waits and runs: its state in words, a bar, previews, and how it is stopped.

import { h, button } from "./dom.js";
import { api, follow } from "./api.js";
import { t } from "./texts.js";

export class Running {
  /** `on` has done(job) and over(message, state); preview(url) and loss(stage, done, sum) where they are wanted. */
  constructor(on) {
    this.on = on;
    this.words = h("span", { "aria-live": "polite" });
    this.bar = h("progress", { max: 1, value: 0, "aria-label": t.job.progress });
    this.stop = button(t.go.cancel, () => this.cancel());
    this.element = h("div", { class: "status", hidden: true }, h("div", { class: "toolbar" }, this.words, h("span", { class: "end" }, this.stop)), this.bar);
    this.id = null;
  }

  /** Follow a job from where it stands now. */
  follow(id) {
    this.leave();
    this.id = id;
    this.began = performance.now();
    this.element.hidden = false;
    this.stop.disabled = false;
    this.bar.removeAttribute("value");
    this.words.textContent = t.job.waiting(0);
    this.unfollow = follow(id, (name, data) => this.take(id, name, data));
  }

  /** Stop following, whatever becomes of the job. */
  leave() {
    this.unfollow?.();
    this.unfollow = null;
    this.id = null;
    this.element.hidden = true;
  }

  async cancel() {
    this.stop.disabled = true;
    this.words.textContent = t.job.cancelling;
    await api.cancel(this.id);
  }

  async take(id, name, data) {
    if (id !== this.id) return;
    if (name === "progress") {
      this.progress(data);
      if (data.preview && this.on.preview) this.on.preview(data.preview);
      return;
    }
    this.leave();
    if (name === "done") await this.on.done(data.job);
    else this.on.over(name === "cancelled" ? t.job.cancelled : t.job.failed(data.job.reason), name);
  }

  progress({ job, ahead, stage, done, total, losses }) {
    if (this.stop.disabled) return;
    if (job.state === "queued") {
      this.words.textContent = t.job.waiting(ahead);
      return;
    }
    if (total) this.bar.value = done / total;
    const seconds = Math.round((performance.now() - this.began) / 1000);
    this.words.textContent = total ? `${t.job.stages[stage] ?? stage} · ${t.job.step(done, total)} · ${t.job.seconds(seconds)}` : t.job.starting;
    const sum = Object.values(losses).reduce((all, value) => all + value, 0);
    if (sum && this.on.loss) this.on.loss(stage, done, sum);
  }
}
