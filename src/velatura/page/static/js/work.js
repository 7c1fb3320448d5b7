// The work of Stylise over a reload: photo, styles, regions and settings, kept in this browser soon after each change.

import { toast } from "./dom.js";
import { api } from "./api.js";
import { keep, recall } from "./keeping.js";
import { keptWork, methodNamed, state, takeWork } from "./state.js";
import { t } from "./texts.js";

const NAME = "work", SOON = 300; // milliseconds from a change to its being kept

export class Work {
  /** `element` is that in which the work is done. */
  constructor(element) {
    this.isRecalled = false; // nothing is kept before: it would take the place of what was kept
    for (const event of ["input", "change", "click", "pointerup"]) element.addEventListener(event, () => this.keepSoon());
    addEventListener("pagehide", () => this.keepNow());
  }

  keepSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.keepNow(), SOON);
  }

  async keepNow() {
    clearTimeout(this.timer);
    if (this.isRecalled) await keep(NAME, keptWork());
  }

  /** Take up what was kept, but for what the server has no longer. The methods must be known. */
  async recall() {
    const isKept = takeWork(await recall(NAME));
    if (isKept) await this.check();
    this.isRecalled = true;
  }

  async check() {
    if (!methodNamed(state.method)) state.method = "guided";
    const isThere = async (id) => api.picture(id).then(() => true, (error) => error.status !== 404);
    if (state.photo && !(await isThere(state.photo.id))) {
      Object.assign(state, { photo: null, regions: [], current: null });
      toast(t.photo.gone);
    }
    const there = await Promise.all(state.tray.map(({ ref }) => !ref.startsWith("picture:") || isThere(ref.slice(8))));
    state.tray = state.tray.filter((_, at) => there[at]);
  }
}
