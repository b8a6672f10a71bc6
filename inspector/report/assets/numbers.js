// Numbers as people write and read them. An address is a double wherever it is a multiple of its page, which a double
// holds exactly, and a BigInt where someone has typed it.

const PAGE = 4096;
const UNITS = { k: 10n, m: 20n, g: 30n, t: 40n };
const TOP = 1n << 64n;

class Problem extends Error {}

function hex(value) {
  return "0x" + BigInt(value).toString(16);
}

function hex16(value) {
  return "0x" + BigInt(value).toString(16).padStart(16, "0");
}

/** 64 KiB as "64K"; what is no whole number of a unit has one digit behind the point. */
function sizeText(bytes) {
  let at = 0;
  while (at < 6 && bytes >= 1024) {
    bytes /= 1024;
    at += 1;
  }
  const shown = Number.isInteger(bytes) || bytes >= 100 ? Math.round(bytes).toString() : bytes.toFixed(1);
  return shown + ["", "K", "M", "G", "T", "P", "E"][at];
}

function counted(number, what) {
  return `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
}

/** The value of "0x10", "64K", "1_000": a BigInt. */
function parseNumber(text) {
  const plain = text.trim().replace(/_/g, "");
  const found = /^(0x[0-9a-f]+|0b[01]+|0o[0-7]+|\d+)([kmgt]?)$/i.exec(plain);
  if (!found) throw new Problem(`'${text.trim()}' is no number; write 0xc000…, 64 or 64K`);
  const value = BigInt(found[1].toLowerCase()) << (UNITS[found[2].toLowerCase()] ?? 0n);
  if (value >= TOP) throw new Problem(`'${text.trim()}' has more than 64 bits`);
  return value;
}

/** [first, one past the last] of "ADDR", "ADDR:LEN" or "ADDR..END", as BigInts. */
function parseSpan(text) {
  for (const separator of ["..", ":"]) {
    const at = text.indexOf(separator);
    if (at < 0) continue;
    const first = parseNumber(text.slice(0, at));
    const other = parseNumber(text.slice(at + separator.length));
    const end = separator === ".." ? other : first + other;
    if (end <= first) throw new Problem(`'${text}' is an empty range; END is past the last address`);
    return [first, end];
  }
  const first = parseNumber(text);
  return [first, first + 1n];
}

/** A span of any addresses as doubles, so that mappings (whole pages) touch the one where they touch the other. */
function widened([first, end]) {
  return [Number((first >> 12n) << 12n), Number(((end + 4095n) >> 12n) << 12n)];
}

/** The first place among rows from..upto where `holds` is true; it is false before and true after. */
function firstWhere(from, upto, holds) {
  while (from < upto) {
    const middle = (from + upto) >>> 1;
    if (holds(middle)) upto = middle;
    else from = middle + 1;
  }
  return from;
}

/** An element with text and children. Nothing in this page is ever parsed as HTML. */
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("aria-") || key === "role") made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}
