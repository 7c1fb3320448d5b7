// The service's HTTP API: one function for each thing that the page asks of it.

import { pause, whenBack } from "./connection.js";
import { t } from "./texts.js";

const ROOT = "/api/v1", PAGE = "/page/data";
const OVER = ["done", "failed", "cancelled"];
let askForToken = () => {};

/** Say who asks the user for the token where the server wants one. */
export const onUnauthorized = (ask) => { askForToken = ask; };

async function call(method, path, { json, form, key, root = ROOT } = {}) {
  const send = () => fetch(root + path, {
    method, body: form ?? (json === undefined ? undefined : JSON.stringify(json)),
    headers: { ...(json === undefined ? {} : { "Content-Type": "application/json" }), ...(key ? { "Idempotency-Key": key } : {}) },
  });
  let answer;
  try {
    answer = await send();
  } catch {
    whenBack();
    throw Object.assign(new Error(t.offline), { isOffline: true });
  }
  if (answer.status === 401) {
    askForToken(); // the dialogue says it: no message besides
    throw Object.assign(new Error(t.login.help), { name: "AbortError" });
  }
  if (answer.ok) return answer.status === 204 ? null : answer.headers.get("content-type")?.includes("json") ? answer.json() : answer.blob();
  if (answer.status === 429 && answer.headers.get("retry-after")) throw refused(answer, t.busy(answer.headers.get("retry-after")));
  throw refused(answer, await reason(answer));
}

const refused = ({ status }, why) => Object.assign(new Error(why), { status });

async function reason(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return `${answer.status} ${answer.statusText}`;
  }
}

/** A text that nothing else has. (randomUUID is missing where the page comes over plain HTTP from another machine.) */
export const freshKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

const segment = encodeURIComponent;
const withFile = (file, name) => { const form = new FormData(); form.append("file", file, name ?? file.name); return form; };

export const api = {
  addPicture: (file, name) => call("POST", "/pictures", { form: withFile(file, name) }),
  picture: (id) => call("GET", `/pictures/${id}`),
  shownUrl: (id) => `${PAGE}/pictures/${id}`,
  smallUrl: (id) => `${ROOT}/pictures/${id}/small`,
  segments: (id) => call("GET", `/segments/${id}`, { root: PAGE }),
  mask: (picture, where) => call("POST", "/masks", { json: { picture, where: [where] } }),
  submit: (request, key = freshKey()) => call("POST", "/jobs", { json: request, key }),
  job: (id) => call("GET", `/jobs/${id}`),
  cancel: (id) => call("DELETE", `/jobs/${id}`),
  resultUrl: (id) => `${ROOT}/jobs/${id}/result`,
  shownResultUrl: (id) => `${PAGE}/jobs/${id}`,
  smallResultUrl: (id) => `${ROOT}/jobs/${id}/small`,
  layerUrl: (id, name) => `${ROOT}/jobs/${id}/layers/${segment(name)}`,
  manifestUrl: (id) => `${ROOT}/jobs/${id}/manifest`,
  why: (id) => call("GET", `/why/${id}`, { root: PAGE }),
  standings: () => call("GET", "/choices", { root: PAGE }),
  choose: (choice) => call("POST", "/choices", { json: choice, root: PAGE }),
  history: (query) => call("GET", `/history?${new URLSearchParams(query)}`),
  forget: (id) => call("DELETE", `/history/${id}`),
  bringBack: (undo) => call("POST", "/jobs/undo", { json: { undo } }),
  methods: () => call("GET", "/methods"),
  styles: () => call("GET", "/styles"),
  fitStyle: (request) => call("POST", "/styles", { json: { kind: "fit", ...request }, key: freshKey() }),
  thumbnailUrl: (name) => `${ROOT}/styles/${segment(name)}/thumbnail`,
  styleFileUrl: (name) => `${ROOT}/styles/${segment(name)}/file`,
  renameStyle: (name, to) => call("PATCH", `/styles/${segment(name)}`, { json: { name: to } }),
  removeStyle: (name) => call("DELETE", `/styles/${segment(name)}`),
  restoreStyle: (undo) => call("POST", "/styles/undo", { json: { undo } }),
  mixStyles: (request) => call("POST", "/styles/mix", { json: request }),
  importStyle: (file) => call("POST", "/styles/import", { form: withFile(file) }),
};

/** A file that the server has, as a blob. Raises with the server's sentence. */
export const fetchBlob = (url) => call("GET", url, { root: "" });

export const isOver = (job) => OVER.includes(job.state);

/**
 * Follow a job until it is over, over lost connections too: `show` gets each event's name and data, and "lost" while
 * the server does not answer. Returns a function that stops following.
 */
export function follow(id, show) {
  let source = null;
  let isLeft = false;
  const open = () => {
    source = new EventSource(`${ROOT}/jobs/${id}/events`);
    for (const name of ["progress", "phase", ...OVER]) {
      source.addEventListener(name, (event) => {
        if (OVER.includes(name)) source.close();
        show(name, JSON.parse(event.data));
      });
    }
    source.addEventListener("error", again);
  };
  const again = async () => {
    source.close();
    show("lost", {});
    await pause(POLL);
    await whenBack();
    if (isLeft) return;
    try {
      await api.job(id);
    } catch (error) {
      if (error.status === 404) show("failed", { job: { reason: t.job.gone } });
      if (error.status === 404 || error.name === "AbortError") return;
    }
    if (!isLeft) open();
  };
  open();
  return () => { isLeft = true; source.close(); };
}

const POLL = 1000; // milliseconds: a browser keeps few streams open at once, so what is not shown live is asked for

/**
 * Ask for the jobs of a group until all `ids` are over: `show` gets each job that changed its state, "gone" where it
 * was deleted. A server that does not answer is waited for.
 */
export async function untilOver(group, ids, show) {
  const states = new Map(ids.map((id) => [id, "queued"]));
  while (states.size) {
    await pause(POLL);
    for (const job of await jobsOf(group, [...states.keys()])) {
      if (job.state === states.get(job.id)) continue;
      if (isOver(job) || job.state === "gone") states.delete(job.id);
      else states.set(job.id, job.state);
      await show(job);
    }
  }
}

async function jobsOf(group, ids) {
  try {
    const found = new Map((await api.history({ search: group, limit: 200 })).map((job) => [job.id, job]));
    return ids.map((id) => found.get(id) ?? { id, state: "gone" });
  } catch (error) {
    const mayPass = error.isOffline || error.status === 429 || error.status >= 500;
    if (!mayPass) throw error;
    await whenBack();
    return [];
  }
}
