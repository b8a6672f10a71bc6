// Which ranges are meant: the same conditions that 'maps' takes, all of which must hold.

/**
 * Conditions: ea and ra are spans (BigInts), shifts, attributes, pids sets, rights text; privileged, referenced,
 * changed and inRam true, false or null. What is empty or null asks nothing. A mask of rows, or null for all.
 */
function maskOf(data, wanted) {
  const flags = flagsMeant(data, wanted);
  const eas = wanted.ea.map(widened);
  const ras = wanted.ra.map(widened);
  const trees = wanted.pids.size ? data.pids.map((pid, tree) => wanted.pids.has(pid ?? data.lpids[tree])) : null;
  const inRam = wanted.inRam === null ? null : Number(wanted.inRam);
  if (!(flags || eas.length || ras.length || trees || wanted.shifts.size || inRam !== null)) return null;
  const mask = new Uint8Array(data.rows);
  for (let row = 0; row < data.rows; row++) {
    if (flags && !flags[data.flags[row]]) continue;
    if (trees && !trees[data.root[row]]) continue;
    if (inRam !== null && data.inRam[row] !== inRam) continue;
    if (wanted.shifts.size && !wanted.shifts.has(data.shift[row])) continue;
    if (eas.length && !touches(eas, data.bases[data.root[row]] + data.offset[row], data.size[row])) continue;
    if (ras.length && !touches(ras, data.ra[row], data.size[row])) continue;
    mask[row] = 1;
  }
  return mask;
}

function touches(spans, start, size) {
  for (const [first, end] of spans) if (start < end && start + size > first) return true;
  return false;
}

/** Which values of the flags are meant: there are few of them, however many ranges there are. Null for all. */
function flagsMeant(data, wanted) {
  const letters = [["p", wanted.privileged], ["R", wanted.referenced], ["C", wanted.changed]];
  const asked = letters.filter(([, value]) => value !== null);
  if (!wanted.rights && !wanted.attributes.size && !asked.length) return null;
  const question = wanted.rights ? parseRights(wanted.rights) : () => true;
  return data.facts.flags.map((each) =>
    question(each.letters) &&
    (!wanted.attributes.size || wanted.attributes.has(each.attribute)) &&
    asked.every(([letter, value]) => each.letters.includes(letter) === value));
}
