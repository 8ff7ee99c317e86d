"use strict";

const byId = id => document.getElementById(id);
const MOST_POINTS = 600;
let token = sessionStorage.getItem("midcut-token") || "";
let charts = null;
let decisions = [], results = [];
let parts = []; // of the forecast's latency, by name
let listening = null;
let busy = false;

const headers = more => ({ ...(token ? { Authorization: `Bearer ${token}` } : {}), ...more });

// ---- what the server sends

async function listen() {
  const own = new AbortController();
  if (listening) listening.abort();
  listening = own;
  let waitS = 1;
  while (!own.signal.aborted) {
    try {
      const response = await fetch("/v1/events", { headers: headers(), cache: "no-store", signal: own.signal });
      if (response.status === 401) return askForToken(token ? "This is not the token." : "This edge asks for a token.");
      if (!response.ok) throw new Error(await reasonOf(response));
      say("live", "good");
      waitS = 1;
      await readEvents(response.body);
      throw new Error("the edge closed the connection");
    } catch (error) {
      if (own.signal.aborted) return;
      say(`not connected: ${error.message}; trying again`, "bad");
      await new Promise(resolve => setTimeout(resolve, waitS * 1000));
      waitS = Math.min(waitS * 2, 15);
    }
  }
}

async function readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const [name, data] = text.slice(0, end).split("\n").map(line => line.slice(line.indexOf(":") + 2));
      text = text.slice(end + 2);
      show(JSON.parse(data), name === "first");
    }
  }
}

async function reasonOf(response) {
  try { return (await response.json()).error; } catch { return `HTTP status ${response.status}`; }
}

function say(text, kind) {
  byId("connection").textContent = text;
  byId("connection").className = kind;
}

// ---- what the page shows

const number = (value, digits = 3) => (value === null || value === undefined ? "–" : Number(value.toPrecision(digits)).toLocaleString("en"));
const seconds = value => `${MidcutCharts.fine(value * 1e3)} ms`;
const dollars = value => (value === null ? "–" : value === 0 ? "$0" : value >= 0.01 ? `$${value.toFixed(2)}` : `${Number((value * 1e6).toPrecision(3))} µ$`);

function rows(id, lines) {
  byId(id).replaceChildren(...lines.map(([name, value, small, kind]) => {
    const line = document.createElement("tr");
    const left = line.insertCell(), right = line.insertCell();
    left.textContent = name;
    right.textContent = value;
    if (kind) right.className = kind;
    if (small) {
      const note = document.createElement("small");
      note.textContent = small;
      left.append(note);
    }
    return line;
  }));
}

function appended(before, points) {
  const last = before.length ? before[before.length - 1][0] : 0;
  return [...before, ...points.filter(point => point[0] > last)].slice(-MOST_POINTS);
}

function show(state, first) {
  if (first) decisions = results = [];
  byId("page").hidden = false;
  byId("token-form").hidden = true;
  if (!charts) makeCharts();
  decisions = appended(decisions, state.decisions);
  results = appended(results, state.results);
  const { decision, planning } = state, last = planning.cuts[planning.cuts.length - 1];
  document.title = `cut ${decision.cut} · ${state.model} · midcut edge`;
  byId("model").textContent = state.model;
  byId("note").textContent = state.note;
  byId("cut").textContent = decision.cut;
  byId("cut-of").textContent = `of 0 to ${last}${decision.codec === "raw" ? "" : `, ${decision.codec}`}`;
  byId("reason").textContent = decision.reason;
  charts.cuts.show([...decisions, [state.at_s, decision.cut]], last);
  charts.latency.show(decisions, results);
  parts = decision.forecast ? decision.forecast.parts : [];
  for (const key of document.querySelectorAll(".key .three")) key.hidden = !parts.includes("relay");
  const clipped = charts.forecast.show(forecastRows(decision.forecast), decision, state.runner_up);
  byId("clipped").textContent = clipped ? `${clipped} longer than the chart` : "";
  if (!decision.forecast) byId("forecast-detail").textContent = "No forecast now: see the reason above.";
  showTelemetry(decision.observation);
  showClouds(state);
  rows("money", [
    ["so far", dollars(state.cost_usd)],
    ["a month at this rate", dollars(state.monthly_usd)],
    ["requests", state.requests.toLocaleString("en")],
    ["fallbacks", state.fallbacks.toLocaleString("en")],
    ["sent", `${number(state.sent_bytes / 1e6)} MB`],
  ]);
  showLast(state.last);
  if (!busy) showControls(planning);
}

// A row for each placement, by the names of the columns.
function forecastRows(forecast) {
  if (!forecast) return [];
  return forecast.rows.map(row => Object.fromEntries(forecast.columns.map((name, index) => [name, row[index]])));
}

function makeCharts() {
  charts = {
    cuts: MidcutCharts.cutOverTime("cut-chart"),
    latency: MidcutCharts.latencyOverTime("latency-chart"),
    forecast: MidcutCharts.forecast("forecast-chart", row => {
      byId("forecast-detail").textContent = row
        ? `${placed(row)}: ${seconds(row.latency_s)} = ${parts.map(name => `${name.replace("_", " ")} ${seconds(row[`${name}_s`])}`).join(" + ")}; ${dollars(row.cost_usd)}`
        : "";
    }),
  };
}

// A placement in words, with the second cut of three tiers.
function placed(row) {
  const hop = (cut, codec) => `${cut}${codec === "raw" ? "" : ` as ${codec}`}`;
  return row.second_cut === undefined
    ? `cut ${hop(row.cut, row.codec)}`
    : `cuts ${hop(row.cut, row.codec)}, ${hop(row.second_cut, row.second_codec)}`;
}

const FIELDS = { clock_mhz: ["clock", "MHz"], bandwidth_kbps: ["bandwidth", "kbit/s"], ping_ms: ["ping", "ms"] };

function showTelemetry(seen) {
  const names = Object.keys(seen).filter(name => !["at_s", "source", "age_s", "missing"].includes(name));
  rows("telemetry", names.map(name => {
    const [text, unit] = FIELDS[name] || [name, ""];
    if (seen[name] === null) return [text, "–", seen.missing[name]];
    return [text, `${number(seen[name])} ${unit}`, `${seen.source[name] || ""}, ${number(seen.age_s[name] || 0, 2)} s old`];
  }));
}

function showClouds(state) {
  const text = { closed: "in use", half_open: "being tried", open: "left alone" };
  rows("clouds", Object.entries(state.clouds).map(([url, breaker]) => [url, text[breaker] || breaker, "", breaker === "closed" && !state.why ? "good" : "bad"]));
  byId("cloud-why").textContent = state.why;
}

function showLast(last) {
  byId("last-none").hidden = Boolean(last);
  const picture = byId("picture");
  picture.hidden = !(last && last.picture);
  if (!last) return rows("last", []);
  if (last.picture && picture.getAttribute("src") !== last.picture) picture.src = last.picture;
  const name = last.label || (last.class !== null ? `class ${last.class}` : last.task || "answered");
  rows("last", [
    [name, last.probability === null ? "" : `${(last.probability * 100).toFixed(1)} %`],
    ["latency", seconds(last.latency_s)],
    ["cut", `${last.cut}, by ${last.finished_by}`],
    ["at", new Date(last.at_s * 1000).toLocaleTimeString("en-GB")],
  ]);
}

// ---- what the page changes

function options(select, values, chosen) {
  const key = JSON.stringify(values);
  if (select.dataset.values !== key) {
    select.dataset.values = key;
    select.replaceChildren(...values.map(([value, text]) => new Option(text, value)));
  }
  if (document.activeElement !== select) select.value = chosen;
}

function showControls(planning) {
  const slider = byId("w"), follows = planning.w !== null;
  slider.disabled = !follows || planning.pinned !== null;
  if (follows && document.activeElement !== slider) slider.value = planning.w;
  byId("w-value").textContent = follows ? (document.activeElement === slider ? slider.value : planning.w) : "not used";
  options(byId("planner"), planning.planners.map(name => [name, name.replaceAll("_", " ")]), planning.planner);
  options(byId("pinned"), [["", "as planned"], ...planning.cuts.map(cut => [String(cut), `always ${cut}`])], planning.pinned === null ? "" : String(planning.pinned));
}

async function change(wanted, control) {
  busy = true;
  try {
    const response = await fetch("/v1/planning", {
      method: "PUT", body: JSON.stringify(wanted), headers: headers({ "Content-Type": "application/json" }),
    });
    if (response.status === 401 || response.status === 403) askForToken("Changes need the token of administration.");
    const reason = response.ok ? "" : await reasonOf(response);
    byId("change-error").textContent = reason;
    if (response.ok) {
      control.blur();
      showControls(await response.json());
    }
  } catch (error) {
    byId("change-error").textContent = `not changed: ${error.message}`;
  } finally {
    busy = false;
  }
}

byId("w").addEventListener("input", event => { byId("w-value").textContent = event.target.value; });
byId("w").addEventListener("change", event => change({ w: Number(event.target.value) }, event.target));
byId("planner").addEventListener("change", event => change({ planner: event.target.value }, event.target));
byId("pinned").addEventListener("change", event => change({ pinned: event.target.value === "" ? null : Number(event.target.value) }, event.target));

function askForToken(why) {
  byId("token-why").textContent = why;
  byId("token-form").hidden = false;
  say("token needed", "bad");
  byId("token").focus();
}

byId("token-form").addEventListener("submit", event => {
  event.preventDefault();
  token = byId("token").value.trim();
  sessionStorage.setItem("midcut-token", token);
  byId("token").value = "";
  byId("token-form").hidden = true;
  byId("change-error").textContent = "";
  listen();
});

// A page in the background asks for nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    if (listening) listening.abort();
    say("paused in the background", "");
  } else {
    listen();
  }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (charts) charts.forecast.resize(); });
listen();
