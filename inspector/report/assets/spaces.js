// One address space to scale: what the map of it shows. Places are offsets in the tree, below its quadrant.

const TREE = 2 ** 52;
const LEAST_ROW = 2 ** 16;
const WIDE_PAGE = 8;

class SpaceSource {
  constructor(app) {
    this.app = app;
    this.extent = TREE;
    this.least = LEAST_ROW;
    this.rows = 24;
  }

  get base() {
    return this.app.data.bases[this.app.tree] ?? 0;
  }

  /** Where one begins to look: around what is chosen, or where most is. */
  home() {
    const found = this.app.lanes.neighbourhood(this.app.tree, this.marked()[0]?.[0]);
    return found ? [found.start, found.end] : [0, this.least];
  }

  classes() {
    return this.app.scheme.classes;
  }

  paint(shown, across) {
    const { data, mask, tree, scheme } = this.app;
    const cells = new Uint8Array(across * shown.rows);
    const upto = data.first[tree + 1] ?? 0;
    const perCell = shown.perRow / across;
    const first = data.first[tree] ?? 0;
    let row = firstWhere(first, upto, (each) => data.offset[each] + data.size[each] > shown.start);
    for (; row < upto && data.offset[row] < shown.end; row++) {
      const from = (data.offset[row] - shown.start) / perCell;
      const to = (data.offset[row] + data.size[row] - shown.start) / perCell;
      putCells(cells, from, to, scheme.of(row) | (!mask || mask[row] ? MEANT : 0));
      const page = 2 ** data.shift[row] / perCell;
      if (page >= WIDE_PAGE) {
        // Pages that are wide enough to be told apart are drawn apart.
        const end = Math.min(to, cells.length);
        const before = Math.max(Math.ceil(-from / page), 0);
        for (let edge = from + before * page; edge < end; edge += page) cells[Math.floor(edge)] = 0;
      }
    }
    return cells;
  }

  label(offset) {
    return hex(this.base + Math.floor(offset / PAGE) * PAGE);
  }

  tip(offset) {
    const { data, tree } = this.app;
    const row = rowAt(data, tree, offset);
    const whole = Math.floor(offset / PAGE) * PAGE;
    return row < 0 ? [hex(this.base + whole), "not mapped"] : tipOf(data, row, offset);
  }

  pick(offset) {
    const row = rowAt(this.app.data, this.app.tree, offset);
    if (row >= 0) this.app.select(row, { offset: pageStart(this.app.data, row, offset), from: "space" });
    else this.app.selectNothing();
  }

  marked() {
    const { data, selected, tree } = this.app;
    if (selected < 0 || data.root[selected] !== tree) return [];
    return [[data.offset[selected], data.offset[selected] + data.size[selected]]];
  }

  edges() {
    return [];
  }
}

/** Where the page that holds this offset begins. */
function pageStart(data, row, offset) {
  const page = 2 ** data.shift[row];
  return data.offset[row] + Math.floor((offset - data.offset[row]) / page) * page;
}

function tipOf(data, row, offset) {
  const start = pageStart(data, row, offset);
  const ra = data.ra[row] + (start - data.offset[row]);
  const flags = data.facts.flags[data.flags[row]];
  const attribute = flags.attribute === "normal" ? "" : ` ${flags.attribute}`;
  const outside = data.inRam[row] ? "" : ", not RAM";
  const through = data.gra ? ` \u2192 guest real ${hex(data.gra[row] + (start - data.offset[row]))}` : "";
  return [
    `${hex(data.bases[data.root[row]] + start)}${through} \u2192 ${hex(ra)}`,
    `${data.names[data.root[row]]}, ${flags.shown}${attribute}${outside}`,
    `in a range of ${sizeText(data.size[row])}, ${pagesText(data, row)}`,
    regionOf(data, row),
  ].filter(Boolean);
}
