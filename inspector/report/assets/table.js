// The table of ranges: only the rows that are seen are in the page, however many there are.

const LINE = 26;
const TALLEST = 8_000_000;

const byNumber = (of) => (data) => Float64Array.from({ length: data.rows }, (_, row) => of(data, row));
/** Words as their rank among all, worked out once for each. */
function byWords(words, of) {
  const order = [...words].sort();
  const rank = words.map((word) => order.indexOf(word));
  return byNumber((data, row) => rank[of(data, row)] ?? -1);
}

const COLUMNS = [
  { name: "PID", show: (data, row) => data.pids[data.root[row]] ?? data.names[data.root[row]], key: () => byNumber((data, row) => data.root[row]) },
  { name: "EA", show: (data, row) => hex16(eaOf(data, row)), key: () => byNumber(eaOf) },
  { name: "size", show: (data, row) => sizeText(data.size[row]), key: () => byNumber((data, row) => data.size[row]) },
  { name: "real address", show: (data, row) => hex(data.ra[row]), key: () => byNumber((data, row) => data.ra[row]) },
  { name: "pages", show: pagesText, key: () => byNumber((data, row) => data.shift[row] * 2 ** 45 + data.count[row]) },
  {
    name: "rights", show: (data, row) => data.facts.flags[data.flags[row]].shown,
    key: (data) => byWords(data.facts.flags.map((each) => each.shown), (all, row) => all.flags[row]),
  },
  {
    name: "attribute", show: (data, row) => data.facts.flags[data.flags[row]].attribute,
    key: (data) => byWords(data.facts.flags.map((each) => each.attribute), (all, row) => all.flags[row]),
  },
  {
    name: "region", show: (data, row) => regionOf(data, row) + (data.inRam[row] ? "" : " (not RAM)"),
    key: () => byNumber((data, row) => data.region[row] * 2 + data.inRam[row]),
  },
];

class Table {
  constructor(root, app) {
    this.app = app;
    this.root = root;
    this.sorted = { column: 0, down: false };
    this.orders = new Map();
    this.rows = new Uint32Array(0);
    this.active = 0;
    this.asked = false;
    this.heads = COLUMNS.map((column, number) => {
      const { id, ea } = app.data.words;
      const textContent = { PID: id, EA: ea }[column.name] ?? column.name;
      const button = element("button", { type: "button", textContent });
      button.addEventListener("click", () => this.sort(number));
      return element("div", { role: "columnheader", class: `cell c${number}` }, button);
    });
    this.body = element("div", { class: "rows", role: "rowgroup" });
    this.spacer = element("div", { class: "spacer" }, this.body);
    root.append(element("div", { class: "line heads", role: "row", "aria-rowindex": "1" }, ...this.heads), this.spacer);
    root.addEventListener("scroll", () => this.ask());
    root.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => {
      const line = event.target.closest(".line");
      if (line) this.pick(Number(line.dataset.at));
    });
    new ResizeObserver(() => this.ask()).observe(root);
    this.headed();
  }

  ask() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => this.draw());
  }

  /** Sort by a column, or the other way round where it is so already. */
  sort(number) {
    const again = this.sorted.column === number;
    this.sorted = { column: number, down: again ? !this.sorted.down : false };
    this.headed();
    this.refresh();
    this.root.scrollTop = 0;
  }

  headed() {
    this.heads.forEach((head, number) => {
      const here = number === this.sorted.column;
      head.setAttribute("aria-sort", here ? (this.sorted.down ? "descending" : "ascending") : "none");
    });
  }

  /** All rows in the order of a column; equal ones by tree and address. Made once. */
  order(number) {
    let order = this.orders.get(number);
    if (!order) {
      const { data } = this.app;
      const key = COLUMNS[number].key(data)(data);
      order = Uint32Array.from(key, (_, row) => row).sort((one, other) => key[one] - key[other] || one - other);
      this.orders.set(number, order);
    }
    return order;
  }

  /** Take up the filter. */
  refresh() {
    const { mask } = this.app;
    const order = this.order(this.sorted.column);
    let rows = mask ? order.filter((row) => mask[row]) : order;
    if (this.sorted.down) rows = rows.slice().reverse();
    this.rows = rows;
    this.active = Math.min(this.active, Math.max(rows.length - 1, 0));
    this.root.setAttribute("aria-rowcount", String(rows.length + 1));
    this.ask();
  }

  /** Pixels of all rows, and of the part of the page that stands for them: no element may be as tall as one likes. */
  get tall() {
    return this.rows.length * LINE;
  }

  get room() {
    return Math.max(this.root.clientHeight - LINE - 2, LINE);
  }

  draw() {
    this.asked = false;
    const stands = Math.min(this.tall, TALLEST);
    this.spacer.style.height = `${stands}px`;
    const { scrollTop } = this.root;
    const ratio = stands > this.room ? (this.tall - this.room) / (stands - this.room) : 1;
    const top = Math.min(scrollTop * ratio, Math.max(this.tall - this.room, 0));
    const first = Math.max(Math.floor(top / LINE) - 4, 0);
    const upto = Math.min(first + Math.ceil(this.room / LINE) + 9, this.rows.length);
    const lines = [];
    for (let at = first; at < upto; at++) lines.push(this.line(at));
    this.body.style.transform = `translateY(${scrollTop + first * LINE - top}px)`;
    this.body.replaceChildren(...lines);
    if (!this.rows.length) {
      this.body.replaceChildren(element("p", { class: "empty", textContent: "no range is as was asked" }));
    }
  }

  line(at) {
    const { data, selected } = this.app;
    const row = this.rows[at];
    const cells = COLUMNS.map((column, number) =>
      element("div", { role: "cell", class: `cell c${number}`, textContent: String(column.show(data, row)) }));
    const { letters } = data.facts.flags[data.flags[row]];
    const wx = letters.includes("w") && letters.includes("x") ? " wx" : "";
    const line = element("div", {
      class: `line${row === selected ? " selected" : ""}${at === this.active ? " active" : ""}${wx}`,
      role: "row", "aria-rowindex": String(at + 2), id: `line-${at}`,
    }, ...cells);
    line.dataset.at = String(at);
    line.dataset.row = String(row);
    return line;
  }

  pick(at) {
    this.active = at;
    if (at < this.rows.length) this.app.select(this.rows[at], { from: "table" });
  }

  key(event) {
    if (event.target !== this.root) return;
    const page = Math.floor(this.room / LINE);
    const moves = {
      ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -this.rows.length, End: this.rows.length,
    };
    if (event.key in moves) {
      this.active = Math.min(Math.max(this.active + moves[event.key], 0), Math.max(this.rows.length - 1, 0));
      this.scrollTo(this.active);
      this.draw();
      this.root.setAttribute("aria-activedescendant", `line-${this.active}`);
    } else if (event.key === "Enter") this.pick(this.active);
    else return;
    event.preventDefault();
  }

  /** Bring a place in the order into sight. */
  scrollTo(at) {
    const stands = Math.min(this.tall, TALLEST);
    const ratio = stands > this.room ? (this.tall - this.room) / (stands - this.room) : 1;
    const top = this.root.scrollTop * ratio;
    if (at * LINE >= top && (at + 1) * LINE <= top + this.room) return;
    const wanted = at * LINE < top ? at * LINE : (at + 1) * LINE - this.room;
    this.root.scrollTop = wanted / ratio;
  }

  /** Bring a range into sight, where the filter means it. */
  show(row) {
    const at = this.rows.indexOf(row);
    if (at >= 0) {
      this.active = at;
      this.scrollTo(at);
    }
    this.ask();
  }
}
