// All address spaces, a line each, with holes left out: what stands near each other is drawn as a cluster, as wide as
// its size has digits, and a gap between two clusters is a hole of any size.

const LANE = 22;
const GUTTER = 76;
const HOLE = 6;
const NEAR = 2 ** 18;
const NEARBY = 2 ** 26;

class Lanes {
  constructor(root, app) {
    this.app = app;
    this.root = root;
    this.spacer = root.querySelector(".spacer");
    this.canvas = root.querySelector("canvas");
    this.kept = new Map();
    this.around = new Map();
    this.asked = false;
    this.root.addEventListener("scroll", () => this.ask());
    this.canvas.addEventListener("pointermove", (event) => this.hover(event));
    this.canvas.addEventListener("pointerleave", hideTip);
    this.canvas.addEventListener("click", (event) => this.click(event));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.ask()).observe(root);
  }

  get count() {
    return this.app.data.pids.length;
  }

  ask() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => this.draw());
  }

  /** The largest neighbourhood of a tree, or that of an offset: what one looks at first. */
  neighbourhood(tree, offset = null) {
    let kept = this.around.get(tree);
    if (!kept) {
      kept = clustered(this.app.data, tree, 64, NEARBY);
      this.around.set(tree, kept);
    }
    const here = offset === null ? null : kept.find((each) => each.start <= offset && offset < each.end);
    return here ?? kept.reduce((best, each) => (best && best.rows >= each.rows ? best : each), null);
  }

  /** The clusters of a tree: {start, end, rows}, in order, as many as can be told apart. */
  clustersOf(tree) {
    let found = this.kept.get(tree);
    if (!found) {
      found = clustered(this.app.data, tree, 40);
      this.kept.set(tree, found);
    }
    return found;
  }

  /** The clusters of a tree with the pixels that they have, from `left` on. */
  placed(tree, width) {
    const most = Math.max(Math.floor(width / 28), 2);
    const all = this.clustersOf(tree);
    const clusters = all.length <= most ? all : clustered(this.app.data, tree, most);
    const weights = clusters.map((each) => 2 + Math.log2((each.end - each.start) / PAGE));
    const sum = weights.reduce((one, other) => one + other, 0);
    const room = width - HOLE * Math.max(clusters.length - 1, 0);
    let at = 0;
    return clusters.map((each, number) => {
      const wide = room * weights[number] / sum;
      const place = { ...each, left: at, width: wide };
      at += wide + HOLE;
      return place;
    });
  }

  draw() {
    this.asked = false;
    const width = this.root.clientWidth;
    if (!width) return;
    this.spacer.style.height = `${this.count * LANE}px`;
    const high = this.root.clientHeight;
    const [context, ratio] = prepared(this.canvas, width, high);
    const { app } = this;
    const top = this.root.scrollTop;
    const left = Math.round(GUTTER * ratio);
    const across = this.canvas.width - left;
    context.fillStyle = styled("--paper");
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.font = `${12 * ratio}px ${styled("--sans")}`;
    context.textBaseline = "middle";
    const palette = paletteOf(app.scheme.classes, styled("--paper"));
    palette.first[UNMAPPED] = pixel(rgb(styled("--hole")));
    const scratch = document.createElement("canvas");
    scratch.width = Math.max(across, 1);
    scratch.height = Math.round((LANE - 6) * ratio);
    const pen = scratch.getContext("2d");
    for (let tree = Math.floor(top / LANE); tree < Math.min(this.count, Math.ceil((top + high) / LANE)); tree++) {
      const y = Math.round((tree * LANE - top) * ratio);
      const chosen = tree === app.tree;
      if (chosen) {
        context.fillStyle = styled("--chosen");
        context.fillRect(0, y, this.canvas.width, Math.round(LANE * ratio));
      }
      context.fillStyle = styled("--ink");
      context.fillText(app.data.pids[tree] === 0 ? "0 kernel" : app.data.shortNames[tree], 6 * ratio, y + LANE / 2 * ratio);
      const places = this.placed(tree, across / ratio);
      const cells = this.cells(tree, places, across, ratio);
      drawCells(pen, cells, across, 1, 0, scratch.height, 0, palette);
      context.drawImage(scratch, left, y + Math.round(3 * ratio));
      // A hole is paper with a mark in its middle: it has no scale, unlike what is not mapped within a cluster.
      context.fillStyle = styled("--dim");
      for (const each of places.slice(1)) {
        const x = left + Math.round((each.left - HOLE / 2) * ratio);
        context.fillRect(x, y + Math.round(6 * ratio), Math.max(Math.round(ratio), 1), Math.round((LANE - 12) * ratio));
      }
      if (chosen) this.outline(context, places, left, y, ratio);
    }
  }

  /** The window of the map below. */
  outline(context, places, left, y, ratio) {
    const shown = this.app.space.window;
    context.strokeStyle = styled("--mark");
    context.lineWidth = 2 * ratio;
    for (const each of places) {
      const from = Math.max(shown.start, each.start);
      const upto = Math.min(shown.end, each.end);
      if (from >= upto) continue;
      const scale = each.width / (each.end - each.start);
      const wide = Math.max((upto - from) * scale, 2);
      const x = each.left + (from - each.start) * scale;
      context.strokeRect(left + x * ratio, y + 2 * ratio, wide * ratio, (LANE - 4) * ratio);
    }
  }

  cells(tree, places, across, ratio) {
    const { data, mask, scheme } = this.app;
    const cells = new Uint8Array(across);
    let at = 0;
    for (let row = data.first[tree]; row < data.first[tree + 1]; row++) {
      while (at < places.length - 1 && data.offset[row] >= places[at].end) at += 1;
      const place = places[at];
      const scale = place.width * ratio / (place.end - place.start);
      const from = place.left * ratio + (data.offset[row] - place.start) * scale;
      putCells(cells, from, from + data.size[row] * scale, scheme.of(row) | (!mask || mask[row] ? MEANT : 0));
    }
    for (const { left, width } of places) {
      const upto = Math.round((left + width) * ratio);
      for (let cell = Math.round(left * ratio); cell < upto; cell++) cells[cell] ||= UNMAPPED;
    }
    return cells;
  }

  // -- pointers and keys

  /** What is under the pointer: {tree, place, offset}. */
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const tree = Math.floor((event.clientY - box.top + this.root.scrollTop) / LANE);
    if (tree < 0 || tree >= this.count) return null;
    const x = event.clientX - box.left - GUTTER;
    const places = this.placed(tree, box.width - GUTTER);
    const number = places.findIndex((each) => x < each.left + each.width + HOLE / 2);
    const place = places[number < 0 ? places.length - 1 : number];
    if (!place || x < 0) return { tree, place: null, offset: 0 };
    const inside = Math.min(Math.max((x - place.left) / place.width, 0), 1 - 2 ** -20);
    return { tree, place, offset: place.start + inside * (place.end - place.start) };
  }

  hover(event) {
    const here = this.at(event);
    showTip(event, here ? this.tip(here) : []);
  }

  tip({ tree, place, offset }) {
    const { data } = this.app;
    const rows = data.first[tree + 1] - data.first[tree];
    if (!place) return [`${data.names[tree]}: ${counted(rows, "range")}`];
    const base = data.bases[tree];
    const row = rowAt(data, tree, offset);
    const region = data.regions.find((each) => base + place.start >= each.start && base + place.start < each.end);
    const where = `${hex(base + place.start)} \u2013 ${hex(base + place.end)}`;
    const what = `${sizeText(place.end - place.start)}, ${counted(place.rows, "range")}${region ? `, ${region.name}` : ""}`;
    return [data.names[tree], where, what, ...(row < 0 ? [] : tipOf(data, row, offset).slice(0, 2))];
  }

  click(event) {
    const here = this.at(event);
    hideTip();
    if (here) this.open(here.tree, here.place, here.offset);
  }

  open(tree, place, offset) {
    this.app.chooseTree(tree);
    if (!place) return;
    this.app.space.fit(place.start, place.end);
    if (offset !== undefined) this.app.space.window.show(offset);
    this.ask();
  }

  key(event) {
    const { app } = this;
    if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const next = app.tree + (event.key === "ArrowUp" ? -1 : 1);
      if (next >= 0 && next < this.count) app.chooseTree(next);
    } else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      const places = this.clustersOf(app.tree);
      const middle = app.space.window.start + app.space.window.perRow;
      const here = firstWhere(0, places.length, (each) => places[each].end > middle);
      const next = places[Math.min(Math.max(here + (event.key === "ArrowLeft" ? -1 : 1), 0), places.length - 1)];
      if (next) this.open(app.tree, next);
    } else if (event.key === "Enter") app.space.canvas.focus();
    else return;
    event.preventDefault();
    this.ask();
  }

  /** Scroll so far that a tree's line is seen. */
  show(tree) {
    const top = tree * LANE;
    if (top < this.root.scrollTop) this.root.scrollTop = top;
    else if (top + LANE > this.root.scrollTop + this.root.clientHeight) {
      this.root.scrollTop = top + LANE - this.root.clientHeight;
    }
  }
}

/** The ranges of a tree in `most` groups at most, parted at the widest gaps. */
function clustered(data, tree, most, near = NEAR) {
  const [first, upto] = [data.first[tree], data.first[tree + 1]];
  const gaps = [];
  for (let row = first + 1; row < upto; row++) {
    const gap = data.offset[row] - data.offset[row - 1] - data.size[row - 1];
    if (gap >= near) gaps.push({ row, gap });
  }
  gaps.sort((one, other) => other.gap - one.gap);
  const begins = [first, ...gaps.slice(0, most - 1).map((each) => each.row)].sort((one, other) => one - other);
  return first === upto ? [] : begins.map((row, at) => {
    const last = (begins[at + 1] ?? upto) - 1;
    return { start: data.offset[row], end: data.offset[last] + data.size[last], rows: last - row + 1 };
  });
}
