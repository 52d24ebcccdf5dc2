// Draws the status view, and keeps it live. Text only ever enters the page as text.
"use strict";

const SILENT_AFTER_MS = 12000; // the server speaks at least every 5 s; two of those and a breath
const SHAPE = { up: "●", degraded: "▲", down: "✕", unknown: "?", held: "●", lost: "✕" };
const STEP_SHAPE = { pending: "", running: "", done: "✓", failed: "✕", refused: "✕", undone: "↺", unknown: "?" };

let status = null; // the newest view
let receivedAt = 0; // performance.now() of the newest view that was new
let connected = false;

// --- building -----------------------------------------------------------------------------------------------------

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

// A section is drawn again only when what it shows has changed: selections and reading positions stay.
const drawn = new Map();
function draw(id, shown, build) {
  const text = JSON.stringify(shown);
  if (drawn.get(id) === text) return;
  drawn.set(id, text);
  const section = document.getElementById(id);
  section.replaceChildren(...[build()].flat(Infinity).filter(Boolean));
}

function mark(verdict, word) {
  return h("span", { class: `mark ${verdict}` },
    h("i", { "aria-hidden": "true" }, SHAPE[verdict] || "?"), " ", word || verdict);
}

// --- words --------------------------------------------------------------------------------------------------------

// The same spelling as ncia/core/reports/spelling.py.
function span(seconds) {
  if (seconds === null || seconds === undefined) return "unknown";
  if (seconds > 0 && seconds < 0.1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  const units = [["d", 86400, 4 * 86400], ["h", 3600, 3600], ["min", 60, 60]];
  const index = units.findIndex(([, , from]) => whole >= from);
  const [unit, size] = units[index];
  const number = Math.floor(whole / size);
  const [smaller, part] = index + 1 < units.length
    ? [units[index + 1][0], Math.floor((whole % size) / units[index + 1][1])] : ["s", whole % size];
  return `${number} ${unit}${part && number < 10 ? ` ${part} ${smaller}` : ""}`;
}

function serverNow() {
  return Date.parse(status.as_of) + (performance.now() - receivedAt);
}

// "3 min ago", kept right by tick() without drawing the section again.
function ago(text, suffix = " ago") {
  const element = h("time", { class: "ago", datetime: text, title: moment(text), "data-suffix": suffix });
  retell(element);
  return element;
}

function retell(element) {
  const seconds = Math.max(0, (serverNow() - Date.parse(element.getAttribute("datetime"))) / 1000);
  const said = (seconds < 10 ? `${Math.floor(seconds)} s` : span(seconds)) + element.dataset.suffix;
  if (element.textContent !== said) element.textContent = said;
}

function moment(text, long = true) {
  const options = { timeZone: status.timezone, hourCycle: "h23", hour: "2-digit", minute: "2-digit", second: "2-digit" };
  if (long) Object.assign(options, { year: "numeric", month: "2-digit", day: "2-digit", timeZoneName: "short" });
  return new Intl.DateTimeFormat("en-GB", options).format(new Date(text));
}

function count(number, one, many) {
  return `${number} ${number === 1 ? one : many || one + "s"}`;
}

function siteName(id) {
  const site = status.sites.find((s) => s.id === id);
  return site ? site.name : id;
}

// --- the page -----------------------------------------------------------------------------------------------------

function render() {
  const s = status;
  document.getElementById("answering").textContent = siteName(s.site);
  draw("headline", [s.verdict, s.systems.map((x) => x.verdict), s.incidents.length], headline);
  draw("sites", s.sites, () => s.sites.map(siteCard));
  draw("incidents", s.incidents, incidents);
  draw("runs", s.runs, runs);
  draw("systems", [s.systems, s.proofs, s.sites.map((x) => x.name)], systems);
  draw("gaps", [s.unprotected, s.missed], gaps);
  document.getElementById("runs").hidden = s.runs.length === 0;
  document.getElementById("gaps").hidden = s.unprotected.length + s.missed.length === 0;
  document.title = `${SHAPE[s.verdict]} ${document.getElementById("headline").textContent} · ncia`;
}

function headline() {
  const total = status.systems.length;
  const worst = ["down", "unknown", "degraded"]
    .map((verdict) => [verdict, status.systems.filter((s) => s.verdict === verdict).length])
    .filter(([, number]) => number > 0)
    .map(([verdict, number]) => `${number} ${verdict}`);
  const sentence = worst.length ? `${worst.join(", ")} of ${total} systems` : `all ${total} systems up`;
  const also = status.incidents.length ? `, ${count(status.incidents.length, "incident")}` : "";
  return [mark(status.verdict, sentence + also)];
}

function siteCard(site) {
  const seen = Object.entries(site.seen_by).map(([vantage, verdict]) =>
    h("span", { class: "seen" }, `${siteName(vantage)} `, mark(verdict)));
  return h("article", { class: `site ${site.verdict}`, "data-site": site.id },
    h("header", {}, h("h2", {}, site.name), mark(site.verdict)),
    h("dl", {},
      site.kind === "centre" && pair("serves", h("b", {}, count(site.active_systems, "system"))),
      site.lease && pair("lease", mark(site.lease === "up" ? "held" : site.lease === "down" ? "lost" : site.lease,
        site.lease === "up" ? "held" : site.lease === "down" ? "not held" : site.lease)),
      site.etcd && pair("vote", mark(site.etcd)),
      pair("heard", site.last_heard_at
        ? h("span", { class: site.silent ? "bad" : "" }, site.silent && "✕ silent, ", ago(site.last_heard_at))
        : h("span", { class: "bad" }, "✕ never")),
      seen.length > 0 && pair("seen from", seen)),
    site.verdict !== "up" && site.evidence && h("p", { class: "evidence" }, site.evidence));
}

function pair(term, value) {
  return h("div", {}, h("dt", {}, term), h("dd", {}, value));
}

function incidents() {
  if (!status.incidents.length) return [h("h2", {}, "Incidents"), h("p", { class: "quiet" }, "No incident.")];
  return [h("h2", {}, count(status.incidents.length, "open incident")), status.incidents.map(incident)];
}

function incident(one) {
  return h("article", { class: `incident ${one.severity}`, "data-incident": one.id },
    h("p", { class: "sentence" }, one.sentence),
    one.run_next && h("p", { class: "next" }, h("span", { class: "dim" }, "next "), h("code", {}, one.run_next)),
    h("p", { class: "dim" },
      h("b", { class: `severity ${one.severity}` }, one.severity), " · ", ago(one.opened_at),
      one.systems.length > 0 && ` · felt on ${one.systems.join(", ")}`,
      one.members > 0 && ` · explains ${count(one.members, "alarm")}`),
    h("p", { class: "dim" }, one.acked_by
      ? `✓ ${one.acked_by} has it${one.ack_comment ? `: ${one.ack_comment}` : ""} (until ${moment(one.acked_until, false)})`
      : h("span", { class: "bad" }, "nobody has acknowledged it")));
}

// --- recovery runs ------------------------------------------------------------------------------------------------

function runs() {
  const live = status.runs.filter((run) => ["planned", "running", "stopped"].includes(run.state));
  const ended = status.runs.filter((run) => !live.includes(run));
  return [h("h2", {}, "Recovery"), live.map(liveRun), ended.map(endedRun)];
}

function liveRun(run) {
  const waiting = run.state === "planned";
  const missing = Math.max(0, run.approvals_needed - run.approvals.length);
  return h("article", { class: `run ${run.state}`, "data-run": run.id },
    h("p", { class: "sentence" }, h("b", { class: `state ${run.state}` }, waiting ? "waits for approval" : run.state),
      ` ${run.runbook} of ${siteName(run.site)}`, run.executing_site && `, carried out at ${siteName(run.executing_site)}`),
    h("p", { class: "dim" },
      run.approvals.length ? `✓ approved by ${run.approvals.join(", ")}` : "approved by nobody yet",
      waiting && missing > 0 && h("span", { class: "bad" }, ` · ${count(missing, "approval")} missing`),
      run.started_at && [" · since ", ago(run.started_at, "")]),
    waiting && missing > 0 && h("p", { class: "next" }, h("span", { class: "dim" }, "next "), h("code", {}, `ncia recover approve ${run.id}`)),
    run.sentence && h("p", {}, run.sentence),
    !waiting && progress(run), !waiting && groups(run));
}

function progress(run) {
  const share = run.steps_total ? run.steps_done / run.steps_total : 0;
  return h("div", { class: "progress" },
    h("progress", { max: 1, value: share, "aria-label": "steps done" }),
    h("b", {}, `${run.steps_done} of ${run.steps_total} steps`));
}

// Steps are named "<system>/<step>": one line per system, one box per step.
function groups(run) {
  const lines = new Map();
  for (const step of run.steps) {
    const cut = step.id.indexOf("/");
    const group = cut < 0 ? "site" : step.id.slice(0, cut);
    if (!lines.has(group)) lines.set(group, []);
    lines.get(group).push({ ...step, short: cut < 0 ? step.id : step.id.slice(cut + 1) });
  }
  return h("div", { class: "groups" }, [...lines].map(([group, steps]) => {
    const bad = steps.find((s) => ["failed", "refused", "unknown"].includes(s.state));
    const now = bad || steps.find((s) => s.state === "running");
    const done = steps.every((s) => s.state === "done");
    const word = now ? `${now.short.replaceAll("_", " ")}${bad ? ` ${bad.state}: ${bad.evidence}` : ""}` : done ? "done" : "waits";
    return h("div", { class: "group", "data-group": group },
      h("span", { class: "name" }, group),
      h("span", { class: "boxes" }, steps.map((s) =>
        h("i", { class: `box ${s.state}`, title: `${s.short}: ${s.state}${s.evidence ? `, ${s.evidence}` : ""}` }, STEP_SHAPE[s.state]))),
      h("span", { class: bad ? "bad" : done ? "dim" : "" }, word));
  }));
}

function endedRun(run) {
  return h("p", { class: `run ended ${run.state}`, "data-run": run.id },
    h("b", { class: run.state === "succeeded" ? "good" : "bad" }, `${run.state === "succeeded" ? "✓" : "✕"} ${run.state}`),
    ` ${run.runbook} of ${siteName(run.site)}, ${run.steps_done} of ${run.steps_total} steps in ${span(run.seconds)}, `,
    run.ended_at && ago(run.ended_at), run.sentence && h("span", { class: "dim" }, ` · ${run.sentence}`));
}

// --- systems ------------------------------------------------------------------------------------------------------

function systems() {
  const rows = [...status.systems].sort((a, b) => a.grade - b.grade || a.id.localeCompare(b.id));
  const heads = ["state", "system", "grade", "served at", "lag", "loss now", "proven", "one site only"];
  return [h("h2", {}, "Systems"), h("table", {},
    h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, rows.map(systemRow)))];
}

function systemRow(s) {
  const away = s.active_site !== s.home;
  const wrong = s.verdict !== "up" && s.evidence;
  return h("tr", { class: s.verdict, "data-system": s.id },
    h("td", { class: "state" }, mark(s.verdict)),
    h("th", { scope: "row", title: `${s.name}, ${s.agency}${wrong ? `: ${s.evidence}` : ""}` },
      h("span", { class: "ko", lang: "ko" }, s.name_ko || s.name),
      h("small", { class: wrong ? "evidence" : "" }, h("span", {}, s.id), " ", wrong ? s.evidence : h("i", { class: "long" }, s.name))),
    cell("grade", h("b", { class: "grade" }, s.grade)),
    cell("at", away && h("b", { class: "away", title: `moved from ${siteName(s.home)}` }, "⇄ "), siteName(s.active_site),
      h("small", { class: s.epoch === null ? "bad" : "" }, s.epoch === null ? "? epoch" : `epoch ${s.epoch}${away ? ", moved" : ""}`)),
    cell("lag", measure(s.lag_seconds, s.stale),
      h("small", {}, s.replica_verdict === "up" ? `at ${siteName(s.replica_site)}` : mark(s.replica_verdict, siteName(s.replica_site)))),
    cell("loss", s.breaks_promise === true && h("b", { class: "bad" }, "✕ "), measure(s.predicted_loss_seconds, s.stale),
      s.without_partner_since ? h("small", { class: "bad" }, "alone for ", ago(s.without_partner_since, ""))
        : h("small", { title: s.commits_wait ? "commits wait for the copy" : null }, `promised ${span(s.promise_rpo_seconds)}`)),
    cell("proven", proven(s)),
    h("td", { "data-label": "one site only", class: s.unprotected.length ? "bad" : "none" },
      s.unprotected.length ? s.unprotected.map((name) => h("span", { class: "exposed" }, `✕ ${name} `)) : "–"));
}

// A newer proof that failed outweighs an older one that matched.
function proven(s) {
  const newest = status.proofs.find((p) => p.system === s.id);
  const failed = newest && newest.at && newest.matched !== true;
  return [
    s.proven_at ? h("span", {}, "✓ ", ago(s.proven_at)) : h("span", { class: "bad" }, "✕ never"),
    failed && h("small", { class: "bad", title: newest.sentence }, newest.matched === false ? "✕ not equal " : "✕ failed ", ago(newest.at)),
  ];
}

function cell(label, ...children) {
  return h("td", { "data-label": label }, ...children);
}

function measure(seconds, stale) {
  if (seconds === null) return h("span", { class: "bad" }, "? unknown");
  return h("span", { class: stale ? "bad" : "", title: stale ? "measured too long ago" : null }, span(seconds), stale && " old");
}

// --- what is not protected ----------------------------------------------------------------------------------------

function gaps() {
  return [
    status.unprotected.length > 0 && h("h2", { class: "bad" }, `✕ ${count(status.unprotected.length, "dataset")} held at one site only`),
    status.unprotected.length > 0 && h("ul", {}, decisions(status.unprotected).map(decision)),
    status.missed.length > 0 && h("h2", { class: "bad" }, `✕ ${count(status.missed.length, "missed run")}`),
    status.missed.length > 0 && h("ul", {}, status.missed.map((m) =>
      h("li", {}, h("b", { class: "bad" }, m.dataset), " was due ", ago(m.due_at), h("small", {}, m.reason)))),
  ];
}

// One person's one decision covers many datasets: told once.
function decisions(unprotected) {
  const same = new Map();
  for (const one of unprotected) {
    const key = JSON.stringify([one.kind, one.until, one.by, one.why, one.expired]);
    same.set(key, [...(same.get(key) || []), one]);
  }
  return [...same.values()];
}

function decision(datasets) {
  const { until, by, why, expired } = datasets[0];
  return h("li", {},
    h("span", { class: "names" }, datasets.map((u) => h("b", { class: "bad", "data-dataset": u.dataset }, `${u.dataset} `))),
    h("small", {}, `${why}; ${by} allows it until ${until}`, expired && h("b", { class: "bad" }, ", which is past")));
}

// --- the clock of the data, and the stream ------------------------------------------------------------------------

function tick() {
  if (!status) return;
  const silent = performance.now() - receivedAt;
  const stale = !connected || silent > SILENT_AFTER_MS;
  const clock = document.getElementById("clock");
  clock.classList.toggle("stale", stale);
  document.body.classList.toggle("stale", stale);
  document.getElementById("clock-word").textContent = !stale ? "as of"
    : `${connected ? "no news" : "disconnected"} for ${span(Math.floor(silent / 1000))}, as of`;
  const time = document.getElementById("clock-time");
  time.textContent = moment(status.as_of, false);
  time.title = moment(status.as_of);
  for (const element of document.querySelectorAll("time.ago")) retell(element);
}

function take(view) {
  const fresh = !status || view.as_of !== status.as_of; // a server that repeats itself is no news
  status = view;
  if (fresh) receivedAt = performance.now();
  render();
  tick();
}

function listen() {
  const stream = new EventSource("/v1/events");
  stream.addEventListener("status", (event) => { connected = true; take(JSON.parse(event.data)); });
  stream.addEventListener("open", () => { connected = true; tick(); });
  stream.addEventListener("error", () => {
    connected = false;
    tick();
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000); // the browser gave up: we do not
  });
}

take(JSON.parse(document.getElementById("first-status").textContent));
listen();
setInterval(tick, 500);
