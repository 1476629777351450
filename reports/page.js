"use strict";
// The example browser. Everything a model wrote goes into the page as text nodes, never as markup.
(() => {
  const source = document.getElementById("examples-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const SHOWN = 20;
  const list = document.getElementById("examples-list");
  const count = document.getElementById("examples-count");
  const more = document.getElementById("examples-more");
  const filters = {};
  for (const name of ["task", "length", "depth", "method", "change", "text"]) filters[name] = document.getElementById("filter-" + name);
  const loaded = { texts: new Map([[0, data.texts]]), prompts: new Map() };
  const waiting = new Map();
  let shown = 0, matching = [];

  // What cannot be seen is shown by its number, as everywhere in the reports (reports/safe.py).
  const UNSEEN = /[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\u{1bca0}-\u{1bca3}\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]|[\u0000-\u0008\u000b-\u001f\u007f-\u009f]|(?<=[\ufe0e\ufe0f])[\ufe0e\ufe0f]|(?<!\S)[\ufe0e\ufe0f]/gu;
  const seen = (text) => String(text).replace(UNSEEN, (found) => {
    const code = found.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    return code === 0x7f ? "\u2421" : "[U+" + code.toString(16).toUpperCase().padStart(4, "0") + "]";
  });
  const make = (tag, text, kind) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = seen(text);
    if (kind) element.className = kind;
    return element;
  };
  // The right answers inside a text, marked. The pieces are text nodes too.
  const pattern = (golds) => {
    const wanted = [...new Set(golds.map((gold) => seen(gold).trim()))].filter((gold) => gold && gold.length <= 300);
    const parts = wanted.sort((a, b) => b.length - a.length).map((gold) => {
      const plain = gold.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
      return /^[\p{L}\p{N}]{1,3}$/u.test(gold) ? "(?<![\\p{L}\\p{N}])" + plain + "(?![\\p{L}\\p{N}])" : plain;
    });
    return parts.length ? new RegExp(parts.join("|"), "giu") : null;
  };
  const marked = (tag, text, golds, kind) => {
    const element = make(tag, undefined, kind), whole = seen(text), found = pattern(golds);
    let at = 0;
    for (const match of found ? whole.matchAll(found) : []) {
      const mark = document.createElement("mark");
      mark.textContent = match[0];
      element.append(whole.slice(at, match.index), mark);
      at = match.index + match[0].length;
    }
    element.append(whole.slice(at));
    return element;
  };
  const option = (select, value, text) => {
    const element = make("option", text);
    element.value = value;
    select.append(element);
  };
  const size = (n) => (n % 1024 === 0 ? n / 1024 + "K" : String(n));
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const points = (value) => (100 * value).toFixed(1).replace("-", "−");

  const examples = data.examples.map(([task, length, depth, id, question, scores, chunk, place]) =>
    ({ task, length, depth, id, question, scores, means: scores.map(mean), chunk, place }));
  option(filters.task, "", "all tasks");
  data.tasks.forEach((task) => option(filters.task, task.name, task.category + ": " + task.name));
  option(filters.length, "", "all lengths");
  [...new Set(examples.map((e) => e.length))].sort((a, b) => a - b).forEach((n) => option(filters.length, n, size(n)));
  data.runs.slice(1).forEach((name) => option(filters.method, name, name));
  if (!examples.some((e) => e.depth !== null)) filters.depth.closest("label").hidden = true;
  if (data.runs.length < 3) filters.method.closest("label").hidden = true;
  const alone = data.runs.length < 2;
  if (alone) filters.change.closest("label").hidden = true;

  const change = (example, method) => {
    const delta = example.means[method] - example.means[0];
    return Math.abs(delta) < 1e-9 ? "same" : delta > 0 ? "better" : "worse";
  };
  const inDepth = (depth, wanted) => {
    if (!wanted) return true;
    if (wanted === "unknown") return depth === null;
    return depth !== null && Math.min(4, Math.floor(depth * 5)) === Number(wanted);
  };

  const chosen = () => Math.max(alone ? 0 : 1, data.runs.indexOf(filters.method.value));

  // The filters stand in the address, so that a link shows the same examples.
  const MARK = "#examples?";
  function read() {
    if (!location.hash.startsWith(MARK)) return false;
    const asked = new URLSearchParams(location.hash.slice(MARK.length));
    for (const [name, filter] of Object.entries(filters)) {
      const value = asked.get(name) ?? "";
      const known = filter.tagName !== "SELECT" || [...filter.options].some((each) => each.value === value);
      if (known) filter.value = value;
      else filter.selectedIndex = 0;
    }
    if (filters.method.selectedIndex < 0) filters.method.selectedIndex = 0;
    return true;
  }
  function write() {
    const asked = new URLSearchParams();
    for (const [name, filter] of Object.entries(filters)) {
      const first = filter === filters.method ? data.runs[1] : "";
      if (filter.value && filter.value !== first) asked.set(name, filter.value);
    }
    const text = asked.toString();
    history.replaceState(null, "", text ? MARK + text : location.pathname + location.search);
  }

  function choose() {
    const method = chosen();
    const words = filters.text.value.trim().toLowerCase();
    matching = examples.filter((e) =>
      (filters.task.value === "" || data.tasks[e.task].name === filters.task.value) &&
      (filters.length.value === "" || e.length === Number(filters.length.value)) &&
      inDepth(e.depth, filters.depth.value) &&
      (filters.change.value === "" || change(e, method) === filters.change.value) &&
      (words === "" || e.id.toLowerCase().includes(words) || e.question.toLowerCase().includes(words)));
    list.replaceChildren();
    shown = 0;
    extend();
  }

  function extend() {
    const method = chosen();
    for (const example of matching.slice(shown, shown + SHOWN)) list.append(entry(example, method));
    shown = Math.min(matching.length, shown + SHOWN);
    more.hidden = shown === matching.length;
    count.textContent = matching.length.toLocaleString("en") + " of " + examples.length.toLocaleString("en") + " examples";
  }

  function entry(example, method) {
    const item = make("li");
    const details = make("details");
    const summary = make("summary");
    const kind = change(example, method);
    const where = example.depth === null ? "" : " · depth " + Math.round(100 * example.depth) + "%";
    const change_ = alone ? points(example.means[0]) : points(example.means[0]) + " → " + points(example.means[method]) + " " + kind;
    summary.append(make("span", data.tasks[example.task].name + " · " + size(example.length) + where, "place"),
      make("span", change_, "change " + kind));
    details.append(summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) {
        const body = make("div", "loading …", "example");
        details.append(body);
        load("texts", example.chunk).then((chunk) => fill(body, example, chunk[example.place]), (problem) => { body.textContent = problem; });
      }
    });
    item.append(details);
    return item;
  }

  function fill(body, example, text) {
    body.replaceChildren();
    const head = (title) => body.append(make("h4", title));
    body.append(make("p", "example " + example.id + ", question " + example.question, "caption"));
    if (text.prompt) {
      const [start, end, hidden, line, place] = text.prompt;
      head("Prompt");
      const shown = make("div");
      shown.append(marked("pre", start, text.gold));
      if (hidden) shown.append(make("p", "… " + hidden.toLocaleString("en") + " characters …", "caption"), marked("pre", end, text.gold));
      body.append(shown);
      if (hidden) body.append(whole(shown, line, place, text.gold));
    }
    head("Gold");
    body.append(make("pre", text.gold.join("\n")));
    data.runs.forEach((name, at) => {
      const task = data.tasks[example.task];
      const [prompt, output, cut] = text.tokens[at];
      head(name + ": " + task.metrics.map((metric, m) => metric + " " + points(example.scores[at][m])).join(", "));
      body.append(marked("pre", text.outputs[at] || "(empty)", text.gold));
      if (text.parsed[at]) body.append(make("p", "read as the answer: " + text.parsed[at], "caption"));
      const lost = cut ? ", " + cut.toLocaleString("en") + " prompt tokens truncated" : "";
      const ended = text.finish[at] === "length" ? "used up its budget" : "ended by itself";
      body.append(make("p", prompt.toLocaleString("en") + " + " + output.toLocaleString("en") + " tokens, " + ended + lost, "caption"));
    });
  }

  // What follows the ends of a prompt: a button that shows it whole, or where in the run directory it is.
  function whole(shown, line, place, gold) {
    const where = data.suite && line ? " It is line " + line.toLocaleString("en") + " of " + data.suite + " in the run directory." : "";
    if (!place) return make("p", "The whole prompt is not beside this page." + where, "caption");
    const button = make("button", "Show the whole prompt");
    button.type = "button";
    button.addEventListener("click", () => {
      button.disabled = true;
      load("prompts", place[0]).then((chunk) => {
        const text = marked("pre", chunk[place[1]], gold, "whole");
        text.tabIndex = 0;
        shown.replaceChildren(text);
        text.focus();
        const first = text.querySelector("mark");
        if (first) text.scrollTop = first.offsetTop - text.offsetTop - text.clientHeight / 2;
        button.remove();
      }, (problem) => button.replaceWith(make("p", problem + where, "caption")));
    });
    return button;
  }

  function load(kind, chunk) {
    if (loaded[kind].has(chunk)) return Promise.resolve(loaded[kind].get(chunk));
    const name = kind + "-" + String(chunk).padStart(4, "0") + ".js";
    if (!waiting.has(name)) {
      waiting.set(name, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = data.folder + "/" + name;
        script.onload = () => {
          if (loaded[kind].has(chunk)) return resolve(loaded[kind].get(chunk));
          reject("This is in " + script.getAttribute("src") + ", and that file belongs to another page.");
        };
        script.onerror = () => {
          waiting.delete(name);
          script.remove();
          reject("This is in " + script.getAttribute("src") + " of the run directory, and that file is not beside this page.");
        };
        document.head.append(script);
      }));
    }
    return waiting.get(name);
  }
  // A file of another page, in the same place, must not be shown as this one's.
  const keep = (kind) => (digest, number, chunk) => { if (digest === data.digest) loaded[kind].set(number, chunk); };
  window.harnessTexts = keep("texts");
  window.harnessPrompts = keep("prompts");

  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || event.target.tagName !== "SUMMARY") return;
    const rows = [...list.querySelectorAll("summary")];
    const next = rows[rows.indexOf(event.target) + step];
    if (next) {
      next.focus();
      event.preventDefault();
    }
  });
  for (const filter of Object.values(filters)) filter.addEventListener("input", () => { write(); choose(); });
  more.addEventListener("click", extend);
  window.addEventListener("hashchange", () => { if (read()) choose(); });
  const asked = read();
  choose();
  if (asked) list.closest("section").scrollIntoView();
})();
