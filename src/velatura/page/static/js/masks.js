// Masks and numbered segments in a grid of the size in which the photo is shown.

const LONGEST = 640;
export const TINTS = ["#e4572e", "#2e86e4", "#2fa36b", "#b04fd0", "#d9a400", "#00a3a3"];

/** The grid's size for a photo: its proportions, the longer side at most 640. */
export function gridSize(width, height) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  return { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
}

/** One byte for each cell of the grid from a grey picture: segment numbers, or a mask's levels; nearest neighbour. */
export async function cellsOf(blob, size) {
  const picture = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(size.width, size.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, 0, 0, size.width, size.height);
  const pixels = context.getImageData(0, 0, size.width, size.height).data;
  return Uint8Array.from({ length: size.width * size.height }, (_, cell) => pixels[4 * cell]);
}

/** The mask of some segments. */
export const maskOfSegments = (labels, numbers) => labels.map((number) => (numbers.has(number) ? 1 : 0));

/** Paint (1) or wipe (0) a disc into a mask. */
export function dab(mask, size, { x, y }, radius, value) {
  for (let row = Math.max(0, Math.ceil(y - radius)); row <= Math.min(size.height - 1, y + radius); row++) {
    const half = Math.sqrt(Math.max(0, radius * radius - (row - y) ** 2));
    const from = Math.max(0, Math.round(x - half));
    const to = Math.min(size.width, Math.round(x + half) + 1);
    if (to > from) mask.fill(value, row * size.width + from, row * size.width + to);
  }
}

/** A mask as a PNG file, white inside. */
export async function pngOfMask(mask, size) {
  const canvas = new OffscreenCanvas(size.width, size.height);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(size.width, size.height);
  mask.forEach((inside, cell) => pixels.data.set([inside * 255, inside * 255, inside * 255, 255], 4 * cell));
  context.putImageData(pixels, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

/** A colour "#rrggbb" and an alpha as one cell of a picture in memory. */
const packed = (hex, alpha) => ((alpha << 24) | (parseInt(hex.slice(5, 7), 16) << 16) | (parseInt(hex.slice(3, 5), 16) << 8) | parseInt(hex.slice(1, 3), 16)) >>> 0;

const [WHITE, DARK] = [packed("#ffffff", 255), packed("#1d1915", 255)];

/** Draw tinted masks with outlines, white and dark, which are seen on every colour; of masks over one another the last is seen. */
export function drawMasks(context, size, looks) {
  const { width, height } = size;
  const pixels = context.createImageData(width, height);
  const cells = new Uint32Array(pixels.data.buffer);
  for (const { mask, tint, alpha } of looks) {
    const inside = packed(tint, alpha);
    const isWithin = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x];
    const isNearEdge = (x, y, far) => !isWithin(x - far, y) || !isWithin(x + far, y) || !isWithin(x, y - far) || !isWithin(x, y + far);
    for (let cell = 0; cell < mask.length; cell++) {
      if (!mask[cell]) continue;
      const x = cell % width;
      const y = Math.floor(cell / width);
      cells[cell] = isNearEdge(x, y, 1) ? WHITE : isNearEdge(x, y, 2) ? DARK : inside;
    }
  }
  context.putImageData(pixels, 0, 0);
}
