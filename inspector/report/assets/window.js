// A window on a line of bytes that is wrapped like text: rows of so many bytes, from a start on.

class Window {
  constructor(extent, least) {
    this.extent = extent;
    this.least = least;
    this.start = 0;
    this.perRow = least;
    this.rows = 1;
  }

  get size() {
    return this.perRow * this.rows;
  }

  get end() {
    return this.start + this.size;
  }

  /** Show what lies from..upto, rows beginning at round addresses. */
  fit(from, upto) {
    this.perRow = roundUp(Math.max((upto - from) / this.rows, this.least));
    this.start = Math.floor(from / this.perRow) * this.perRow;
    if (this.end < upto) {
      this.perRow = roundUp(this.perRow * 1.01);
      this.start = Math.floor(from / this.perRow) * this.perRow;
    }
    this.hold();
  }

  /** Zoom by a power of two, so that an address stays in its row and about where it is. */
  zoom(factor, address) {
    const before = this.perRow;
    const most = roundUp(this.extent / 4);
    this.perRow = Math.min(Math.max(before * factor, this.least), most);
    if (this.perRow === before) return;
    const away = (address - this.start) * (this.perRow / before);
    const step = this.perRow / 16;
    this.start = Math.round((address - away) / step) * step;
    this.hold();
  }

  pan(bytes) {
    const step = this.least / 16;
    this.start = Math.round((this.start + bytes) / step) * step;
    this.hold();
  }

  /** See to it that an address is shown, about a third down where it was not. */
  show(address) {
    if (address >= this.start && address < this.end) return;
    this.start = Math.floor(address / this.perRow - this.rows / 3) * this.perRow;
    this.hold();
  }

  hold() {
    const last = Math.max(this.extent - this.size + this.perRow, 0);
    this.start = Math.min(Math.max(this.start, 0), last);
  }

  /** Where an address is, in rows and parts of a row. */
  placeOf(address) {
    const rows = (address - this.start) / this.perRow;
    return [Math.floor(rows), rows - Math.floor(rows)];
  }

  addressAt(row, part) {
    return this.start + (row + Math.min(Math.max(part, 0), 1 - 2 ** -20)) * this.perRow;
  }
}

/** The next power of two, or one and a half of the one before: rows of such sizes begin at round addresses. */
function roundUp(bytes) {
  const power = 2 ** Math.floor(Math.log2(bytes));
  return [1, 1.5, 2].map((each) => each * power).find((each) => each >= bytes);
}
