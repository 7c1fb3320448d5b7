// What the user has chosen, in one object, and how it becomes a request to the service.

import { t } from "./texts.js";

export const state = {
  photo: null, // {id, name, width, height, url}
  tray: [], // styles to choose from: {ref, name, url, method, chosen, weight}
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
  methods: [], // what the service offers
};

export const methodNamed = (name) => state.methods.find((method) => method.name === name);
export const methodTitle = (name) => t.method.names[name] ?? name;
export const chosenMethod = () => methodNamed(state.method);

/** The styles of the tray that the chosen method can use. */
export const usableStyles = () => state.tray.filter((style) => fits(style, chosenMethod()));

function fits(style, method) {
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

/** The settings to send: only what was changed. */
export function settings() {
  const sent = { ...state.changed };
  if (state.strength !== null) sent.strength = state.strength;
  if (state.colours) sent.colours = state.colours === "between" ? state.between : state.colours;
  if (state.stroke) sent.style_scale = 2 ** state.stroke;
  if (state.quality !== "0") sent.size = state.quality === "full" ? "full" : Number(state.quality);
  return sent;
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
  state.changed = size && state.quality === "0" ? { ...others, size } : others;
}

/** The styles for the whole picture: the chosen ones, or the first where the method cannot mix. Raises without one. */
export function wholeStyles() {
  const chosen = usableStyles().filter((style) => style.chosen);
  if (!chosen.length) throw new Error(t.style.first);
  const used = chosenMethod()?.mixes ? chosen : chosen.slice(0, 1);
  return used.map((style) => ({ style: style.ref, weight: used.length > 1 ? style.weight : 1 }));
}
