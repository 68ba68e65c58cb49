"use strict";
// The status page. Whatever comes from the platform is put in as text, never as HTML: users name
// their workflows as they like.

const isAdmin = document.querySelector("main").dataset.admin === "yes";
const HELD_MS = 1000; // so long what changed is gathered before the page asks how all stands
const ANEW_MS = 60000;
const ANEW_WAITING_MS = 10000; // forecasts of the queue change without an event

let told = null; // the latest /v1/status
let aheadMs = 0; // of the platform's clock, of this browser's
let asked = null;
let askedMs = 0;

const byId = (id) => document.getElementById(id);
const now = () => Date.now() + aheadMs;

function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null)); // strings become text
  return made;
}

function duration(seconds) {
  if (!Number.isFinite(seconds)) return "unknown";
  const s = Math.max(0, seconds);
  if (s < 1) return "< 1 s";
  if (s < 99.5) return `${Math.round(s)} s`;
  if (s < 99.5 * 60) return `${Math.round(s / 60)} min`;
  if (s < 48 * 3600) return `${(s / 3600).toFixed(1)} h`;
  return `${(s / 86400).toFixed(1)} d`;
}

const gib = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

// Ends at which P10, P50 and P90 are reached, in ms; null if there is no forecast.
function endsOf(eta) {
  if (!eta || eta.p50_s === null) return null;
  const p50 = Date.parse(eta.finish_at);
  return [eta.p10_s, eta.p50_s, eta.p90_s].map((s) => p50 + 1000 * (s - eta.p50_s));
}

function table(place, caption, columns, rows, empty) {
  const target = byId(place);
  if (!rows.length) {
    target.replaceChildren(element("p", { class: "hint" }, empty));
    return;
  }
  // roles are said, as narrow screens lay rows out as blocks
  const head = columns.map((name) => element("th", { scope: "col", role: "columnheader" }, name));
  const body = rows.map((cells) =>
    element(
      "tr",
      { role: "row" },
      ...cells.map((cell, at) => {
        const isHead = cell instanceof Node && cell.classList.contains("name");
        const options = isHead
          ? { scope: "row", role: "rowheader" }
          : { role: "cell", "data-label": columns[at] };
        if (cell instanceof Node && cell.classList.contains("figure")) options.class = "wide";
        if (cell instanceof Node && cell.classList.contains("user")) options.class = "short";
        return element(isHead ? "th" : "td", options, cell);
      }),
    ),
  );
  target.replaceChildren(
    element(
      "table",
      { role: "table", "aria-label": caption },
      element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...head)),
      element("tbody", { role: "rowgroup" }, ...body),
    ),
  );
}

function name(workflow) {
  return element(
    "span",
    { class: "name" },
    workflow.workflow_name || "(no name)",
    element("span", { class: "id" }, workflow.workflow_id),
  );
}

function part(from, to, kind) {
  const made = element("i", { class: kind });
  made.style.left = `${100 * Math.min(1, Math.max(0, from))}%`;
  if (to !== null) made.style.width = `${100 * Math.min(1, Math.max(0, to - from))}%`;
  return made;
}

function share(done, total, text) {
  const percent = total > 0 ? Math.round((100 * done) / total) : 0;
  const bar = element(
    "span",
    { role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": percent, "aria-label": text },
    part(0, percent / 100, ""),
  );
  bar.className = "bar";
  bar.style.display = "block";
  return element("span", { class: "figure" }, text, bar);
}

const secondsTo = (ends) => ends.map((end) => Math.max(0, (end - now()) / 1000));

// P10 to P90 of a forecast in seconds, on an axis that all rows of a table have.
function forecast(seconds, axisS, lead = "") {
  if (seconds === null) return element("span", { class: "figure" }, "not known yet");
  const [p10, p50, p90] = seconds;
  const text = `${lead}${duration(p50)} (${duration(p10)} – ${duration(p90)})`;
  const bar = element("span", { class: "bar", "aria-hidden": "true" });
  bar.style.display = "block";
  bar.append(part(p10 / axisS, Math.max(p90, p10 + axisS / 100) / axisS, "band"));
  bar.append(part(Math.min(p50 / axisS, 0.99), null, "mark"));
  return element("span", { class: "figure" }, text, bar);
}

// What is known of a workflow's end: seconds from now, or those it takes once it begins.
function expected(workflow) {
  if (workflow.ends) return { seconds: secondsTo(workflow.ends), lead: "ends in " };
  const { p10_s, p50_s, p90_s } = workflow.forecast || {};
  if (!Number.isFinite(p50_s)) return { seconds: null, lead: "" };
  return { seconds: [p10_s, p50_s, p90_s], lead: "runs for " };
}

const axisOf = (forecasts) => Math.max(1, ...forecasts.map((one) => (one ? one[2] : 0)));

function linked(columns, workflows) {
  const any = workflows.some((one) => one.mlflow);
  const link = (one) =>
    one.mlflow
      ? element("a", { href: `/workflows/${encodeURIComponent(one.workflow_id)}/mlflow` }, "its runs")
      : "–";
  return {
    columns: any ? [...columns, "MLflow"] : columns,
    cells: (one) => (any ? [link(one)] : []),
  };
}

const who = (workflow) => (isAdmin ? [element("span", { class: "user" }, workflow.user)] : []);
const since = (time) => duration((now() - Date.parse(time)) / 1000);

function show() {
  if (told === null) return;
  byId("n-running").textContent = told.queue.running;
  byId("n-queued").textContent = told.queue.queued;
  byId("longest-wait").textContent = told.queue.queued ? duration(told.queue.longest_wait_s) : "–";
  byId("mean-wait").textContent = told.queue.queued ? duration(told.queue.mean_wait_s) : "–";
  const user = isAdmin ? ["User"] : [];
  // by how the queue has it: one that was taken from it may still wait for workers
  const at = (...stages) => told.workflows.filter((one) => stages.includes(one.stage));
  const running = at("running");
  const waiting = [...at("queued").sort((one, other) => one.place - other.place), ...at("uploading")];
  const ended = told.workflows.filter((one) => one.is_over);
  let links = linked(["Workflow", ...user, "Fits", "Ends in (P10 – P90)"], running);
  let axisS = axisOf(running.map((one) => one.ends && secondsTo(one.ends)));
  table(
    "running",
    "Running workflows",
    links.columns,
    running.map((one) => [
      name(one),
      ...who(one),
      share(one.fits.done, one.fits.total, `${one.fits.done} of ${one.fits.total}`),
      forecast(one.ends && secondsTo(one.ends), axisS),
      ...links.cells(one),
    ]),
    isAdmin ? "Nothing runs." : "Nothing of yours runs.",
  );
  axisS = axisOf(waiting.map((one) => expected(one).seconds));
  table(
    "queue",
    "Workflows that wait",
    ["Place", "Workflow", ...user, "Waits for", "Forecast (P10 – P90)"],
    waiting.map((one) => [
      one.stage === "uploading" ? "arriving" : `${one.place ?? "–"} of ${told.queue.queued}`,
      name(one),
      ...who(one),
      since(one.queued_at || one.submitted_at),
      forecast(expected(one).seconds, axisS, expected(one).lead),
    ]),
    isAdmin ? "Nothing waits." : "Nothing of yours waits.",
  );
  table(
    "pools",
    "Use of pools, by the fits of this replica",
    ["Pool", "Workers", "Fits", "CPUs", "Memory"],
    told.pools.map((one) => [
      element("span", { class: "name" }, one.pool),
      `${one.workers}`,
      `${one.fits}`,
      share(one.used_cpus, one.cpus, `${one.used_cpus} of ${one.cpus}`),
      share(one.used_memory_bytes, one.memory_bytes, `${gib(one.used_memory_bytes)} of ${gib(one.memory_bytes)}`),
    ]),
    "There are no workers now; some come when they are needed.",
  );
  links = linked(["Workflow", ...user, "State", "Fits", "Ended", "Took"], ended);
  table(
    "ended",
    "Workflows that ended",
    links.columns,
    ended.map((one) => {
      const state = element("span", { class: one.state }, one.state);
      if (one.error) state.append(element("span", { class: "id" }, `${one.error.type}: ${one.error.message}`));
      const took = (Date.parse(one.ended_at) - Date.parse(one.queued_at || one.submitted_at)) / 1000;
      return [
        name(one),
        ...who(one),
        state,
        `${one.fits.done} of ${one.fits.total}`,
        one.ended_at ? `${since(one.ended_at)} ago` : "",
        one.ended_at ? duration(took) : "",
        ...links.cells(one),
      ];
    }),
    isAdmin ? "Nothing has ended yet." : "Nothing of yours has ended yet.",
  );
}

function problem(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = !text;
}

async function ask() {
  try {
    const answer = await fetch("/v1/status", { cache: "no-store" });
    if (answer.status === 401 || answer.status === 403) {
      location.reload(); // to where one signs in
      return;
    }
    if (!answer.ok) throw new Error(`the platform answers ${answer.status}`);
    const found = await answer.json();
    aheadMs = 1000 * found.now - Date.now();
    askedMs = now();
    for (const one of found.workflows) one.ends = endsOf(one.eta);
    told = found;
    problem("");
    show();
  } catch (error) {
    problem(`What is shown may be old: ${error.message}.`);
  }
}

function askSoon() {
  asked ??= setTimeout(() => {
    asked = null;
    ask();
  }, HELD_MS);
}

function progressed(event) {
  const change = JSON.parse(event.data);
  const one = told?.workflows.find((known) => known.workflow_id === change.workflow_id);
  if (!one) {
    askSoon();
    return;
  }
  one.fits.done = change.fits_done;
  one.fits.total = Math.max(one.fits.total, change.fits_done); // a refit comes on top
  const at = Date.parse(change.at);
  one.ends = change.eta_s ? change.eta_s.map((s) => at + 1000 * s) : one.ends;
}

function follow() {
  const events = new EventSource("/v1/events");
  const live = (text, isOn) => {
    if (byId("live").textContent !== text) byId("live").textContent = text;
    byId("live").classList.toggle("on", isOn);
  };
  events.addEventListener("open", () => {
    live("live", true);
    askSoon(); // what happened before this stream began
  });
  events.addEventListener("progress", progressed);
  for (const kind of ["state", "cancel_asked", "removed"]) events.addEventListener(kind, askSoon);
  events.addEventListener("error", () => {
    live("reconnecting …", false);
    if (events.readyState === EventSource.CLOSED) {
      setTimeout(follow, 5000);
      askSoon();
    }
  });
}

byId("sign-out").addEventListener("click", async () => {
  await fetch("/session", { method: "DELETE" });
  location.reload();
});

ask();
follow();
setInterval(show, 1000);
setInterval(() => {
  const waits = told?.workflows.some((one) => one.stage === "queued");
  if (Date.now() + aheadMs - askedMs >= (waits ? ANEW_WAITING_MS : ANEW_MS)) ask();
}, ANEW_WAITING_MS);
