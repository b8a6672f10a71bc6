// What is at the place that was chosen: the range, and everything else that maps the same memory.

const SHOWN_MAPPERS = 60;

class Details {
  constructor(root, app) {
    this.app = app;
    this.root = root;
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !root.hidden) app.selectNothing();
    });
  }

  hide() {
    this.root.hidden = true;
    this.root.replaceChildren();
  }

  /** A range, or one page of it where an offset is given. */
  range(row, offset) {
    const { data } = this.app;
    const tree = data.root[row];
    const start = offset ?? data.offset[row];
    const ra = data.ra[row] + (start - data.offset[row]);
    const flags = data.facts.flags[data.flags[row]];
    const ea = eaOf(data, row);
    const pid = data.pids[tree];
    const facts = [
      [data.behind ? "guest real" : "address", hex16(data.bases[tree] + start)],
      ...(data.gra ? [["guest real", hex(data.gra[row] + (start - data.offset[row]))]] : []),
      ["real address", hex(ra) + (data.inRam[row] ? "" : ", not RAM")],
      ["range", `${hex(ea)} \u2013 ${hex(ea + data.size[row])}, ${sizeText(data.size[row])}`],
      ["to", `${hex(data.ra[row])} \u2013 ${hex(data.ra[row] + data.size[row])}`],
      ["pages", pagesText(data, row)],
      ["rights", `${flags.shown}, ${flags.attribute}`],
      ["flags", flags.raw + (flags.unknown ? `, unknown bits ${flags.unknown}` : "")],
      ["of", data.names[tree] + (pid === 0 ? ", the kernel" : "")],
      ["region", regionOf(data, row) || "none of Linux's"],
    ];
    const inRam = this.app.ramSource.placeOf(ra) >= 0;
    const actions = [
      this.button("show in address space", () => this.app.jump(row, start)),
      inRam ? this.button("show in RAM", () => this.app.jumpToRam(ra)) : null,
    ];
    const others = rowsOfRa(data, ra).filter((other) => other !== row);
    this.show(facts, actions, `Mapped there too: ${others.length || "nothing"}`, others, ra);
  }

  /** A place in real memory. */
  place(ra) {
    const { data, ramSource } = this.app;
    const stretch = ramSource.stretchAt(ra);
    const facts = [["real address", hex(ra)], ["owner", ramSource.ownerText(stretch)]];
    if (stretch >= 0) {
      const [start, end] = [data.owner.start[stretch], data.owner.end[stretch]];
      facts.push(["stretch", `${hex(start)} \u2013 ${hex(end)}, ${sizeText(end - start)}`]);
    }
    facts.push(["is", ramSource.placeOf(ra) >= 0 ? "RAM" : "no RAM"]);
    const rows = rowsOfRa(data, ra);
    this.show(facts, [], rows.length ? `Mapped by ${counted(rows.length, "range")}` : "Nothing maps it", rows, ra);
  }

  button(textContent, run) {
    const made = element("button", { type: "button", textContent });
    made.addEventListener("click", run);
    return made;
  }

  show(facts, actions, head, rows, ra) {
    const { data } = this.app;
    const list = element("dl", { class: "facts" }, ...facts.map(([name, value]) =>
      element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value }))));
    const items = rows.slice(0, SHOWN_MAPPERS).map((row) => {
      const offset = data.offset[row] + (ra - data.ra[row]);
      const page = pageStart(data, row, offset);
      // The very address that reaches this place, which need not be a page's: more than a double holds.
      const reaching = hex16(BigInt(data.bases[data.root[row]]) + BigInt(offset));
      const flags = data.facts.flags[data.flags[row]];
      const button = element("button", { type: "button", class: "link", textContent: reaching });
      button.dataset.row = String(row);
      button.addEventListener("click", () => this.app.jump(row, page));
      return element("li", {}, button, ` ${data.names[data.root[row]]}, ${flags.shown}, ${regionOf(data, row)}`);
    });
    if (rows.length > items.length) items.push(element("li", { textContent: counted(rows.length - items.length, "more") }));
    const close = this.button("\u00d7", () => this.app.selectNothing());
    close.className = "close";
    close.setAttribute("aria-label", "close");
    this.root.replaceChildren(
      close,
      element("div", { class: "what" }, list, element("div", { class: "actions" }, ...actions.filter(Boolean))),
      element("div", { class: "mappers" }, element("h3", { textContent: head }), element("ul", {}, ...items)),
    );
    this.root.hidden = false;
  }
}
