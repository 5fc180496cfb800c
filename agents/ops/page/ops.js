// The page /ops: asks /ops.json again and again, draws what it says. No library, no build.
const EVERY_MS = 2000, TICKS_S = { 120: 30, 300: 60, 600: 120 }, SPANS_S = Object.keys(TICKS_S).map(Number), NONE = "–", NAMES = { kafka: "Kafka", redis: "Redis", postgres: "Postgres" };
const $ = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 }), tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

const known = (value) => value !== null && value !== undefined;
const count = (value) => (known(value) ? (Math.abs(value) < 9.95 ? tenth : whole).format(value) : NONE);
const share = (value) => (known(value) ? `${whole.format(100 * value)} %` : NONE);
const size = (value) => (!known(value) ? NONE : value >= 999.5e6 ? `${tenth.format(value / 1e9)} GB` : `${whole.format(value / 1e6)} MB`);
const clock = (at, withSeconds = true) => new Date(at).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", ...(withSeconds ? { second: "2-digit" } : {}) });

function seconds(value) {
  if (!known(value)) return NONE;
  if (value < 0.9995) return `${(value < 0.00995 ? tenth : whole).format(value * 1000)} ms`;
  if (value < 99.5) return `${(value < 9.95 ? tenth : whole).format(value)} s`;
  return value < 5970 ? `${whole.format(value / 60)} min` : `${whole.format(value / 3600)} h`;
}

// Series by name of a point, first the one that counts. `least` keeps noise from filling a chart.
const CHARTS = {
  rate: { series: [["decided", "decided"], ["arriving", "arriving"]], format: count, unit: "/s", least: 10, more: outcomes },
  lag: { series: [["lag", "orders"]], format: count, unit: "", least: 10, fill: true, more: (now) => waiting(now) },
  latency: { series: [["p50_s", "p50"], ["p99_s", "p99"]], format: seconds, unit: "", least: 0.01, more: () => "" },
};

let points = [], now = null, cursor = null, answered = null, failing = false;

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (known(text)) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function filled(made, ...children) {
  made.append(...children);
  return made;
}

function drawn(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (known(text)) made.textContent = text;
  return made;
}

function outcomes({ flow }) {
  const parts = [["accepted", flow.accepted], ["rejected", flow.rejected], ["repeated", flow.repeated], ["not readable", flow.dead]];
  return parts.filter(([, value]) => value).map(([name, value]) => `${count(value)} ${name}`).join(" · ");
}

function waiting({ lags, has_exporter }) {
  const lag = lags.find((one) => one.role === "intake");
  if (!lag) return has_exporter ? "Kafka does not tell." : "not known without the exporter";
  if (!lag.records) return "nothing waits";
  const gone = known(lag.drain_s) ? `, gone in ${seconds(lag.drain_s)} at this rate` : "";
  return `the oldest has waited ${seconds(lag.oldest_s)}${gone}`;
}

// As long as there is something to show, ten minutes at most.
const span = (end) => SPANS_S.find((one) => !points.length || end - Date.parse(points[0].at) <= 1000 * one) || SPANS_S.at(-1);

// A round number not below this one: 1, 2 or 5 times a power of ten.
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((one) => one * power >= value * 0.9999);
}

function drawChart(section, chart) {
  const end = Date.parse(now.at), span_s = span(end), start = end - 1000 * span_s, at = cursor === null ? null : nearest(cursor);
  const told = at || points.at(-1) || {};
  const figures = element("div", undefined, "figures");
  for (const [name, label] of chart.series) {
    const [number, unit] = `${chart.format(told[name])}${chart.unit && known(told[name]) ? ` ${chart.unit}` : ""}`.split(" ");
    const figure = filled(element("div", undefined, "figure"), element("span", label, "name"), element("b", number));
    if (unit) figure.append(element("span", unit));
    figures.append(figure);
  }
  const more = element("p", at ? `at ${clock(at.at)}` : chart.more(now), "more");
  const width = Math.max(200, Math.floor(section.querySelector("h2").clientWidth)), height = 160, left = 46, bottom = height - 20;
  const top = round(Math.max(chart.least, ...points.flatMap((p) => chart.series.map(([name]) => p[name] || 0))));
  const x = (when) => left + ((width - left) * (when - start)) / (end - start), y = (value) => bottom - ((bottom - 8) * value) / top;
  const label = `${section.querySelector("h2").textContent}, last ${span_s / 60} minutes; now ${chart.series.map(([name, word]) => `${word} ${chart.format((points.at(-1) || {})[name])}`).join(", ")}`;
  const svg = drawn("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const part of [0, 0.5, 1]) {
    svg.append(drawn("line", { x1: left, x2: width, y1: y(part * top), y2: y(part * top), class: part ? "grid" : "grid axis" }));
    svg.append(drawn("text", { x: left - 8, y: y(part * top) + 4, "text-anchor": "end" }, part ? chart.format(part * top) : "0"));
  }
  for (let before_s = 0; before_s < span_s; before_s += TICKS_S[span_s]) {
    const told = before_s % 60 ? `${before_s} s` : `${before_s / 60} min`;
    svg.append(drawn("text", { x: x(end - 1000 * before_s), y: height - 4, "text-anchor": before_s ? "middle" : "end" }, before_s ? `−${told}` : "now"));
  }
  for (const [i, [name]] of [...chart.series.entries()].reverse()) {
    const lines = runs(name, start);
    if (chart.fill) for (const line of lines) svg.append(drawn("path", { class: "fill", d: `${path(line, name, x, y)}L${x(Date.parse(line.at(-1).at))},${bottom}L${x(Date.parse(line[0].at))},${bottom}Z` }));
    svg.append(drawn("path", { class: i ? "second" : "first", d: lines.map((line) => path(line, name, x, y)).join("") }));
  }
  if (at) svg.append(drawn("line", { class: "cursor", x1: x(Date.parse(at.at)), x2: x(Date.parse(at.at)), y1: 0, y2: bottom }));
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), share = (((event.clientX - box.left) / box.width) * width - left) / (width - left);
    cursor = share >= 0 && share <= 1 ? start + share * (end - start) : null;
    drawCharts();
  });
  svg.addEventListener("pointerleave", () => { cursor = null; drawCharts(); });
  section.replaceChildren(section.querySelector("h2"), figures, more, svg);
}

const path = (line, name, x, y) => line.map((p, i) => `${i ? "L" : "M"}${x(Date.parse(p.at)).toFixed(1)},${y(p[name]).toFixed(1)}`).join("");

// A series in pieces: where nothing was known for a while, there is no line.
function runs(name, start) {
  const found = [];
  let before = null;
  for (const point of points) {
    if (!known(point[name]) || Date.parse(point.at) < start) continue;
    if (before === null || Date.parse(point.at) - before > 15000) found.push([]);
    found.at(-1).push(point);
    before = Date.parse(point.at);
  }
  return found;
}

const nearest = (when) => points.reduce((best, p) => (!best || Math.abs(Date.parse(p.at) - when) < Math.abs(Date.parse(best.at) - when) ? p : best), null);

function drawCharts() {
  for (const section of document.querySelectorAll("[data-chart]")) drawChart(section, CHARTS[section.dataset.chart]);
}

// Columns as [title, of a row, class]; what a row gives is text, or an element.
function drawTable(id, columns, rows, none) {
  const head = filled(element("tr"), ...columns.map(([title, , kind]) => {
    const cell = title ? element("th", title, kind) : element("td", null, kind);
    if (title) cell.scope = "col";
    return cell;
  }));
  const body = rows.map((row) => filled(element("tr"), ...columns.map(([, of, kind], i) => {
    const cell = element(i ? "td" : "th", undefined, kind);
    if (!i) cell.scope = "row";
    cell.append(of(row));
    return cell;
  })));
  if (!rows.length) {
    const cell = element("td", none, "none");
    cell.colSpan = columns.length;
    body.push(filled(element("tr"), cell));
  }
  $(id).replaceChildren($(id).caption, ...(rows.length ? [filled(element("thead"), head)] : []), filled(element("tbody"), ...body));
}

function states(breakers) {
  const made = element("span");
  for (const [state, kind] of [["closed", ""], ["half_open", "look-text"], ["open", "bad-text"]]) {
    if (!breakers[state]) continue;
    if (made.childNodes.length) made.append(", ");
    made.append(element("span", `${breakers[state]} ${state.replace("_", " ")}`, kind));
  }
  return made.childNodes.length ? made : NONE;
}

function broken(worker) {
  const open = Object.entries(worker.breakers);
  if (!open.length) return element("small", "closed");
  return element("span", open.map(([name, state]) => `${NAMES[name]} ${state.replace("_", " ")}`).join(", "), open.some(([, state]) => state === "open") ? "bad-text" : "look-text");
}

function meter(pool) {
  const of = pool.free + pool.held + pool.sold, made = element("span", undefined, "meter"), part = element("i");
  part.style.width = `${of ? (100 * pool.free) / of : 0}%`;
  made.setAttribute("aria-hidden", "true");
  return filled(made, part);
}

function drawTables() {
  const without = now.has_exporter ? "" : "not known without the exporter";
  drawTable("workers", [
    ["process", (w) => `${w.role} ${w.url.replace(/^https?:\/\/(127\.0\.0\.1)?/, "")}`], ["partitions", (w) => count(w.partitions), "spare"],
    ["records/s", (w) => count(w.per_s)], ["in flight", (w) => count(w.in_flight)], ["CPU", (w) => share(w.cpu_ratio), "spare"],
    ["memory", (w) => size(w.memory_bytes), "spare"], ["committed", (w) => (known(w.commit_age_s) ? `${seconds(w.commit_age_s)} ago` : NONE), "spare"], ["breakers", broken, "long"],
  ], now.workers, "None is to be seen.");
  drawTable("stores", [
    ["store", (s) => NAMES[s.name]], ["answers in", (s) => (s.is_up === false ? element("span", "does not answer", "bad-text") : seconds(s.probe_s))],
    ["breakers", (s) => states(s.breakers), "long"],
  ], now.stores, without);
  drawTable("pools", [
    ["pool", (p) => p.name], ["free", (p) => count(p.free)], ["held", (p) => count(p.held)], ["sold", (p) => count(p.sold)], ["SKUs", (p) => count(p.skus), "spare"],
    ["low", (p) => count(p.low), "spare"], ["out", (p) => count(p.out)], ["", meter, "spare"],
  ], now.pools, without || (now.stores.find((s) => s.name === "redis").is_up ? "No stock yet." : "Not known while Redis does not answer."));
  drawTable("stages", [["stage", (s) => s.name], ["mean", (s) => seconds(s.mean_s)], ["p99", (s) => seconds(s.p99_s)]], now.stages, "");
  drawAside();
}

function drawAside() {
  const { aside } = now;
  const books = !known(aside.books_differences) ? NONE : aside.books_differences ? `differ in ${count(aside.books_differences)} places` : "agree";
  const replica = !known(aside.replica_delay_s) ? NONE : aside.replica_delay_s ? `${seconds(aside.replica_delay_s)} behind` : "up to date";
  const rows = [
    ["Books", books, known(aside.books_age_s) ? `looked at ${seconds(aside.books_age_s)} ago` : ""], ["Replica", replica], ["Redis", size(aside.redis_memory_bytes), known(aside.redis_cpu_ratio) ? `${share(aside.redis_cpu_ratio)} of a core` : ""],
    ["Dead letters", count(aside.dead_letters)], ["Under review", count(aside.under_review)], ["Quarantined", count(aside.quarantined)], ["Open tickets", count(aside.tickets)], ["Outbox", count(aside.outbox)],
  ];
  $("aside").replaceChildren(...rows.map(([name, told, small]) => filled(element("div"), element("dt", name), filled(element("dd", told), ...(small ? [element("small", small)] : [])))));
}

function drawNotes() {
  const told = now.notes.map((note) => `${note.level} ${note.words}`).join("\n");
  if ($("notes").dataset.told === told) return;
  $("notes").dataset.told = told;
  $("notes").replaceChildren(...now.notes.map((note) => element("li", note.words, note.level)));
}

function draw() {
  const late = now && Date.now() - answered > 3 * EVERY_MS;
  $("state").toggleAttribute("data-gone", failing);
  $("state").textContent = failing ? `The exporter does not answer${answered ? ` since ${clock(answered)}` : ""}; trying again.` : now ? clock(now.at) : "Looking …";
  if (!now || late) return;
  drawNotes();
  drawCharts();
  drawTables();
}

async function look() {
  const since = points.length ? `?since=${encodeURIComponent(points.at(-1).at)}` : "";
  try {
    const answer = await fetch(`/ops.json${since}`, { signal: AbortSignal.timeout(5000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const told = await answer.json();
    points = [...points, ...told.points];
    if (told.now) points = points.filter((p) => Date.parse(told.now.at) - Date.parse(p.at) <= 1000 * SPANS_S.at(-1));
    now = told.now || now;
    answered = Date.now();
    failing = false;
  } catch {
    failing = true;
  }
  draw();
}

addEventListener("resize", () => now && draw());
for (;;) {
  await look();
  await new Promise((done) => setTimeout(done, EVERY_MS));
}
