// A map to zoom and pan: a canvas over a Window, with what is in it left to a source.

const ROW = 15;
const DRAG = 4;

/**
 * source: extent (bytes), least (of a row), rows, home() -> [from, upto], paint(window, across) -> cells, classes(),
 * label(place), tip(place) -> lines, pick(place), marked() -> [[from, upto], …], edges() -> places to draw a line at.
 */
class MapView {
  constructor(root, source) {
    this.root = root;
    this.source = source;
    this.canvas = root.querySelector("canvas");
    this.window = new Window(source.extent, source.least);
    this.window.rows = source.rows;
    this.cursor = null;
    this.pointers = new Map();
    this.asked = false;
    this.scale = element("output", { class: "scale" });
    const button = (label, title, run) => {
      const made = element("button", { type: "button", textContent: label, title, "aria-label": title });
      made.addEventListener("click", run);
      return made;
    };
    root.prepend(element("div", { class: "tools" },
      button("\u2212", "zoom out", () => this.zoom(2)),
      button("+", "zoom in", () => this.zoom(0.5)),
      button("reset", "show all of it", () => this.home()),
      this.scale));
    this.listen();
    new ResizeObserver(() => this.ask()).observe(root);
  }

  listen() {
    const on = (name, run, options) => this.canvas.addEventListener(name, run, options);
    on("wheel", (event) => {
      event.preventDefault();
      const way = event.deltaY || event.deltaX;
      if (way) this.zoom(way > 0 ? 2 : 0.5, this.addressOf(event));
    }, { passive: false });
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.up(event));
    on("pointercancel", (event) => this.pointers.delete(event.pointerId));
    on("pointerleave", () => hideTip());
    on("dblclick", () => this.home());
    on("keydown", (event) => this.key(event));
    on("blur", () => { this.cursor = null; this.ask(); });
  }

  /** Ask for a drawing with the next frame. */
  ask() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => this.draw());
  }

  home() {
    this.cursor = null;
    this.fit(...this.source.home());
  }

  fit(from, upto) {
    this.window.extent = this.source.extent;
    this.window.fit(from, upto);
    this.ask();
  }

  zoom(factor, address = this.cursor ?? this.middle()) {
    this.window.zoom(factor, address);
    this.ask();
  }

  middle() {
    const [marked] = this.source.marked();
    if (marked && marked[0] >= this.window.start && marked[0] < this.window.end) return marked[0];
    return this.window.start + Math.min(this.window.size, this.source.extent) / 2;
  }

  // -- pointers

  addressOf(event) {
    const box = this.canvas.getBoundingClientRect();
    const part = (event.clientX - box.left - this.left) / Math.max(box.width - this.left, 1);
    return this.window.addressAt(Math.floor((event.clientY - box.top) / ROW), part);
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, moved: false });
    this.pinch = this.spread();
    hideTip();
  }

  /** How far two fingers are apart. */
  spread() {
    const [one, other] = [...this.pointers.values()];
    return one && other ? Math.hypot(one.x - other.x, one.y - other.y) : 0;
  }

  move(event) {
    const held = this.pointers.get(event.pointerId);
    if (!held) {
      showTip(event, this.source.tip(this.addressOf(event)));
      return;
    }
    const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
    if (!held.moved && Math.hypot(dx, dy) < DRAG) return;
    held.moved = true;
    if (this.pointers.size > 1) {
      Object.assign(held, { x: event.clientX, y: event.clientY });
      const apart = this.spread();
      const factor = apart > this.pinch * 1.5 ? 0.5 : apart * 1.5 < this.pinch ? 2 : 1;
      if (factor === 1) return;
      this.pinch = apart;
      this.zoom(factor, this.addressOf(event));
      return;
    }
    const across = Math.max(this.canvas.clientWidth - this.left, 1);
    // One way at a time, so that rows keep their round addresses while one scrolls.
    if (held.way === undefined) held.way = Math.abs(dx) > Math.abs(dy) ? "x" : "y";
    if (held.way === "x") {
      this.window.pan(-dx / across * this.window.perRow);
      held.x = event.clientX;
    } else {
      const rows = Math.trunc(dy / ROW);
      this.window.pan(-rows * this.window.perRow);
      held.y += rows * ROW;
    }
    this.ask();
  }

  up(event) {
    const held = this.pointers.get(event.pointerId);
    this.pointers.delete(event.pointerId);
    this.pinch = this.spread();
    if (held && !held.moved) this.source.pick(this.addressOf(event));
  }

  // -- keys

  key(event) {
    const step = this.window.perRow;
    const moves = {
      ArrowLeft: -step / 64, ArrowRight: step / 64, ArrowUp: -step, ArrowDown: step,
      PageUp: -step * this.window.rows, PageDown: step * this.window.rows,
    };
    if (event.key in moves) {
      const from = this.cursor ?? this.middle();
      this.cursor = Math.min(Math.max(from + (this.cursor === null ? 0 : moves[event.key]), 0), this.source.extent - 1);
      while (this.cursor < this.window.start && this.window.start > 0) this.window.pan(-step);
      while (this.cursor >= this.window.end) this.window.pan(step);
      showTipAt(this.canvas, this.pointOf(this.cursor), this.source.tip(this.cursor));
    } else if (event.key === "+" || event.key === "=") this.zoom(0.5);
    else if (event.key === "-") this.zoom(2);
    else if (event.key === "0" || event.key === "Home") this.home();
    else if (event.key === "Enter" || event.key === " ") this.source.pick(this.cursor ?? this.middle());
    else return;
    event.preventDefault();
    this.ask();
  }

  /** Where a place is on the canvas, in pixels of the page. */
  pointOf(address) {
    const [row, part] = this.window.placeOf(address);
    return [this.left + part * (this.canvas.clientWidth - this.left), (row + 0.5) * ROW];
  }

  // -- drawing

  draw() {
    this.asked = false;
    const width = this.root.clientWidth;
    if (!width) return;
    const [context, ratio] = prepared(this.canvas, width, ROW * this.window.rows);
    const { window: shown, source } = this;
    const font = `${11 * ratio}px ${styled("--mono")}`;
    context.font = font;
    const labels = [];
    for (let row = 0; row < shown.rows; row++) labels.push(source.label(shown.start + row * shown.perRow));
    const widest = Math.max(...labels.map((label) => context.measureText(label).width));
    const left = Math.ceil(widest + 10 * ratio);
    this.left = left / ratio;
    const across = this.canvas.width - left;
    const height = Math.round(ROW * ratio);
    context.fillStyle = styled("--paper");
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    const cells = source.paint(shown, across);
    const hole = styled("--hole");
    drawCells(context, cells, across, shown.rows, left, height, Math.round(2 * ratio), paletteOf(source.classes(), hole));
    context.fillStyle = styled("--dim");
    context.textAlign = "right";
    context.textBaseline = "middle";
    labels.forEach((label, row) => context.fillText(label, left - 6 * ratio, (row + 0.45) * height));
    for (const edge of source.edges()) this.box(context, edge, edge, left, across, height, styled("--ink"), ratio);
    for (const [from, upto] of source.marked()) {
      this.box(context, from, upto, left, across, height, styled("--mark"), 2 * ratio);
    }
    if (this.cursor !== null) {
      const [row, part] = shown.placeOf(this.cursor);
      context.strokeStyle = styled("--ink");
      context.lineWidth = 2 * ratio;
      context.strokeRect(left + part * across - 4 * ratio, row * height, 8 * ratio, height - 2 * ratio);
    }
    this.scale.value = `a row is ${sizeText(shown.perRow)}`;
  }

  /** Outline what of a stretch is shown, row by row. */
  box(context, from, upto, left, across, height, colour, line) {
    const { window: shown } = this;
    if (upto < shown.start || from >= shown.end) return;
    context.strokeStyle = colour;
    context.lineWidth = line;
    const [first, begin] = shown.placeOf(Math.max(from, shown.start));
    const last = Math.min(Math.ceil((Math.min(upto, shown.end) - shown.start) / shown.perRow) - 1, shown.rows - 1);
    for (let row = first; row <= Math.max(last, first); row++) {
      const start = row === first ? begin : 0;
      const stop = Math.min((upto - shown.start) / shown.perRow - row, 1);
      const wide = Math.max((stop - start) * across, line);
      context.strokeRect(left + start * across, row * height - line / 4, wide, height - line);
    }
  }
}

// -- the tip that follows the pointer

function showTip(event, lines) {
  const tip = document.getElementById("tip");
  tip.replaceChildren(...lines.map((line) => element("div", { textContent: line })));
  tip.hidden = !lines.length;
  const [width, height] = [tip.offsetWidth, tip.offsetHeight];
  const x = Math.min(event.clientX + 14, innerWidth - width - 8);
  const y = event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18;
  tip.style.left = `${Math.max(x, 4)}px`;
  tip.style.top = `${Math.max(y, 4)}px`;
}

function showTipAt(canvas, [x, y], lines) {
  const box = canvas.getBoundingClientRect();
  showTip({ clientX: box.left + x, clientY: box.top + y }, lines);
}

function hideTip() {
  document.getElementById("tip").hidden = true;
}
