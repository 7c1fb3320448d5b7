// History: every job with its settings; search, open, use its settings again, make it again.

import { h, fill, button, freshId, guarded, toast } from "./dom.js";
import { api, fetchBlob, freshKey, isOver, untilOver } from "./api.js";
import { canUse } from "./stylise.js";
import { inWords, methodTitle } from "./state.js";
import { t } from "./texts.js";

const PAGE = 24, TYPING = 300; // jobs at a time; milliseconds

export class History {
  constructor(stylise, open) {
    this.stylise = stylise;
    this.open = open; // shows the Stylise tab
    const id = freshId("search");
    this.input = h("input", { id, type: "search", placeholder: t.history.hint, oninput: () => { clearTimeout(this.timer); this.timer = setTimeout(guarded(() => this.show()), TYPING); } });
    this.grid = h("div", { class: "grid" });
    this.more = h("div", { class: "row", style: "margin-top: 1.5rem" });
    this.element = h("div", {}, h("div", { class: "panelhead" }, h("h2", {}, t.history.title),
      h("div", { class: "end" }, h("label", { for: id, class: "unseen" }, t.history.search), this.input)), this.grid, this.more);
  }

  async show() {
    const asked = this.input.value.trim();
    const jobs = await api.history({ search: asked, limit: PAGE });
    if (asked !== this.input.value.trim()) return;
    fill(this.grid, jobs.length ? jobs.map((job) => this.card(job)) : h("p", { class: "soft" }, asked ? t.history.nothing : t.history.none));
    this.showMore(jobs, asked);
  }

  showMore(jobs, asked) {
    fill(this.more, jobs.length < PAGE ? null : button(t.history.more, async () => {
      const next = await api.history({ search: asked, limit: PAGE, before: jobs.at(-1).number });
      this.grid.append(...next.map((job) => this.card(job)));
      this.showMore(next, asked);
    }));
  }

  card(job) {
    const [what] = job.title.split(" · ");
    const isPicture = job.request.kind === "stylize";
    const small = isPicture && job.state === "done"
      ? h("img", { src: api.smallResultUrl(job.id), alt: "", loading: "lazy" }) : null;
    const open = async () => { this.open(); this.said(await this.stylise.use(job, job)); };
    const usable = canUse(job.request);
    const card = h("article", { class: "card" },
      small && usable ? h("button", { type: "button", class: "pic", "aria-label": `${t.history.open}: ${what}`, onclick: guarded(open) }, small)
        : h("div", { class: "pic blank" }, small ?? (job.state === "failed" ? job.reason : isPicture ? t.history.status[job.state] : `${t.styles.fit}: ${job.request.name}`)),
      h("div", { class: "text" }, h("h3", {}, what), h("p", { class: "help" }, [methodTitle(job.request.method), ...inWords(job.request.settings), isPicture ? t.history.seed(job.request.seed) : "", t.history.regions(job.request.regions?.length ?? 0)].filter(Boolean).join(" · ")),
        h("p", { class: "help" }, [when(job.created), t.history.status[job.state]].filter(Boolean).join(" · "))),
      h("div", { class: "acts" },
        usable ? button(t.history.use, async () => { this.open(); this.said(await this.stylise.use(job), t.history.used); }, { class: "plain" }) : null,
        job.state === "done" && isPicture ? [button(t.history.again, () => this.again(job), { class: "plain" }),
          h("a", { class: "plainlink", href: api.resultUrl(job.id), download: `${what}.png` }, t.download)] : null,
        ["done", "failed", "cancelled"].includes(job.state) ? button(t.remove, () => this.remove(job, what), { class: "plain" })
          : button(t.cancel, async () => { await api.cancel(job.id); await this.show(); }, { class: "plain" })));
    return card;
  }

  /** Say which styles of a job are gone, or that all is well. */
  said(gone, well = "") {
    if (gone.length) toast(t.history.missing(gone), { error: true });
    else if (well) toast(well);
  }

  async remove(job, what) {
    const undo = (await api.forget(job.id))?.undo;
    await this.show();
    toast(t.history.removed(what), undo ? { undo: async () => { await api.bringBack(undo); await this.show(); } } : {});
  }

  /** Make a result again, and say whether it came out the same. */
  async again(job) {
    const group = `again ${freshKey()}`;
    const made = await api.submit({ ...job.request, group });
    toast(t.history.started);
    untilOver(group, [made.id], guarded(async (end) => {
      await this.show();
      if (!isOver(end)) return;
      if (end.state !== "done") throw new Error(t.job.failed(end.reason));
      toast(await samePixels(api.resultUrl(job.id), api.resultUrl(made.id)) ? t.history.same : t.history.differs);
    })).catch((error) => toast(error.message, { error: true }));
    await this.show();
  }
}

const when = (seconds) => new Date(1000 * seconds).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

async function samePixels(...urls) {
  const [first, second] = await Promise.all(urls.map(async (url) => {
    const picture = await createImageBitmap(await fetchBlob(url));
    const context = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
    context.drawImage(picture, 0, 0);
    return context.getImageData(0, 0, picture.width, picture.height).data;
  }));
  return first.length === second.length && first.every((value, at) => value === second[at]);
}
