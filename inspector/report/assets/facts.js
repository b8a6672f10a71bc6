// What is told besides the maps: findings, registers, and where all this comes from.

const SEVERITIES = ["error", "warning", "note", "info"];
const FIRST_FINDINGS = 100;

function showHeader(data) {
  const { facts } = data;
  document.getElementById("title").textContent = `Page tables of ${facts.target}`;
  const ram = data.spans.reduce((sum, each) => sum + each.end - each.start, 0);
  const recorded = facts.machine.find(([name]) => name === "recorded_at");
  const when = recorded ? `recorded ${recorded[1]}, page made ${facts.made}` : `as of ${facts.made}`;
  document.getElementById("subtitle").textContent =
    `${when}; ${sizeText(ram)} of RAM, ${counted(data.pids.length, "address space")}, ${counted(data.rows, "range")}, ` +
    `${counted(facts.found, "finding")}`;
  document.getElementById("notes").replaceChildren(...facts.notes.map((text) => element("li", { textContent: text })));
}

function tableOf(heads, rows) {
  const head = element("tr", {}, ...heads.map((textContent) => element("th", { textContent, scope: "col" })));
  return element("div", { class: "scroll" },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
}

function rowOfCells(cells) {
  return element("tr", {}, ...cells.map((each) => (each instanceof Node ? element("td", {}, each) : element("td", { textContent: each ?? "" }))));
}

/** A button that leads to an effective address, or where there is no PID a guest real one, where it is mapped, or else its text. */
function toEa(app, lpid, pid, text, shown = text) {
  if (text === null || text === undefined) return "";
  const row = rowOfEa(app.data, lpid, pid, BigInt(text));
  if (row < 0) return shown;
  const button = element("button", { type: "button", class: "link", textContent: shown });
  button.addEventListener("click", () => {
    const offset = Number((BigInt(text) >> 12n) << 12n) - app.data.bases[app.data.root[row]];
    app.jump(row, pageStart(app.data, row, offset));
  });
  return button;
}

function toRa(app, text) {
  if (text === null || text === undefined) return "";
  const button = element("button", { type: "button", class: "link", textContent: text });
  button.addEventListener("click", () => app.jumpToRam(Number((BigInt(text) >> 8n) << 8n)));
  return button;
}

function showFindings(root, app) {
  const { findings } = app.data.facts;
  if (!findings.length) {
    const { rules } = app.data.facts;
    root.replaceChildren(element("p", { textContent: rules ? `none, by ${counted(rules, "rule")}` : "no audit was made" }));
    return;
  }
  const rank = (each) => (SEVERITIES.indexOf(each.severity) + SEVERITIES.length + 1) % (SEVERITIES.length + 1);
  const sorted = findings.map((each, at) => [rank(each), at, each]).sort((one, other) => one[0] - other[0] || one[1] - other[1]);
  const said = (each) => element("span", {}, each.explanation,
    each.meaning ? element("span", { class: "meaning", textContent: `${each.entry}: ${each.meaning}` }) : "");
  const summary = Object.entries(app.data.facts.severities).filter(([, count]) => count)
    .map(([severity, count]) => `${severity}: ${count.toLocaleString("en")}`).join(", ");
  const lines = (upto) => sorted.slice(0, upto).map(([, , each]) => rowOfCells([
    element("span", { class: `severity ${SEVERITIES.includes(each.severity) ? each.severity : "info"}`, textContent: each.severity }),
    each.rule, said(each), each.pid !== null ? String(each.pid) : each.lpid ? `LPID ${each.lpid}` : "",
    toEa(app, each.lpid, each.pid, each.ea), toRa(app, each.ra), toRa(app, each.entry_address),
  ]));
  const heads = ["severity", "rule", "what", app.data.words.id, app.data.words.ea, "real address", "entry at"];
  const show = (upto) => {
    const parts = [element("p", { textContent: summary }), tableOf(heads, lines(upto))];
    if (upto < findings.length) {
      const more = element("button", { type: "button", textContent: `show all ${findings.length.toLocaleString("en")}` });
      more.addEventListener("click", () => show(findings.length));
      parts.push(more);
    }
    root.replaceChildren(...parts);
  };
  show(FIRST_FINDINGS);
}

function showRegisters(root, app) {
  const { registers } = app.data.facts;
  if (!registers.length) {
    root.replaceChildren(element("p", { textContent: "not known" }));
    return;
  }
  root.replaceChildren(...registers.map(({ cpu, chosen, groups }) => {
    const all = groups.flatMap(([, rows]) => rows);
    const named = (wanted) => BigInt(all.find(([name]) => name === wanted)?.[1] ?? 0);
    const pid = Number(named("pid"));
    const hypervisor = named("msr") >> 60n & 1n; // MSR[HV]: quadrants 0 and 3 are then the host's own, whatever LPIDR is
    const lpid = hypervisor ? 0 : Number(named("lpidr"));
    const parts = groups.map(([head, rows]) => element("div", { class: "group" },
      element("h4", { textContent: head }),
      element("dl", { class: "registers" }, ...rows.map(([name, value, meaning]) => element("div", { title: meaning ?? "" },
        element("dt", { textContent: name }),
        element("dd", {}, value === null ? "not known" : toEa(app, lpid, pid, value, value.slice(2)),
          meaning ? element("span", { class: "meaning", textContent: meaning }) : ""))))));
    return element("details", { open: chosen }, element("summary", { textContent: `vCPU ${cpu}` }), ...parts);
  }));
}

function showAbout(root, app) {
  const { facts } = app.data;
  const { roots } = facts;
  const told = [
    ["target", `${facts.target} (${facts.state})`],
    ["read through", facts.source],
    ["page made", facts.made],
    ["roots", roots.explanation],
    ["found by", `${roots.how}; ${roots.sure}`],
    ["registered process table", roots.process_table],
    ["PTCR", roots.ptcr],
    ["process table", `${facts.process_table[0]}, ${sizeText(facts.process_table[1])}`],
    ...facts.machine.map(([name, value]) => [name.replaceAll("_", " "), value]),
    ...roots.tried.map(([way, outcome]) => [`tried: ${way}`, outcome]),
  ].filter(([, value]) => value !== null && value !== "");
  const list = element("dl", { class: "facts wide" }, ...told.map(([name, value]) =>
    element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value }))));
  const ram = facts.ram_names.map(([start, end, name]) =>
    rowOfCells([start, end, sizeText(Number(BigInt(end) - BigInt(start))), name]));
  const processes = facts.processes.slice(0, 2000).map((each, tree) => {
    const { data } = app;
    let bytes = 0;
    for (let row = data.first[tree]; row < data.first[tree + 1]; row++) bytes += data.size[row];
    const button = element("button", { type: "button", class: "link", textContent: data.names[tree] });
    button.addEventListener("click", () => app.lookAt(tree));
    const ranges = (data.first[tree + 1] - data.first[tree]).toLocaleString("en");
    return rowOfCells([button, ranges, sizeText(bytes), toRa(app, each.address), each.entry, toRa(app, each.root)]);
  });
  root.replaceChildren(
    list,
    element("h3", { textContent: app.data.words.trees }),
    tableOf(["of", "ranges", "mapped", "entry at", "entry", "root table"], processes),
    element("h3", { textContent: "RAM" }),
    tableOf(["from", "up to", "size", "name"], ram),
  );
}
