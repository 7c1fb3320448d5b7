// Elements in one call, and what several parts of the page say or ask with.

import { t } from "./texts.js";

/** An element: props starting with "on" are listeners, null and false are left out, the rest are attributes. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Put children in the place of those that an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let serial = 0;
const MOST_TOASTS = 3;

/** An id that no other element has. */
export const freshId = (stem) => `${stem}-${++serial}`;

/** A short message at the bottom, read aloud by screen readers; with `undo`, a button that takes it back. */
export function toast(message, { error = false, undo = null } = {}) {
  const place = document.querySelector("#toasts");
  [...place.children].find((each) => each.firstChild.textContent === message)?.remove();
  while (place.children.length >= MOST_TOASTS) place.firstChild.remove();
  const note = h("div", { class: error ? "toast bad" : "toast" }, h("span", {}, message));
  const gone = () => note.remove();
  if (undo) note.append(h("button", { type: "button", class: "plain", onclick: () => { gone(); guarded(undo)(); } }, t.undo));
  note.append(h("button", { type: "button", class: "plain", "aria-label": t.close, onclick: gone }, "×"));
  place.append(note);
  setTimeout(gone, error ? 12000 : 8000);
}

/** A listener that shows what went wrong instead of losing it. */
export const guarded = (action) => async (...all) => {
  try {
    return await action(...all);
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message, { error: true });
    return undefined;
  }
};

export const button = (text, onclick, props = {}) => h("button", { type: "button", onclick: guarded(onclick), ...props }, text);

/** A button that looks like one and opens the file dialogue; `take` gets the files. */
export function fileButton(text, accept, take, { multiple = false, cls = "" } = {}) {
  const input = h("input", { type: "file", accept, multiple, hidden: true,
    onchange: guarded(async () => { const files = [...input.files]; input.value = ""; if (files.length) await take(files); }) });
  return h("span", { class: "filebutton" }, button(text, () => input.click(), { class: cls }), input);
}

/** A labelled slider whose value is shown; `say` turns the number into words. */
export function slider({ label, min, max, step, value, say = String, oninput, help = "", cls = "" }) {
  const id = freshId("slider");
  const shown = h("output", { for: id }, say(value));
  const input = h("input", { id, type: "range", min, max, step, value, "aria-valuetext": say(value),
    oninput: () => {
      shown.textContent = say(Number(input.value));
      input.setAttribute("aria-valuetext", say(Number(input.value)));
      field.classList.remove("unset");
      oninput(Number(input.value));
    } });
  input.value = value;
  const field = h("div", { class: `field ${cls}` }, h("div", { class: "fieldhead" }, h("label", { for: id }, label), shown), input,
    help ? h("p", { class: "help" }, help) : null);
  return field;
}

/** A labelled list to choose from; options are pairs of value and text. */
export function choice({ label, options, value, onchange, help = "" }) {
  const id = freshId("choice");
  const select = h("select", { id, onchange: () => onchange(select.value) },
    options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  return h("div", { class: "field" }, h("label", { for: id }, label), select, help ? h("p", { class: "help" }, help) : null);
}

/** Say at an input why its value cannot be used; an empty text takes that away. `place` is an empty element below it. */
export function sayAt(input, place, message) {
  place.textContent = message;
  place.id ||= freshId("fault");
  input.toggleAttribute("aria-invalid", Boolean(message));
  input.setAttribute("aria-describedby", place.id);
}

/** The place for what sayAt says. */
export const faultPlace = () => h("p", { class: "fault", role: "alert" });

/** Choices side by side, of which one holds. */
export function segmented({ label, options, value, onchange, cls = "" }) {
  const name = freshId("seg");
  return h("fieldset", { class: `segmented ${cls}` }, h("legend", { class: "unseen" }, label),
    options.map(([key, text]) => h("label", {},
      h("input", { type: "radio", name, value: key, checked: key === value, onchange: () => onchange(key) }), h("span", {}, text))));
}

/** A dialogue with a heading and a way out; it is removed when it is closed. While it is open messages appear in it. */
export function dialog(title, ...children) {
  const id = freshId("dialog");
  const toasts = document.querySelector("#toasts");
  const box = h("dialog", { "aria-labelledby": id, onclose: () => { document.body.append(toasts); box.remove(); } },
    h("div", { class: "dialoghead" }, h("h2", { id }, title),
      h("button", { type: "button", class: "plain", "aria-label": t.close, onclick: () => box.close() }, "×")), children.flat(Infinity));
  document.body.append(box);
  box.append(toasts);
  box.showModal();
  return box;
}

/** Make an element take dropped and pasted picture files. */
export function dropTarget(element, take) {
  const stop = (event) => { event.preventDefault(); event.stopPropagation(); };
  element.addEventListener("dragover", (event) => { stop(event); element.classList.add("over"); });
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", guarded(async (event) => {
    stop(event);
    element.classList.remove("over");
    const files = [...event.dataTransfer.files];
    if (files.length) await take(files);
  }));
}
