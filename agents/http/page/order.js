// The page of one order: reads its timeline, then the stream of what happens. Texts come from outside: textContent only.
const WORDS = {
  en: { order: "Order", stages: "How long it takes", moments: "What happened", goods: "Goods", sku: "Item", qty: "Units", skip: "Skip to what happened",
    parcels: "Parcels", remarks: "A word from us", total: "Total", live: "Live", gone: "Connection lost, trying again", waiting: "Waiting for a decision",
    unknown: "No decision on this order is known yet", no_token: "This link is not, or no longer, good. Ask the shop for a new one.",
    trouble: "Not available right now, trying again", by: "expected by", colon: ": ", late: "{span} late", since: "{stage}: {span} late. With {who} since {when}.", 
    so_far: "{took} so far", broken: "broken off", soon: "Any moment now", service: "For service: every report, and what it did", reports: "Reports", when: "When", from: "From", said: "Said",
    effect: "Effect", zone: "Times are those of {zone}.", as_of: "As it stood on {when}.", ordered: "Ordered", paid: "Paid", packed: "Packed", shipped: "Shipped", delivered: "Delivered" },
  zh: { order: "订单", stages: "各阶段用时", moments: "订单动态", goods: "商品", sku: "商品编号", qty: "数量", skip: "跳到订单动态",
    parcels: "包裹", remarks: "客服留言", total: "合计", live: "实时更新", gone: "连接中断，正在重试", waiting: "等待处理",
    unknown: "暂无该订单的处理结果", no_token: "链接无效或已过期，请向商家索取新链接。",
    trouble: "暂时无法获取，正在重试", by: "预计完成", colon: "：", late: "超时 {span}", since: "{stage}：已超时 {span}。自 {when} 起由{who}处理。", 
    so_far: "已用 {took}", broken: "已中止", soon: "马上完成", service: "客服专用：全部上报及其结果", reports: "上报记录", when: "时间", from: "来源", said: "内容",
    effect: "结果", zone: "时间均为{zone}时区。", as_of: "截至 {when}。", ordered: "已下单", paid: "已付款", packed: "已打包", shipped: "已发货", delivered: "已签收" },
};
const NAMES = {
  submitted: ["Submitted", "已提交"], accepted: ["Accepted, goods reserved", "已受理，商品已预留"], rejected: ["Rejected", "未受理"],
  held: ["Reserved, waiting for payment", "已锁定，待付款"], confirmed: ["Paid", "已付款"], cancelled: ["Cancelled", "已取消"], expired: ["Expired", "已过期"],
  refund_due: ["Refund due", "待退款"], "hold.expired": ["Expired", "已过期"],
  "payment.succeeded": ["Paid", "已付款"], "payment.pending": ["Payment pending", "付款处理中"], "payment.authorised": ["Payment authorised", "付款已授权"],
  "payment.failed": ["Payment failed", "付款失败"], "refund.started": ["Refund started", "退款中"], "refund.partial": ["Partly refunded", "部分退款"], "refund.succeeded": ["Refunded", "已退款"],
  "warehouse.accepted": ["With the warehouse", "仓库已接单"], "warehouse.refused": ["Refused by the warehouse", "仓库拒单"], "picking.started": ["Being picked", "拣货中"],
  "parcel.packed": ["Packed", "已打包"], "parcel.shipped": ["Shipped", "已发货"], "parcel.moved": ["On its way", "运输中"], "parcel.ready_for_pickup": ["Ready for pickup", "待取件"],
  "parcel.out_for_delivery": ["Out for delivery", "派送中"], "parcel.delivery_failed": ["Delivery failed", "派送失败"], "parcel.lost": ["Lost", "已丢失"],
  "parcel.sent_back": ["Sent back", "已退回"], "parcel.delivered": ["Delivered", "已签收"], "order.completed": ["Completed", "已完成"], "order.cancelled": ["Cancelled", "已取消"],
  "return.requested": ["Return requested", "已申请退货"], "return.rejected": ["Return rejected", "退货未通过"], "return.withdrawn": ["Return withdrawn", "已撤销退货"],
  "return.approved": ["Return approved", "退货已通过"], "return.sent": ["Return sent", "退货已寄出"], "return.received": ["Return received", "退货已收到"],
  "return.inspected": ["Return inspected", "退货已验收"], "return.closed": ["Return closed", "退货已完结"], "order.remarked": ["Remark", "备注"],
  out_of_stock: ["out of stock", "库存不足"], unknown_sku: ["unknown item", "商品不存在"], buyer_limit: ["limit per buyer reached", "超出限购数量"],
  promotion_closed: ["promotion is over", "活动已结束"], promotion_not_open: ["promotion has not begun", "活动未开始"], conflicting_repeat: ["sent before with other content", "与先前提交的内容不一致"],
  intake: ["Order taken", "接单"], payment: ["Payment", "付款"], acceptance: ["Warehouse accepts", "仓库接单"], queue: ["Waiting for picking", "等待拣货"],
  picking: ["Picking and packing", "拣货打包"], handover: ["Handover", "交给承运商"], transit: ["On its way", "运输"], delivery: ["Delivery", "派送"],
  confirmation: ["Confirmation", "确认收货"], refund: ["Refund", "退款"], return: ["Return", "退货"],
  "the buyer": ["the buyer", "买家"], "the payment system": ["the payment system", "支付系统"], "the warehouse": ["the warehouse", "仓库"], "the carrier": ["the carrier", "承运商"],
  finance: ["finance", "财务"], "after-sales": ["after-sales", "售后"], Floodway: ["the order centre", "订单中心"],
  waiting: ["Waiting for the warehouse", "待处理"], released: ["With the warehouse", "仓库已接单"], warehouse_refused: ["Refused by the warehouse", "仓库拒单"],
  packed: ["Packed", "已打包"], shipped: ["Shipped", "已发货"], in_transit: ["On its way", "运输中"], ready_for_pickup: ["Ready for pickup", "待自提"],
  out_for_delivery: ["Out for delivery", "派送中"], delivery_failed: ["Delivery failed", "派送失败"], lost: ["Lost", "丢失"], sent_back: ["Sent back", "退回中"],
  delivered: ["Delivered", "已签收"], completed: ["Completed", "交易完成"],
  unknown_promotion: ["unknown promotion", "活动不存在"], not_in_promotion: ["not part of the promotion", "商品不参加活动"],
  taken: ["", ""], not_expected: ["for the record", "仅作记录"],
};
const STEPS = [["ordered", "intake"], ["paid", "payment"], ["packed", "picking"], ["shipped", "handover"], ["delivered", "delivery"]];
const WAY = ["intake", "payment", "acceptance", "queue", "picking", "handover", "transit", "delivery", "confirmation"];
const TICKS_S = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 864000, 2592000];
const $ = (id) => document.getElementById(id);
const held = $("held") && JSON.parse($("held").textContent); // a page that was saved has its order in it, and asks nobody
const name = held ? "" : decodeURIComponent(location.pathname.split("/").pop());
const api = `/v1/orders/${encodeURIComponent(name).replace(/%3A/gi, ":")}`;
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const isBuyer = (token || "").startsWith("fwl_");
const asked = new URLSearchParams(location.search).get("lang");
let lang = asked in WORDS ? asked : !held && document.documentElement.lang in WORDS ? document.documentElement.lang : navigator.language.startsWith("zh") ? "zh" : "en";
let story = held && held.timeline, why = held && held.why, trouble = null, known = null, offset = 0, streamed = null;

const word = (key, values = {}) => WORDS[lang][key].replace(/\{(\w+)\}/g, (_, found) => values[found]);
const named = (what) => (NAMES[what] ? NAMES[what][lang === "zh" ? 1 : 0] : String(what).replace(/[._]/g, " "));
const locale = () => (lang === "zh" ? "zh-CN" : navigator.language.startsWith("en") ? navigator.language : "en-GB");
const format = (at, options) => new Intl.DateTimeFormat(locale(), options).format(new Date(at));
const moment = (at) => format(at, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(now() - new Date(at) > 3e10 ? { year: "numeric" } : {}) });
const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});
const now = () => (held ? Date.parse(held.at) : Date.now() + offset);

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function filled(made, ...children) {
  made.append(...children.filter((child) => child !== null));
  return made;
}

// Two units at most: 3 h 20 min.
function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  const units = lang === "zh" ? ["天", "小时", "分钟", "秒"] : ["d", "h", "min", "s"];
  const parts = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60, s % 60];
  const first = parts.findIndex((part) => part > 0);
  if (first < 0) return ms > 0 && ms < 1000 ? (lang === "zh" ? "不到 1 秒" : "under 1 s") : `0 ${units[3]}`;
  return parts.map((part, i) => (part && i >= first && i <= first + 1 ? `${part} ${units[i]}` : "")).filter(Boolean).join(" ");
}

function read(stage) {
  const from = Date.parse(stage.began_at), due = Date.parse(stage.due_at), open = !stage.ended_at;
  const to = open ? Math.max(from, now()) : Date.parse(stage.ended_at);
  return { ...stage, from, due, to, open, late: stage.broken_off ? 0 : Math.max(0, to - due) };
}

function draw() {
  document.documentElement.lang = lang;
  for (const one of document.querySelectorAll("[data-t]")) one.textContent = word(one.dataset.t);
  for (const one of document.querySelectorAll("button[data-lang]")) one.setAttribute("aria-pressed", one.dataset.lang === lang);
  $("name").textContent = story ? story.number : name;
  const title = story ? (lang === "zh" ? story.status_zh : story.status_en) || named(story.outcome) : word(trouble || "waiting");
  document.title = `${title} · ${$("name").textContent}`;
  if ($("status").textContent !== title) $("status").textContent = title;
  live($("live").dataset.state);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  $("zone").textContent = (held ? `${word("as_of", { when: moment(held.at) })} ` : "") + word("zone", { zone });
  if (!story) return;
  const stages = (story.stages || []).map(read);
  drawNote(stages);
  drawSteps(stages);
  drawRemarks();
  drawStages(stages);
  drawMoments();
  drawParcels();
  drawGoods();
  drawWhy();
}

function drawNote(stages) {
  const open = stages.filter((stage) => stage.open), late = open.filter((stage) => stage.late).sort((a, b) => b.late - a.late)[0];
  const next = open.sort((a, b) => a.due - b.due)[0], at = late || next;
  $("note").className = late ? "late-text" : "";
  if (story.reason) $("note").textContent = named(story.reason);
  else if (late) $("note").textContent = word("since", { stage: named(at.name), span: span(at.late), who: named(at.owner), when: moment(at.began_at) });
  else if (next && next.name !== "confirmation") $("note").textContent = `${named(at.name)}${word("colon")}${at.due - now() < 1000 ? word("soon") : `${word("by")} ${moment(at.due)}`}`;
  else $("note").textContent = "";
}

function drawSteps(stages) {
  const way = stages.filter((stage) => WAY.includes(stage.name)), rank = (stage) => WAY.indexOf(stage.name);
  const broken = way.find((stage) => stage.broken_off), under = way.filter((stage) => stage.open || stage.broken_off);
  const at = under.length ? Math.min(...under.map(rank)) : Math.max(-1, ...way.map(rank)) + 1, over = under.some((stage) => stage.open && stage.late);
  const next = broken ? -1 : STEPS.findIndex(([, stage]) => WAY.indexOf(stage) >= at);
  $("steps").hidden = !way.length;
  $("steps").replaceChildren(...STEPS.map(([label, stage], i) => {
    const done = WAY.indexOf(stage) < at, through = done && i + 1 < STEPS.length && WAY.indexOf(STEPS[i + 1][1]) < at;
    const item = element("li", word(label), `${done ? "done" : i === next ? "next" : ""}${through ? " through" : ""}${i === next && over ? " over" : ""}`);
    if (i === next) item.setAttribute("aria-current", "step");
    return item;
  }));
}

function drawRemarks() {
  const remarks = [...(story.remarks || [])].reverse();
  $("remarks").hidden = !remarks.length;
  if ($("said").childElementCount === remarks.length && $("said").dataset.told === lang) return;
  $("said").dataset.told = lang;
  $("said").replaceChildren(...remarks.map((remark) => {
    const time = element("time", moment(remark.at));
    time.dateTime = remark.at;
    return filled(element("blockquote", remark.text), time);
  }));
}

function drawStages(stages) {
  $("plan").hidden = !stages.length;
  if (!stages.length) return;
  const start = Math.min(...stages.map((s) => s.from)), reach = Math.max(...stages.map((s) => s.to)), past = reach - start;
  // What is still expected is shown as far as it does not push what has been into a corner.
  const end = Math.max(start + 1000, Math.min(Math.max(reach, ...stages.filter((s) => s.open).map((s) => s.due)), reach + 0.35 * past));
  const place = (at) => (100 * (Math.min(Math.max(at, start), end) - start)) / (end - start);
  $("stages").replaceChildren(...stages.map((stage) => {
    const track = element("div", undefined, "track"), figure = element("span", undefined, "took");
    const part = (kind, from, to) => {
      const made = element("i", undefined, kind);
      made.style.left = `${Math.min(place(from), 99)}%`;
      made.style.width = `${place(to) - place(from)}%`;
      return made;
    };
    track.setAttribute("aria-hidden", "true");
    if (stage.open && !stage.late) track.append(part("rest-bar", stage.from, stage.due));
    if (!stage.late || stage.due > stage.from) track.append(part("took-bar", stage.from, stage.late ? stage.due : stage.to));
    if (stage.late) track.append(part("over-bar", Math.max(stage.due, stage.from), stage.to));
    const took = span(stage.to - stage.from);
    figure.append(stage.broken_off ? word("broken") : stage.open ? word("so_far", { took }) : took);
    if (stage.late) figure.append(element("b", word("late", { span: span(stage.late) })));
    const what = filled(element("span", named(stage.name), "what"), element("span", stage.shipment || named(stage.owner), "whose"));
    return filled(element("li", undefined, `stage ${stage.late && stage.open ? "late" : stage.open ? "now" : stage.broken_off ? "broken" : "done"}`), what, track, figure);
  }));
  drawAxis(start, end, place);
}

function drawAxis(start, end, place) {
  const narrow = window.innerWidth < 640, most = narrow ? 3 : 5, step = 1000 * (TICKS_S.find((s) => (end - start) / 1000 / s <= most) || TICKS_S.at(-1));
  const shift = new Date(start).getTimezoneOffset() * 60000;
  const ticks = [start];
  for (let at = (Math.floor((start - shift) / step) + 1) * step + shift; at < end; at += step) if (place(at) > (step < 60000 ? 32 : narrow ? 26 : 22) && place(at) < (narrow ? 88 : 94)) ticks.push(at);
  const options = step >= 86400000 ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(step < 60000 ? { second: "2-digit" } : {}) };
  let day = null;
  $("axis").replaceChildren(...ticks.map((at) => {
    const date = format(at, { month: "short", day: "numeric" });
    const label = element("span", step < 86400000 && date !== day && end - start > 43200000 ? date : format(at, options));
    day = date;
    label.style.left = `${place(at)}%`;
    return label;
  }));
}

function drawMoments() {
  const moments = story.moments.map((one, i) => ({ ...one, i, when: Date.parse(one.occurred_at || one.at) })).sort((a, b) => b.when - a.when || b.i - a.i);
  const days = new Map(), seconds = moments.length && moments[0].when - moments.at(-1).when < 6e5 ? { second: "2-digit" } : {};
  for (const one of moments) {
    const day = format(one.when, { weekday: "long", month: "long", day: "numeric" });
    if (!days.has(day)) days.set(day, element("ol", undefined, "moments"));
    const result = one.result && named(one.result), time = element("time", format(one.when, { hour: "2-digit", minute: "2-digit", ...seconds, hourCycle: "h23" }));
    time.dateTime = one.occurred_at || one.at;
    const item = element("li", undefined, `${known && !known.has(one.id) ? "new" : ""}${one === moments[0] ? " latest" : ""}`.trim());
    const more = one.note || [one.shipment, one.sku].filter(Boolean).join(" · ");
    days.get(day).append(filled(item, time, filled(element("span"), element("strong", result ? `${named(one.what)}${word("colon")}${result}` : named(one.what)), more ? element("span", more, "more") : null)));
  }
  $("history").hidden = !moments.length;
  $("moments").replaceChildren(...[...days].flatMap(([day, list]) => [element("h3", day, "day"), list]));
}

function drawParcels() {
  $("parcels").hidden = !story.parcels;
  $("numbers").replaceChildren(...(story.parcels || []).map((one) => filled(element("li"), element("code", one.number), element("span", `${named(one.reached)} · ${moment(one.since)}`, "more"))));
}

function drawGoods() {
  $("goods").hidden = !story.lines;
  $("lines").replaceChildren(...(story.lines || []).map((line) => filled(element("tr"), element("td", line.sku), element("td", line.qty, "number"))));
  if (story.total === undefined) return;
  const money = new Intl.NumberFormat(locale(), { style: "currency", currency: story.currency });
  const amount = money.format(story.total / 10 ** money.resolvedOptions().maximumFractionDigits);
  $("sum").replaceChildren(filled(element("tr"), element("td", word("total")), element("td", amount, "number")));
}

function drawWhy() {
  $("service").hidden = isBuyer || (held && !why);
  if (!why) return;
  $("because").textContent = `${why.reason}. trace ${why.trace_id}`;
  $("reports").replaceChildren(...why.reports.map((one) => {
    const said = [one.what, one.raw_code && `(${one.raw_code})`, one.shipment, one.sku, one.note].filter(Boolean).join(" ");
    return filled(element("tr"), element("td", moment(one.occurred_at)), element("td", one.source), element("td", said), element("td", one.effect));
  }));
}

async function ask(path, readToken) {
  return fetch(api + path, { headers: { ...headers(), ...(readToken ? { "Floodway-Read-Token": readToken } : {}) } });
}

async function look() {
  const answer = await ask("/timeline");
  offset = Date.parse(answer.headers.get("date")) - Date.now() || 0;
  if (Math.abs(offset) < 2000) offset = 0;
  trouble = answer.ok ? null : answer.status === 404 ? "unknown" : answer.status === 401 || answer.status === 403 ? "no_token" : "trouble";
  if (answer.ok) {
    if (story) known = new Set(story.moments.map((one) => one.id));
    story = await answer.json();
    if ($("service").open) await explain();
  }
  draw();
  return answer.status;
}

async function explain() {
  const answer = await ask("/why");
  if (answer.ok) why = await answer.json();
}

function live(state) {
  $("live").dataset.state = state;
  $("live").textContent = state === "off" ? "" : word(state === "on" ? "live" : "gone");
}

// EventSource cannot send a token, so the stream is read by hand; it only says that there is something to read.
async function follow() {
  const answer = await fetch(`${api}/events`, { headers: { ...headers(), Accept: "text/event-stream", ...(streamed ? { "Last-Event-ID": streamed } : {}) } });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  live("on");
  const pieces = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { done, value } = await pieces.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    if (events.some((event) => event.includes("data: "))) {
      await look();
      if (story) streamed = story.version;
    }
  }
}

async function run() {
  for (let pause = 1000; ; pause = Math.min(pause * 2, 30000)) {
    try {
      const status = await look();
      if (story) streamed = story.version;
      if (status === 401 || status === 403) return live("off");
      await follow();
      pause = 1000;
    } catch {
      live("gone");
    }
    await new Promise((done) => setTimeout(done, pause * (0.5 + Math.random())));
  }
}

for (const one of document.querySelectorAll("button[data-lang]")) one.addEventListener("click", () => { lang = one.dataset.lang; draw(); });
$("service").addEventListener("toggle", async () => { if ($("service").open && !held) { await explain(); draw(); } });
addEventListener("resize", () => story && draw());
draw();
if (!held) {
  setInterval(() => story && (story.stages || []).some((stage) => !stage.ended_at) && draw(), 10000);
  run();
}
