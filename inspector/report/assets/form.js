// The conditions above the maps: what is written there, as a selection.

const EITHER = [["", "any"], ["1", "yes"], ["0", "no"]];

class Form {
  constructor(root, app) {
    this.app = app;
    this.root = root;
    this.fields = root.elements;
    const { data } = app;
    this.fields.ea.labels[0].firstChild.textContent = `${data.words.ea} `;
    this.fields.pid.labels[0].firstChild.textContent = `${data.words.id} `;
    const shifts = [...new Set(data.shift)].sort((one, other) => one - other);
    const used = new Set(data.flags);
    const attributes = data.facts.attributes.filter((name) =>
      data.facts.flags.some((each, at) => used.has(at) && each.attribute === name));
    this.fill("page", [["", "any"], ...shifts.map((shift) => [String(shift), sizeText(2 ** shift)])]);
    this.fill("region", [["", "any"], ...data.regions.map((each) => [each.name, each.name])]);
    this.fill("mode", [["", "any"], ["0", "user"], ["1", "privileged"]]);
    this.fill("attribute", [["", "any"], ...attributes.map((name) => [name, name])]);
    this.fill("referenced", EITHER);
    this.fill("changed", EITHER);
    this.fill("where", [["", "any"], ["1", "in RAM"], ["0", "not RAM"]]);
    root.addEventListener("input", () => this.app.filter());
    root.addEventListener("submit", (event) => event.preventDefault());
    root.addEventListener("reset", () => setTimeout(() => this.app.filter()));
  }

  fill(name, choices) {
    this.fields[name].replaceChildren(...choices.map(([value, textContent]) => element("option", { value, textContent })));
  }

  set(values) {
    this.root.reset();
    for (const [name, value] of Object.entries(values)) this.fields[name].value = value;
  }

  /** The conditions, as maskOf takes them. Throws Problem. */
  wanted() {
    const value = (name) => this.fields[name].value.trim();
    const either = (name) => (value(name) === "" ? null : value(name) === "1");
    const parts = (name) => value(name).split(/[\s,;]+/).filter(Boolean);
    const region = this.app.data.facts.regions.find(([name]) => name === value("region"));
    const rights = value("rights");
    if (rights) parseRights(rights);
    const ea = parts("ea").map(parseSpan);
    return {
      // A region and addresses are alternatives on the command line; here both must hold, as of every two fields.
      ea: region && ea.length ? ea.flatMap((span) => clipped(span, region)) : region ? [regionSpan(region)] : ea,
      none: Boolean(region && ea.length && !ea.some((span) => clipped(span, region).length)),
      ra: parts("ra").map(parseSpan),
      rights,
      pids: new Set(parts("pid").map((text) => Number(parseNumber(text)))),
      shifts: new Set(value("page") ? [Number(value("page"))] : []),
      attributes: new Set(value("attribute") ? [value("attribute")] : []),
      privileged: either("mode"),
      referenced: either("referenced"),
      changed: either("changed"),
      inRam: either("where"),
    };
  }

  /** Say what came of it. */
  told(meant, problem) {
    const { data } = this.app;
    const all = data.rows.toLocaleString("en");
    document.getElementById("wrong").textContent = problem;
    const pages = meant.leaves.toLocaleString("en");
    document.getElementById("count").textContent =
      meant.rows === data.rows
        ? `all ${all} ranges: ${sizeText(meant.bytes)} mapped by ${pages} leaves`
        : `${meant.rows.toLocaleString("en")} of ${all} ranges: ${sizeText(meant.bytes)} mapped by ${pages} leaves`;
  }
}

function regionSpan([, start, end]) {
  return [BigInt(start), BigInt(end)];
}

function clipped([first, end], region) {
  const [start, stop] = regionSpan(region);
  const [low, high] = [first > start ? first : start, end < stop ? end : stop];
  return low < high ? [[low, high]] : [];
}
