// Real memory to scale, by who owns each place. Places are bytes of RAM counted from its beginning, so that what is no
// RAM takes no room; what is mapped there is listed beside.

const LISTED = 300;

class RamSource {
  constructor(app) {
    this.app = app;
    const { data } = app;
    this.least = LEAST_ROW;
    this.rows = 32;
    this.extent = 0;
    this.spans = data.spans.map((span) => {
      const placed = { ...span, at: this.extent };
      this.extent += span.end - span.start;
      return placed;
    });
    this.kinds = ownerClasses(data);
    this.classOf = ownerClassOf(data);
    this.inRam = [];
    this.outside = [];
    for (let each = 0; each < data.owner.start.length; each++) (data.owner.inRam[each] ? this.inRam : this.outside).push(each);
    this.at = Float64Array.from(this.inRam, (each) => this.placeOf(data.owner.start[each]));
  }

  /** Where a real address stands, or -1 where it is no RAM. */
  placeOf(ra) {
    const number = firstWhere(0, this.spans.length, (each) => this.spans[each].end > ra);
    const span = this.spans[number];
    return span && ra >= span.start ? span.at + (ra - span.start) : -1;
  }

  /** The real address of a place. */
  addressOf(place) {
    const number = Math.max(firstWhere(0, this.spans.length, (each) => this.spans[each].at > place) - 1, 0);
    const span = this.spans[number];
    return span ? span.start + (place - span.at) : 0;
  }

  home() {
    return [0, Math.max(this.extent, this.least)];
  }

  classes() {
    return this.kinds;
  }

  paint(shown, across) {
    const { data } = this.app;
    const cells = new Uint8Array(across * shown.rows);
    const perCell = shown.perRow / across;
    const meant = this.meant(shown, cells.length, perCell);
    let number = firstWhere(0, this.at.length, (each) => {
      const stretch = this.inRam[each];
      return this.at[each] + data.owner.end[stretch] - data.owner.start[stretch] > shown.start;
    });
    for (; number < this.at.length && this.at[number] < shown.end; number++) {
      const stretch = this.inRam[number];
      const from = this.at[number] - shown.start;
      const to = from + data.owner.end[stretch] - data.owner.start[stretch];
      putCells(cells, from / perCell, to / perCell, this.classOf(stretch));
    }
    for (let cell = 0; cell < cells.length; cell++) if (cells[cell] && (!meant || meant[cell])) cells[cell] |= MEANT;
    return cells;
  }

  /** For each cell, whether anything that the filter means maps into it; null where all is meant. */
  meant(shown, count, perCell) {
    const { data, mask } = this.app;
    if (!mask) return null;
    const change = new Int32Array(count + 1);
    for (let row = 0; row < data.rows; row++) {
      if (!mask[row]) continue;
      for (const [from, upto] of this.stretchesOf(row)) {
        const low = Math.max(from - shown.start, 0);
        const high = Math.min(upto - shown.start, shown.size);
        if (low >= high) continue;
        const first = Math.min(Math.floor(low / perCell), count - 1);
        change[first] += 1;
        change[Math.min(Math.max(Math.ceil(high / perCell), first + 1), count)] -= 1;
      }
    }
    for (let cell = 1; cell < count; cell++) change[cell] += change[cell - 1];
    return change;
  }

  /** The places in RAM that a range maps. */
  stretchesOf(row) {
    const { data } = this.app;
    const [from, upto] = [data.ra[row], data.ra[row] + data.size[row]];
    const found = [];
    let number = firstWhere(0, this.spans.length, (each) => this.spans[each].end > from);
    for (; number < this.spans.length && this.spans[number].start < upto; number++) {
      const span = this.spans[number];
      const first = Math.max(from, span.start);
      found.push([span.at + first - span.start, span.at + Math.min(upto, span.end) - span.start]);
    }
    return found;
  }

  label(place) {
    return place < this.extent ? hex(Math.floor(this.addressOf(place) / PAGE) * PAGE) : "";
  }

  /** The stretch that holds a real address, or -1. */
  stretchAt(ra) {
    const { owner } = this.app.data;
    const number = firstWhere(0, owner.start.length, (each) => owner.end[each] > ra);
    return number < owner.start.length && owner.start[number] <= ra ? number : -1;
  }

  ownerText(stretch) {
    const { data } = this.app;
    if (stretch < 0) return data.facts.owners[0];
    const kind = data.owner.kind[stretch];
    return kind === 3 ? data.names[data.owner.root[stretch]] : data.facts.owners[kind];
  }

  tip(place) {
    if (place >= this.extent) return [];
    const ra = Math.floor(this.addressOf(place) / 256) * 256;
    const stretch = this.stretchAt(ra);
    if (stretch < 0) return [hex(ra)];
    const { owner } = this.app.data;
    const where = `${hex(owner.start[stretch])} \u2013 ${hex(owner.end[stretch])}`;
    return [hex(ra), this.ownerText(stretch), `${where}, ${sizeText(owner.end[stretch] - owner.start[stretch])}`];
  }

  pick(place) {
    if (place < this.extent) this.app.selectPlace(Math.floor(this.addressOf(place) / 256) * 256);
  }

  marked() {
    const { selected, place } = this.app;
    const found = selected < 0 ? [] : this.stretchesOf(selected);
    const at = place === null ? -1 : this.placeOf(place);
    return at < 0 ? found : [[at, at + 256], ...found];
  }

  edges() {
    return this.spans.slice(1).map((span) => span.at);
  }

  /** What is mapped outside RAM, as a list: I/O. */
  listOutside(root) {
    const { data } = this.app;
    const bytes = this.outside.reduce((sum, each) => sum + data.owner.end[each] - data.owner.start[each], 0);
    root.hidden = !this.outside.length;
    root.querySelector("summary").textContent =
      `Mapped outside RAM (I/O): ${counted(this.outside.length, "stretch").replace("stretchs", "stretches")}, ${sizeText(bytes)}`;
    const items = this.outside.slice(0, LISTED).map((each) => {
      const [start, end] = [data.owner.start[each], data.owner.end[each]];
      const words = `${hex(start)} \u2013 ${hex(end)}`;
      const button = element("button", { type: "button", class: "link", textContent: words });
      button.addEventListener("click", () => this.app.selectPlace(start));
      return element("li", {}, button, ` ${sizeText(end - start)}, ${this.ownerText(each)}`);
    });
    const more = this.outside.length - items.length;
    if (more > 0) items.push(element("li", { textContent: `${counted(more, "more")}; the filter 'not RAM' lists all` }));
    root.querySelector("ul").replaceChildren(...items);
  }
}
