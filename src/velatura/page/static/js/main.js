// The page: its head with the tabs, and one panel for each tab.

import { h, dialog, faultPlace, freshId, guarded, sayAt } from "./dom.js";
import { onUnauthorized } from "./api.js";
import { Compare } from "./compare.js";
import { connectionLine } from "./connection.js";
import { History } from "./history.js";
import { Styles } from "./styles.js";
import { Stylise } from "./stylise.js";
import { Sweep } from "./sweep.js";
import { t } from "./texts.js";

const THEME = "velatura-theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function setTheme(theme) {
  const dark = theme === "dark" || (theme === "auto" && system.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

function themeChoice() {
  const stored = localStorage.getItem(THEME) ?? "auto";
  setTheme(stored);
  system.addEventListener("change", () => setTheme(localStorage.getItem(THEME) ?? "auto"));
  const select = h("select", { "aria-label": t.theme.label, onchange: () => { localStorage.setItem(THEME, select.value); setTheme(select.value); } },
    ["auto", "light", "dark"].map((theme) => h("option", { value: theme, selected: theme === stored }, t.theme[theme])));
  return select;
}

const TRIED = "velatura-token-tried"; // in this tab: a token that was asked for and sent

/** Ask for the server's token, once, and come back with it: the server keeps it in a cookie. */
function askForToken() {
  if (document.querySelector("dialog.token")) return;
  const id = freshId("token");
  const place = faultPlace();
  const input = h("input", { id, type: "password", autocomplete: "current-password", required: true });
  const box = dialog(t.login.title, h("form", { class: "field", onsubmit: (event) => {
    event.preventDefault();
    sessionStorage.setItem(TRIED, "1");
    location.href = `/?token=${encodeURIComponent(input.value)}${location.hash}`;
  } }, h("p", { class: "help" }, t.login.help), h("label", { for: id }, t.login.label), input, place, h("button", { class: "primary", type: "submit" }, t.login.go)));
  box.classList.add("narrow", "token");
  if (sessionStorage.getItem(TRIED) || hadToken) sayAt(input, place, t.login.wrong);
  sessionStorage.removeItem(TRIED);
  input.focus();
}

function build() {
  const stylise = new Stylise();
  const open = (name) => { location.hash = name; };
  const goOn = () => open("stylise");
  const panels = {
    stylise, sweep: new Sweep(stylise, goOn), styles: new Styles(stylise, goOn), history: new History(stylise, goOn), compare: new Compare(),
  };
  const names = Object.keys(panels);
  const tabs = names.map((name) => h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, onclick: () => open(name) }, t.tabs[name]));
  const bodies = names.map((name) => h("section", { role: "tabpanel", id: `panel-${name}`, "aria-labelledby": `tab-${name}`, hidden: true }, panels[name].element));
  const show = guarded(async () => {
    const chosen = names.includes(location.hash.slice(1)) ? location.hash.slice(1) : "stylise";
    names.forEach((name, at) => {
      tabs[at].setAttribute("aria-selected", String(name === chosen));
      tabs[at].tabIndex = name === chosen ? 0 : -1;
      bodies[at].hidden = name !== chosen;
    });
    document.title = `${t.tabs[chosen]} · Velatura`;
    if (chosen !== "stylise") await panels[chosen].show();
  });
  const list = h("div", { class: "tabs", role: "tablist", "aria-label": t.tagline, onkeydown: (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  } }, tabs);
  document.body.prepend(connectionLine,
    h("header", { class: "head" }, h("div", { class: "brand" }, h("img", { src: "/page/icon.svg", alt: "" }), h("h1", { title: t.tagline }, "Velatura")), list, h("div", { class: "headend" }, themeChoice())),
    h("main", {}, bodies), h("div", { id: "toasts", role: "status" }));
  addEventListener("hashchange", show);
  return [stylise, show];
}

const hadToken = new URLSearchParams(location.search).has("token"); // a right one is taken out of the address by the server
if (hadToken) history.replaceState(null, "", location.pathname + location.hash);
onUnauthorized(askForToken);
const [stylise, show] = build();
await guarded(() => stylise.start())();
sessionStorage.removeItem(TRIED);
await show();
