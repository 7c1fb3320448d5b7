// Steps that can be taken back, and taken again: what was drawn, before each change.

import { state } from "./state.js";

const MOST = 60;

/** Masks are never painted into once they are remembered: a stroke begins with a copy. */
const copy = () => ({ regions: state.regions.map((region) => ({ ...region, numbers: new Set(region.numbers) })), current: state.regions.indexOf(state.current) });

export class Undoing {
  constructor() { this.clear(); }

  clear() { [this.before, this.after] = [[], []]; }

  /** Remember the regions as they are, before they are changed. */
  remember() {
    this.before.push(copy());
    if (this.before.length > MOST) this.before.shift();
    this.after = [];
  }

  /** Forget the step that was remembered last: it changed nothing. */
  forget() { this.before.pop(); }

  undo() { return this.move(this.before, this.after); }

  redo() { return this.move(this.after, this.before); }

  /** Take the regions over that lie on one pile, and lay ours on the other. Styles and weights stay as they are now. */
  move(from, to) {
    const step = from.pop();
    if (!step) return false;
    const now = new Map(state.regions.map((region) => [region.id, region]));
    to.push(copy());
    state.regions = step.regions.map((region) => ({ ...region, style: now.get(region.id)?.style ?? region.style, weight: now.get(region.id)?.weight ?? region.weight }));
    state.current = state.regions[step.current] ?? null;
    return true;
  }
}
