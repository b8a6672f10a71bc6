// What colours mean. Hues are those of Okabe and Ito, which people with any colour vision tell apart, and what matters
// most has a pattern besides. Where several things share a pixel, the one further down in the legend is shown.

const dark = matchMedia("(prefers-color-scheme: dark)");

const RIGHTS = [
  { label: "no access", colour: "#8c919a" },
  { label: "r--", colour: "#56b4e9" },
  { label: "r-x", colour: "#009e73" },
  { label: "--x", colour: "#cc79a7" },
  { label: "rw-", colour: "#e69f00" },
  { label: "rwx: writable and executable", colour: "#e5340b", second: "#ffffff", pattern: "stripes" },
];
const SHIFTS = [12, 16, 21, 30, 39];
const SIZES = ["#6a4fb3", "#2a788e", "#22a884", "#7ad151", "#e8cf1b"];
const ATTRIBUTES = {
  normal: { colour: "#7aa6c2" },
  sao: { colour: "#009e73" },
  "non-idempotent": { colour: "#d55e00", second: "#ffffff", pattern: "stripes" },
  tolerant: { colour: "#cc79a7", second: "#000000", pattern: "dots" },
};
const MARKS = [
  { label: "neither referenced nor changed", colour: "#8c919a" },
  { label: "referenced", colour: "#56b4e9" },
  { label: "changed alone", colour: "#cc79a7" },
  { label: "referenced and changed", colour: "#e69f00" },
];
const PROCESSES = ["#e69f00", "#0072b2", "#009e73", "#d9c81e", "#cc79a7", "#7b5fc4"];
const OWNERS = {
  0: { colour: "#d5d8dc", darkColour: "#2c3138" },
  1: { colour: "#a9b6c4", darkColour: "#55616e" },
  2: { colour: "#56b4e9" },
  4: { colour: "#d55e00", second: "#ffffff", pattern: "bars" },
  5: { colour: "#1b1b1b", second: "#ffffff", pattern: "dots", darkColour: "#f4f4f4", darkSecond: "#000000" },
  6: { colour: "#1b1b1b", second: "#f0e442", pattern: "stripes", darkColour: "#f4f4f4", darkSecond: "#a07800" },
};

/** By what may be done, as the filter asks: guarded I/O is never executed, whatever its entry says. */
function rightsClass({ letters }) {
  const [read, write, execute] = ["r", "w", "x"].map((letter) => letters.includes(letter));
  if (write) return execute ? 6 : 5;
  if (execute) return read ? 3 : 4;
  return read ? 2 : 1;
}

/** How ranges may be coloured: classes from 1 on, and the class of a row. */
function schemesOf(data) {
  const flags = data.facts.flags;
  const byFlags = (of) => {
    const classes = Uint8Array.from(flags, of);
    return (row) => classes[data.flags[row]];
  };
  const shiftClass = new Uint8Array(64);
  SHIFTS.forEach((shift, at) => { shiftClass[shift] = at + 1; });
  const names = data.facts.attributes;
  return {
    rights: { name: "by rights", classes: RIGHTS, of: byFlags(rightsClass) },
    page: {
      name: "by page size",
      classes: SHIFTS.map((shift, at) => ({ label: sizeText(2 ** shift), colour: SIZES[at] })),
      of: (row) => shiftClass[data.shift[row]],
    },
    attribute: {
      name: "by attribute",
      classes: names.map((name) => ({ label: name, ...ATTRIBUTES[name] })),
      of: byFlags((each) => names.indexOf(each.attribute) + 1),
    },
    marks: {
      name: "by reference and change",
      classes: MARKS,
      of: byFlags((each) => 1 + Number(each.letters.includes("R")) + 2 * Number(each.letters.includes("C"))),
    },
  };
}

/** Owners of RAM as classes, weaker claims first, processes taking turns with six colours. */
function ownerClasses(data) {
  const name = data.facts.owners;
  const several = data.names.filter((_, tree) => data.pids[tree] !== 0);
  const own = PROCESSES.map((colour, turn) => {
    const mine = several.filter((_, at) => at % PROCESSES.length === turn);
    const listed = mine.slice(0, 3).join(", ") + (mine.length > 3 ? ", \u2026" : "");
    return { label: listed, colour, names: mine };
  });
  const before = [0, 1, 2].map((kind) => ({ label: name[kind], ...OWNERS[kind] }));
  const after = [4, 5, 6].map((kind) => ({ label: name[kind], ...OWNERS[kind] }));
  return [...before, ...own, ...after];
}

/** The class of a stretch of real memory. */
function ownerClassOf(data) {
  const turnOf = new Map();
  data.pids.forEach((pid, tree) => { if (pid !== 0) turnOf.set(tree, turnOf.size % PROCESSES.length); });
  return (stretch) => {
    const kind = data.owner.kind[stretch];
    if (kind < 3) return kind + 1;
    return kind === 3 ? 4 + turnOf.get(data.owner.root[stretch]) : kind + PROCESSES.length;
  };
}

function rgb(colour) {
  const value = parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** A pixel as a canvas keeps it on little-endian machines, which all that run browsers are. */
function pixel([red, green, blue]) {
  return (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
}

function mixed(one, other, part) {
  return one.map((value, at) => Math.round(value * part + other[at] * (1 - part)));
}

/** Pixels of each class as first and second colour of its pattern, bright where it is meant and faint where not. */
function paletteOf(classes, background) {
  const paper = rgb(background);
  const palette = { first: new Uint32Array(128), second: new Uint32Array(128), pattern: new Array(128).fill("") };
  for (const cell of [0, MEANT]) palette.first[cell] = palette.second[cell] = pixel(paper);
  classes.forEach((each, at) => {
    const first = rgb((dark.matches && each.darkColour) || each.colour);
    const second = each.second ? rgb((dark.matches && each.darkSecond) || each.second) : first;
    for (const [cell, part] of [[at + 1, 0.16], [MEANT | (at + 1), 1]]) {
      palette.first[cell] = pixel(mixed(first, paper, part));
      palette.second[cell] = pixel(mixed(second, paper, part));
      palette.pattern[cell] = each.second ? each.pattern : "";
    }
  });
  return palette;
}

/** A legend: a swatch and words for each class that there is. */
function showLegend(root, classes, background) {
  const ratio = Math.max(devicePixelRatio || 1, 1);
  const palette = paletteOf(classes, background);
  const items = classes.map((each, at) => {
    if (each.names && !each.names.length) return null;
    const canvas = element("canvas", { width: 24 * ratio, height: 13 * ratio, "aria-hidden": "true" });
    const cells = new Uint8Array(canvas.width).fill(MEANT | (at + 1));
    drawCells(canvas.getContext("2d"), cells, canvas.width, 1, 0, canvas.height, 0, palette);
    const title = each.names ? each.names.slice(0, 40).join(", ") : "";
    return element("span", { class: "swatch", title }, canvas, each.label);
  });
  root.replaceChildren(...items.filter(Boolean));
}
