// What the page holds: facts (JSON) and columns (typed arrays), and what follows from them at once.

const ARRAYS = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, f64: Float64Array };

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at++) bytes[at] = raw.charCodeAt(at);
  return bytes;
}

async function inflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

async function readData() {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const packed = document.getElementById("columns");
  const buffer = await inflated(fromBase64(packed.textContent.trim()));
  packed.remove();
  const column = {};
  for (const [name, [kind, at, rows]] of Object.entries(facts.columns)) {
    column[name] = new ARRAYS[kind](buffer, at, rows);
  }
  return withDerived(facts, column);
}

function withDerived(facts, column) {
  const rows = column.offset.length;
  const bases = facts.processes.map((each) => Number(BigInt(each.base)));
  const pids = facts.processes.map((each) => each.pid);
  const lpids = facts.processes.map((each) => each.lpid);
  const shortNames = pids.map((pid, tree) => (pid === null ? `LPID ${lpids[tree]}` : `PID ${pid}`));
  const names = shortNames.map((name, tree) => (pids[tree] !== null && lpids[tree] ? `${name} of LPID ${lpids[tree]}` : name));
  // Whether it is of what a host has behind its guests, so that trees are known by LPIDs, and what they map is guest real.
  const behind = pids.length > 0 && pids.every((pid) => pid === null);
  const data = {
    facts, rows, bases, pids, lpids, names, shortNames, behind, gra: column.gra,
    words: behind ? { id: "LPID", ea: "guest real", trees: "Partitions" } : { id: "PID", ea: "EA", trees: "Processes" },
    root: column.root, offset: column.offset, ra: column.ra, count: column.count,
    shift: column.shift, flags: column.flags, inRam: column.in_ram,
    owner: {
      start: column.owner_start, end: column.owner_end, kind: column.owner_kind,
      root: column.owner_root, inRam: column.owner_in_ram,
    },
    size: new Float64Array(rows), region: new Uint8Array(rows),
    first: new Uint32Array(pids.length + 1),
    regions: facts.regions.map(([name, start, end]) => ({ name, start: Number(BigInt(start)), end: Number(BigInt(end)) })),
    spans: facts.ram.map(([start, end]) => ({ start: Number(BigInt(start)), end: Number(BigInt(end)) })),
  };
  const perTree = new Uint32Array(pids.length);
  let region = 0;
  for (let row = 0; row < rows; row++) {
    data.size[row] = data.count[row] * 2 ** data.shift[row];
    perTree[data.root[row]] += 1;
    const ea = bases[data.root[row]] + data.offset[row];
    const last = data.regions[region];
    if (!(last && ea >= last.start && ea < last.end)) {
      region = data.regions.findIndex((each) => ea >= each.start && ea < each.end);
      if (region < 0) region = data.regions.length;
    }
    // Guest real addresses are in no region of Linux's.
    data.region[row] = pids[data.root[row]] === null ? data.regions.length : region;
  }
  perTree.forEach((count, tree) => { data.first[tree + 1] = data.first[tree] + count; });
  return data;
}

const eaOf = (data, row) => data.bases[data.root[row]] + data.offset[row];
const regionOf = (data, row) => data.regions[data.region[row]]?.name ?? "";
const pagesText = (data, row) => `${data.count[row].toLocaleString("en")}\u00d7${sizeText(2 ** data.shift[row])}`;

/** The row of a tree that maps this offset, or -1. */
function rowAt(data, tree, offset) {
  const upto = data.first[tree + 1];
  const row = firstWhere(data.first[tree], upto, (each) => data.offset[each] + data.size[each] > offset);
  return row < upto && data.offset[row] <= offset ? row : -1;
}

/**
 * The row that maps an address (a BigInt), or -1: an effective one for a PID of an LPID, of which the kernel's are PID
 * 0's, or where ``pid`` is null a guest real one of that LPID.
 */
function rowOfEa(data, lpid, pid, ea) {
  const wanted = pid !== null && ea >> 62n === 3n ? 0 : pid;
  const tree = data.pids.findIndex((each, at) => each === wanted && data.lpids[at] === lpid);
  return tree < 0 ? -1 : rowAt(data, tree, Number((ea >> 12n) << 12n) - data.bases[tree]);
}

/** Every row that maps this real address. */
function rowsOfRa(data, ra) {
  const found = [];
  for (let row = 0; row < data.rows; row++) {
    if (data.ra[row] <= ra && ra < data.ra[row] + data.size[row]) found.push(row);
  }
  return found;
}
