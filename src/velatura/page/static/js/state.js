// What the user has chosen, in one object, and how it becomes a request to the service.

import { t } from "./texts.js";

export const state = {
  photo: null, // {id, name, width, height, url}
  tray: [], // styles to choose from: {ref, name, url, method, chosen, weight}, with kept where it is a job's own copy
  tool: "everywhere",
  regions: [],
  current: null, // the region that is being drawn
  method: "guided",
  strength: null, // null: the method's own
  colours: "",
  between: 0.5,
  stroke: 0, // powers of two
  quality: "0",
  seed: 0,
  changed: {}, // other settings that are not the defaults
  wrong: {}, // what stands in fields and cannot be used, by the field's name
  shown: null, // the id of the job that is followed or whose result is shown
  methods: [], // what the service offers
};

export const methodNamed = (name) => state.methods.find((method) => method.name === name);
export const methodTitle = (name) => t.method.names[name] ?? name;
export const chosenMethod = () => methodNamed(state.method);

/** The styles of the tray that the chosen method can use. */
export const usableStyles = () => state.tray.filter((style) => fits(style, chosenMethod()));

export function fits(style, method) {
  if (!method) return true;
  if (style.ref.startsWith("text:")) return method.text_styles;
  return !style.method || style.method === method.style_method;
}

/** Put a style into the tray, or find it there. */
export function addStyle(style) {
  const there = state.tray.find((each) => each.ref === style.ref);
  if (there) return there;
  const added = { weight: 1, chosen: false, method: "", url: null, ...style };
  state.tray.unshift(added);
  return added;
}

/** The settings to send for the chosen method: only what was changed. */
export const settings = () => ({ ...state.changed, ...(state.strength === null ? {} : { strength: state.strength }), ...commonSettings(state.method) });

/** The settings beside the method's own ones that a method can take: colours, stroke size, size. */
export function commonSettings(method) {
  const names = new Set(methodNamed(method)?.settings.map(({ name }) => name));
  const sent = {};
  if (state.colours) sent.colours = state.colours === "between" ? state.between : state.colours;
  if (state.stroke) sent.style_scale = 2 ** state.stroke;
  if (state.quality !== "0") sent.size = state.quality === "full" ? "full" : Number(state.quality);
  return Object.fromEntries(Object.entries(sent).filter(([name]) => !names.size || name === "size" || names.has(name)));
}

/** Take a request's settings over, as History keeps them. */
export function takeSettings(method, sent) {
  const { strength, colours, style_scale: scale, size, ...others } = sent;
  state.method = method;
  state.strength = strength ?? null;
  state.colours = typeof colours === "number" ? "between" : (colours ?? "");
  if (typeof colours === "number") state.between = colours;
  state.stroke = scale ? Math.round(2 * Math.log2(scale)) / 2 : 0;
  state.quality = ["full", "256"].includes(String(size)) ? String(size) : "0";
  state.wrong = {};
  state.changed = size && state.quality === "0" ? { ...others, size } : others;
}

const VERSION = 1; // of what is kept
const KEPT = ["photo", "tray", "tool", "regions", "method", "strength", "colours", "between", "stroke", "quality", "seed", "changed", "shown"];

/** What is kept of the work over a reload. */
export const keptWork = () => ({ version: VERSION, current: state.regions.indexOf(state.current), ...Object.fromEntries(KEPT.map((name) => [name, state[name]])) });

/** Take up work that was kept; whether there was any. */
export function takeWork(kept) {
  if (kept?.version !== VERSION) return false;
  for (const name of KEPT) state[name] = kept[name];
  state.current = state.regions[kept.current] ?? null;
  return true;
}

/** Settings in words, as a result is told from another by. */
export const inWords = (sent) => Object.entries(sent).map(([name, value]) => {
  const words = name === "size" ? t.set.sizes[value] : null;
  return words ?? `${(t.settings[name]?.[0] ?? t.set.named[name] ?? name.replaceAll("_", " ")).toLowerCase()} ${typeof value === "object" ? t.set.several : value}`;
});

/** The styles for the whole picture: the chosen ones, or the first where the method cannot mix. Raises without one. */
export function wholeStyles() {
  const chosen = usableStyles().filter((style) => style.chosen);
  if (!chosen.length) throw new Error(t.style.first);
  const used = chosenMethod()?.mixes ? chosen : chosen.slice(0, 1);
  return used.map((style) => ({ ...inRequest(style.ref), weight: used.length > 1 ? style.weight : 1 }));
}

/** A style of the tray as a request names it. */
export function inRequest(ref) {
  const { kept, name } = state.tray.find((style) => style.ref === ref) ?? {};
  return kept ? { style: name, kept } : { style: ref };
}
