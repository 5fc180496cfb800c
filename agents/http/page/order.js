// The page of one order: reads its story, then the stream of what happens. Texts come from outside: textContent only.
const WORDS = {
  en: { order: "Order", stages: "Stages", moments: "What happened", goods: "Goods", sku: "Item", qty: "Units", skip: "Skip to what happened",
    total: "Total", live: "Live", gone: "Connection lost, trying again", waiting: "Waiting for a decision", unknown: "No decision on this order is known yet",
    no_token: "Open this page with #token=… at the end of its address", trouble: "Not available right now, trying again", until: "Reserved until", late: "overdue since" },
  zh: { order: "订单", stages: "各阶段", moments: "动态", goods: "商品", sku: "商品编号", qty: "数量", skip: "跳到动态",
    total: "合计", live: "实时更新", gone: "连接中断，正在重试", waiting: "等待处理", unknown: "暂无该订单的处理结果",
    no_token: "请在网址末尾加上 #token=…", trouble: "暂时无法获取，正在重试", until: "库存保留至", late: "已超时，应于" },
};
const NAMES = {
  submitted: ["Submitted", "已提交"], accepted: ["Accepted, goods reserved", "已受理，库存已锁定"], rejected: ["Rejected", "未受理"],
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
  taken: ["", ""], not_expected: ["for the record", "仅作记录"],
};
const $ = (id) => document.getElementById(id);
const name = decodeURIComponent(location.pathname.split("/").pop());
const api = `/v1/orders/${encodeURIComponent(name).replace(/%3A/gi, ":")}`;
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const asked = new URLSearchParams(location.search).get("lang");
let lang = asked in WORDS ? asked : navigator.language.startsWith("zh") ? "zh" : "en";
let story = null, trouble = null, seen = null, offset = 0;

const word = (key) => WORDS[lang][key];
const named = (what) => (NAMES[what] ? NAMES[what][lang === "zh" ? 1 : 0] : String(what).replace(/[._]/g, " "));
const moment = (at) => new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "medium" }).format(new Date(at));
const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});
const now = () => Date.now() + offset;

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  const [size, unit] = s < 60 ? [s, "second"] : s < 3600 ? [s / 60, "minute"] : s < 86400 ? [s / 3600, "hour"] : [s / 86400, "day"];
  return new Intl.NumberFormat(lang, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: unit === "second" ? 0 : 1 }).format(size);
}

// A stage lasts from one moment to the next; the last one goes on while the order may still change.
function stages() {
  const open = story.state === "held", late = open && story.held_until && now() > Date.parse(story.held_until);
  const found = [];
  story.moments.forEach((at, i) => {
    const next = story.moments[i + 1], from = Date.parse(at.at);
    if (next) found.push({ what: at.what, from, to: Math.max(from, Date.parse(next.at)), kind: "done" });
    else if (open) found.push({ what: "held", from, to: Math.max(from, now()), kind: late ? "late" : "now" });
  });
  return found;
}

function draw() {
  document.documentElement.lang = lang;
  for (const one of document.querySelectorAll("[data-t]")) one.textContent = word(one.dataset.t);
  for (const one of document.querySelectorAll("[data-lang]")) one.setAttribute("aria-pressed", one.dataset.lang === lang);
  $("name").textContent = (story && (story.channel_order_no || `${story.channel}:${story.submission_id}`)) || name;
  const title = story ? named(story.state || story.outcome) : word(trouble || "waiting");
  document.title = `${title} · ${$("name").textContent}`;
  if ($("status").textContent !== title) $("status").textContent = title;
  if (!story) return;
  const late = story.state === "held" && now() > Date.parse(story.held_until);
  $("status").toggleAttribute("data-late", Boolean(late));
  $("note").textContent = story.reason ? named(story.reason) : story.state === "held" ? `${word(late ? "late" : "until")} ${moment(story.held_until)}` : "";
  $("note").className = late ? "late-text" : "";
  drawStages();
  drawMoments();
  $("goods").hidden = !story.lines;
  $("lines").replaceChildren(...(story.lines || []).map((line) => {
    const row = element("tr");
    row.append(element("td", line.sku), element("td", line.qty, "number"));
    return row;
  }));
  if (story.total !== undefined) {
    const format = new Intl.NumberFormat(lang, { style: "currency", currency: story.currency });
    $("total").textContent = `${word("total")}: ${format.format(story.total / 10 ** format.resolvedOptions().maximumFractionDigits)}`;
  }
}

function drawStages() {
  const all = stages(), start = Math.min(...all.map((s) => s.from)), length = Math.max(1, Math.max(...all.map((s) => s.to)) - start);
  $("stages").replaceChildren(...all.map((stage) => {
    const row = element("div", undefined, `stage ${stage.kind}`), track = element("div", undefined, "track"), bar = element("div", undefined, "bar");
    row.setAttribute("role", "listitem");
    track.setAttribute("aria-hidden", "true");
    bar.style.left = `${Math.min(99, (100 * (stage.from - start)) / length)}%`;
    bar.style.width = `${(100 * (stage.to - stage.from)) / length}%`;
    track.append(bar);
    row.append(element("span", named(stage.what)), track, element("span", span(stage.to - stage.from), "took"));
    return row;
  }));
  $("stages").parentElement.hidden = !all.length;
}

function drawMoments() {
  const fresh = seen === null ? story.moments.length : story.moments.findIndex((m) => m.id === seen) + 1;
  $("moments").replaceChildren(...story.moments.map((at, i) => {
    const item = element("li", undefined, i >= fresh ? "new" : ""), result = at.result && named(at.result), time = element("time", moment(at.at));
    time.dateTime = at.at;
    item.append(element("strong", result ? `${named(at.what)}: ${result}` : named(at.what)), time, element("span", at.source, "source"));
    return item;
  }));
  seen = story.moments.at(-1).id;
}

async function read(readToken) {
  const answer = await fetch(api, { headers: { ...headers(), ...(readToken ? { "Floodway-Read-Token": readToken } : {}) } });
  offset = Date.parse(answer.headers.get("date")) - Date.now() || 0;
  trouble = answer.ok ? null : answer.status === 404 ? "unknown" : answer.status === 401 || answer.status === 403 ? "no_token" : "trouble";
  if (answer.ok) story = await answer.json();
  draw();
}

function live(state) {
  $("live").dataset.state = state;
  $("live").textContent = word(state === "on" ? "live" : "gone");
}

// EventSource cannot send a token, so the stream is read by hand; it only says that there is something to read.
async function follow() {
  const answer = await fetch(`${api}/events`, { headers: { ...headers(), Accept: "text/event-stream", ...(seen ? { "Last-Event-ID": seen } : {}) } });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  live("on");
  const pieces = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { done, value } = await pieces.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    if (events.some((event) => event.includes("\ndata: ") || event.startsWith("data: "))) await read();
  }
}

async function run() {
  for (let pause = 1000; ; pause = Math.min(pause * 2, 30000)) {
    try {
      await read();
      await follow();
      pause = 1000;
    } catch {
      live("gone");
    }
    await new Promise((done) => setTimeout(done, pause * (0.5 + Math.random())));
  }
}

for (const one of document.querySelectorAll("[data-lang]")) one.addEventListener("click", () => { lang = one.dataset.lang; draw(); });
setInterval(() => story && story.state === "held" && draw(), 10000);
draw();
run();
