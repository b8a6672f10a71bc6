// Cells: one byte each for what is at a pixel's width of a row, the class of it and whether the filter means it.

const MEANT = 0x40;
const UNMAPPED = 0x3f;

/** Put a class over the cells from..upto (fractions count whole), where nothing that matters more is. */
function putCells(cells, from, upto, value) {
  let at = Math.max(Math.floor(from), 0);
  const end = Math.min(Math.max(Math.ceil(upto), at + 1), cells.length);
  for (; at < end; at++) if (cells[at] < value) cells[at] = value;
}

/** Rows of cells as pixels, each row as high as is said, its last `gap` lines left as paper. */
function drawCells(context, cells, across, rows, left, height, gap, palette) {
  if (!across || !rows) return;
  const image = context.createImageData(across, rows * height);
  const pixels = new Uint32Array(image.data.buffer);
  const { first, second, pattern } = palette;
  const scale = Math.max(1, Math.round(devicePixelRatio || 1));
  const [period, dot] = [6 * scale, 4 * scale];
  pixels.fill(first[0]);
  for (let row = 0; row < rows; row++) {
    const line = cells.subarray(row * across, (row + 1) * across);
    for (let y = row * height; y < (row + 1) * height - gap; y++) {
      const at = y * across;
      for (let x = 0; x < across; x++) {
        const cell = line[x];
        if (!cell) continue;
        let other = false;
        // What is too narrow for its pattern has the first colour alone, so that it is not taken for paper.
        if (pattern[cell] && line[x - 1] === cell && line[x + 1] === cell) {
          if (pattern[cell] === "stripes") other = (x + y) % period < period / 3;
          else if (pattern[cell] === "bars") other = x % period < period / 3;
          else other = x % dot < scale && y % dot < scale;
        }
        pixels[at + x] = other ? second[cell] : first[cell];
      }
    }
  }
  context.putImageData(image, left, 0);
}

/** A canvas made as large as it is shown, in the screen's own pixels: its context and how many of them a pixel is. */
function prepared(canvas, width, height) {
  const ratio = Math.max(devicePixelRatio || 1, 1);
  const [across, down] = [Math.max(Math.floor(width * ratio), 1), Math.max(Math.floor(height * ratio), 1)];
  if (canvas.width !== across || canvas.height !== down) {
    canvas.width = across;
    canvas.height = down;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  return [canvas.getContext("2d"), ratio];
}

/** A colour of the style sheet. */
function styled(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
