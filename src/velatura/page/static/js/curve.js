// A small line drawing of numbers that fall or rise, from the lowest to the highest.

/** An SVG of points [x, y]; `label` is what screen readers say. */
export function curve(points, label) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const place = ([x, y]) => `${(100 * (x - left)) / (right - left || 1)},${4 + 92 * (1 - (y - low) / (high - low || 1))}`;
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  line.setAttribute("points", points.map(place).join(" "));
  for (const [name, value] of Object.entries({ class: "curve", viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": label })) svg.setAttribute(name, value);
  svg.append(line);
  return svg;
}
