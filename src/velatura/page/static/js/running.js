// A job while it waits and runs: its state in words, a bar, previews, and how it is stopped.

import { h, button } from "./dom.js";
import { api, follow } from "./api.js";
import { whenBack } from "./connection.js";
import { t } from "./texts.js";

const PAINTING = "denoising"; // the stage in which there is something to see

export class Running {
  /** `on` has done(job) and over(message, state); preview(url), preparing(words) and loss(stage, done, sum) where they are wanted. */
  constructor(on) {
    this.on = on;
    this.words = h("span", { "aria-live": "polite" });
    this.clock = h("span", { class: "soft" });
    this.bar = h("progress", { max: 1, value: 0, "aria-label": t.job.progress });
    this.stop = button(t.go.cancel, () => this.cancel());
    this.element = h("div", { class: "status", hidden: true }, h("div", { class: "toolbar" }, this.words, this.clock, h("span", { class: "end" }, this.stop)), this.bar);
    this.id = null;
  }

  /** Follow a job from where it stands now. */
  follow(id) {
    this.leave();
    this.id = id;
    this.began = null;
    this.hasWaited = false;
    this.isPreparing = undefined; // before the server says so
    this.element.hidden = false;
    this.stop.disabled = false;
    this.bar.removeAttribute("value");
    this.say(t.job.waiting(0));
    this.ticking = setInterval(() => this.tick(), 1000);
    this.unfollow = follow(id, (name, data) => this.take(id, name, data));
  }

  /** Stop following, whatever becomes of the job. */
  leave() {
    this.unfollow?.();
    this.unfollow = null;
    clearInterval(this.ticking);
    this.clock.textContent = "";
    this.id = null;
    this.element.hidden = true;
    this.on.preparing?.("");
  }

  /** Cancel the job; where the server does not answer, as soon as it does. */
  async cancel() {
    const { id } = this;
    this.stop.disabled = true;
    this.say(t.job.cancelling);
    while (this.id === id) {
      try {
        await api.cancel(id);
        return;
      } catch (error) {
        if (!error.isOffline) {
          this.stop.disabled = false;
          throw error;
        }
      }
      this.say(t.job.cancelLater);
      await whenBack();
      const { job } = await api.job(id).catch(() => ({ job: null }));
      if (job && !["queued", "running"].includes(job.state)) return; // over meanwhile: its last event says how
    }
  }

  async take(id, name, data) {
    if (id !== this.id) return;
    if (["progress", "phase", "lost"].includes(name)) {
      if (!this.stop.disabled) this[name](data);
      if (data.preview && this.on.preview) {
        this.on.preparing?.("");
        this.on.preview(data.preview);
      }
      return;
    }
    this.leave();
    if (name === "done") await this.on.done(data.job);
    else this.on.over(name === "cancelled" ? t.job.cancelled : t.job.failed(data.job.reason), name);
  }

  say(words) { this.words.textContent = words; }

  /** Show the seconds since the job began to run; they are not read aloud. */
  tick() { this.clock.textContent = this.began ? t.job.seconds(Math.round((Date.now() - this.began) / 1000)) : ""; }

  lost() { this.say(t.connection.lost); }

  phase({ phase }) { this.isPreparing = phase === "preparing"; }

  progress({ job, ahead, stage, done, total, step, losses }) {
    if (job.state === "queued") {
      this.hasWaited = true;
      this.say(t.job.waiting(ahead));
      this.on.preparing?.(t.job.waiting(ahead));
      return;
    }
    this.began ??= this.beginning(job);
    if (total) this.bar.value = done / total;
    const isPreparing = this.on.preparing && (this.isPreparing ?? (stage !== PAINTING && !step));
    const what = t.job.stages[stage] ?? stage;
    const words = total ? `${isPreparing ? t.job.preparing(what) : what} · ${t.job.step(done, total)}` : t.job.starting;
    this.say(words);
    if (isPreparing) this.on.preparing(words); // there is nothing to see yet: it is said over the photo
    const sum = Object.values(losses).reduce((all, value) => all + value, 0);
    if (sum && this.on.loss) this.on.loss(stage, done, sum);
  }

  /** When the job began to run, in milliseconds: as we saw it, or, of one that ran before we came, as the server says. */
  beginning(job) {
    return this.hasWaited || !job.started ? Date.now() : Math.min(Date.now(), 1000 * job.started);
  }
}
