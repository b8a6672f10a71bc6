// All parts put together: what is chosen, what is filtered, and who is told of it.

class App {
  constructor(data) {
    this.data = data;
    this.mask = null;
    this.selected = -1;
    this.place = null;
    this.schemes = schemesOf(data);
    this.scheme = this.schemes.rights;
    const current = data.facts.registers.find((each) => each.chosen);
    const pid = current?.groups.flatMap(([, rows]) => rows).find(([name]) => name === "pid")?.[1];
    const mine = data.pids.indexOf(pid ? Number(pid) : -1);
    this.tree = mine >= 0 ? mine : 0;
    const of = (id) => document.getElementById(id);
    this.lanes = new Lanes(of("lanes"), this);
    this.space = new MapView(of("space"), new SpaceSource(this));
    this.ramSource = new RamSource(this);
    this.ram = new MapView(of("ram"), this.ramSource);
    this.table = new Table(of("table"), this);
    this.form = new Form(of("filter"), this);
    this.details = new Details(of("details"), this);
    this.process = of("process");
    this.chooser = of("scheme");
    this.process.replaceChildren(...data.pids.map((each, tree) =>
      element("option", { value: String(tree), textContent: data.names[tree] + (each === 0 ? " (kernel)" : "") })));
    this.process.addEventListener("change", () => this.chooseTree(Number(this.process.value)));
    this.chooser.replaceChildren(...Object.entries(this.schemes).map(([value, { name }]) =>
      element("option", { value, textContent: name })));
    this.chooser.addEventListener("change", () => this.colourBy(this.chooser.value));
    dark.addEventListener("change", () => this.recoloured());
    showHeader(data);
    showFindings(of("findings"), this);
    showRegisters(of("registers"), this);
    showAbout(of("about"), this);
    this.ramSource.listOutside(of("outside"));
    this.recoloured();
    this.filter();
    this.chooseTree(this.tree);
    this.ram.home();
  }

  // -- what is shown

  draw() {
    for (const part of [this.lanes, this.space, this.ram, this.table]) part.draw();
  }

  ask() {
    for (const part of [this.lanes, this.space, this.ram, this.table]) part.ask();
  }

  recoloured() {
    const paper = styled("--hole");
    showLegend(document.getElementById("space-legend"), this.scheme.classes, paper);
    showLegend(document.getElementById("ram-legend"), this.ramSource.kinds, paper);
    this.ask();
  }

  colourBy(name) {
    this.scheme = this.schemes[name];
    this.chooser.value = name;
    this.recoloured();
  }

  chooseTree(tree) {
    this.tree = tree;
    this.process.value = String(tree);
    this.lanes.show(tree);
    this.space.home();
    this.lanes.ask();
  }

  /** Look at an address space: the map of it comes into sight. */
  lookAt(tree) {
    this.chooseTree(tree);
    document.getElementById("space-section").scrollIntoView({ block: "start" });
  }

  // -- what is meant

  /** Take up the conditions; what is wrong with them is told, and leaves all as it was. */
  filter() {
    let wanted;
    try {
      wanted = this.form.wanted();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.form.told(this.meant, problem.message);
      return;
    }
    this.mask = wanted.none ? new Uint8Array(this.data.rows) : maskOf(this.data, wanted);
    this.meant = { rows: 0, bytes: 0, leaves: 0 };
    for (let row = 0; row < this.data.rows; row++) {
      if (this.mask && !this.mask[row]) continue;
      this.meant.rows += 1;
      this.meant.bytes += this.data.size[row];
      this.meant.leaves += this.data.count[row];
    }
    this.form.told(this.meant, "");
    this.table.refresh();
    this.ask();
  }

  // -- what is chosen

  /** Choose a range: everything that shows it marks it, and what it is not chosen in goes to it. */
  select(row, { offset, from } = {}) {
    this.selected = row;
    this.place = null;
    const start = offset ?? this.data.offset[row];
    if (from !== "table") this.table.show(row);
    if (from !== "space") this.goTo(row, start);
    this.showPlace(this.data.ra[row] + (start - this.data.offset[row]));
    this.details.range(row, offset);
    this.ask();
  }

  /** Bring an offset of a range's tree into the map of address spaces, so close that the range can be seen. */
  goTo(row, offset) {
    const tree = this.data.root[row];
    if (tree !== this.tree) this.chooseTree(tree);
    const shown = this.space.window;
    if (this.data.size[row] / shown.perRow < 1 / 128 || offset < shown.start || offset >= shown.end) {
      const around = this.lanes.neighbourhood(tree, offset);
      if (around) this.space.fit(around.start, around.end);
      while (this.data.size[row] / shown.perRow < 1 / 128 && shown.perRow > shown.least) shown.zoom(0.5, offset);
      shown.show(offset);
    }
    this.lanes.ask();
  }

  showPlace(ra) {
    const place = this.ramSource.placeOf(ra);
    if (place >= 0) this.ram.window.show(place);
  }

  /** Choose a place in real memory. */
  selectPlace(ra) {
    this.selected = -1;
    this.place = ra;
    this.details.place(ra);
    this.ask();
  }

  selectNothing() {
    this.selected = -1;
    this.place = null;
    this.details.hide();
    this.ask();
  }

  /** From anywhere to a range in its address space. */
  jump(row, offset) {
    this.select(row, { offset, from: "jump" });
    document.getElementById("space-section").scrollIntoView({ block: "start" });
  }

  /** From anywhere to a place in RAM, so close that a page can be seen. */
  jumpToRam(ra) {
    const place = this.ramSource.placeOf(ra);
    if (place >= 0) {
      this.ram.window.show(place);
      while (this.ram.window.perRow > 2 ** 22) this.ram.window.zoom(0.5, place);
      this.ram.window.show(place);
      document.getElementById("ram-section").scrollIntoView({ block: "start" });
    }
    this.selectPlace(ra);
  }
}

/** What scripts in the page's console, and tests, may ask. */
function handleFor(app) {
  return Object.freeze({
    rows: app.data.rows,
    matching: () => Array.from(app.table.rows).sort((one, other) => one - other),
    filter: (values) => { app.form.set(values); app.filter(); },
    sort: (column) => app.table.sort(COLUMNS.findIndex((each) => each.name === column)),
    select: (row) => app.select(row),
    selected: () => app.selected,
    place: () => (app.place === null ? null : hex(app.place)),
    pid: () => app.data.pids[app.tree],
    window: (name) => ({ start: app[name].window.start, perRow: app[name].window.perRow, rows: app[name].window.rows }),
    pointOf: (name, place) => app[name].pointOf(place),
    draw: () => app.draw(),
  });
}

async function start() {
  try {
    const began = performance.now();
    const app = new App(await readData());
    app.draw();
    window.report = handleFor(app);
    document.documentElement.dataset.ready = String(Math.round(performance.now() - began));
  } catch (problem) {
    const told = document.getElementById("failed");
    told.textContent = `This page cannot be shown: ${problem.message}. It needs a browser of 2023 or later.`;
    told.hidden = false;
    throw problem;
  }
}

start();
