// Whether the server answers: a plain line while it does not, and asked again until it does.

import { h } from "./dom.js";
import { t } from "./texts.js";

const AGAIN = 2000; // milliseconds between two tries

/** The line that says so; empty while all is well. */
export const connectionLine = h("p", { class: "lost", role: "status" });

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

let back = null; // while the server is away: the promise that it is here again

/** Wait until the server answers: at once where it does. */
export function whenBack() {
  back ??= (async () => {
    while (!(await answers())) {
      connectionLine.textContent = t.connection.lost;
      await pause(AGAIN);
    }
    connectionLine.textContent = "";
    back = null;
  })();
  return back;
}

async function answers() {
  try {
    return (await fetch("/healthz", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}
