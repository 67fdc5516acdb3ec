"use strict";
// Texts of a rollout are hostile: they reach the page as text nodes only, never as markup.
(() => {
  const byId = (id) => document.getElementById(id);
  const table = byId("task-table");
  const body = table.tBodies[0];
  const collator = new Intl.Collator("en", { numeric: true });

  function make(tag, className, ...children) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    node.append(...children.filter((child) => child !== ""));
    return node;
  }

  // --- the table of tasks

  function sortBy(header) {
    const descending = header.ariaSort === "ascending";
    const place = header.cellIndex;
    const numbers = header.dataset.sorts === "number";
    const key = (row) => {
      const cell = row.cells[place];
      const value = numbers ? parseFloat(cell.dataset.v) : cell.textContent;
      return numbers && Number.isNaN(value) ? -Infinity : value;
    };
    const order = numbers ? (a, b) => (a < b ? -1 : a > b ? 1 : 0) : collator.compare;
    const rows = [...body.rows].map((row) => [key(row), row]);
    rows.sort((a, b) => (descending ? order(b[0], a[0]) : order(a[0], b[0])));
    body.append(...rows.map((pair) => pair[1]));
    for (const other of header.parentNode.cells) other.ariaSort = "none";
    header.ariaSort = descending ? "descending" : "ascending";
  }

  function filter() {
    const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const outcome = byId("outcome").value;
    let shown = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      const fits = (!outcome || row.dataset.outcome === outcome) && words.every((word) => text.includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    byId("count").textContent = `${shown} of ${body.rows.length}`;
  }

  for (const header of table.tHead.rows[0].cells) {
    header.firstElementChild.addEventListener("click", () => sortBy(header));
  }
  byId("find").addEventListener("input", filter);
  byId("outcome").addEventListener("change", filter);
  document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  filter();
  document.documentElement.dataset.ready = "#";

  // --- the page of a rollout

  const packed = byId("rollouts");
  if (!packed) return;
  const page = byId("rollout");
  const overview = byId("overview");
  let data = null;
  let left = null;

  async function unpack() {
    const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  }

  function fold(className, open, what, detail, ...content) {
    const summary = make("summary", "", make("span", "what", what), detail && " ", detail && make("span", "quiet", detail));
    const node = make("details", className, summary, ...content);
    node.open = open;
    return node;
  }

  function diff(text) {
    const block = make("pre", "diff");
    for (const line of text.trimEnd().split("\n")) {
      const head = /^(diff |index |\+\+\+ |--- |@@ )/.test(line);
      const kind = head ? "head" : line[0] === "+" ? "plus" : line[0] === "-" ? "minus" : "other";
      block.append(make("span", kind, line || " "));
    }
    return block;
  }

  function entry([kind, title, detail, at, , parts]) {
    const failed = parts.some((part) => part[0] === "error");
    const blocks = parts.map(([name, text]) => make("pre", name === "error" ? "error-text" : name, text));
    const when = at ? `${at.toFixed(1)} s` : "";
    const about = [detail, when].filter(Boolean).join(" · ");
    return fold(kind + (failed ? " failed-entry" : ""), kind === "say", title, about, ...blocks);
  }

  function facts(pairs) {
    const list = make("dl", "");
    for (const [name, value] of pairs) list.append(make("dt", "", name), make("dd", "", String(value)));
    return list;
  }

  function tests(rows) {
    const head = make("tr", "", ...["test", "group", "outcome", "message"].map((name) => {
      const cell = make("th", "", name);
      cell.scope = "col";
      return cell;
    }));
    const lines = rows.map(([id, group, outcome, message]) => {
      const first = make("th", "", id);
      first.scope = "row";
      return make("tr", "", first, make("td", "", group), make("td", "", make("span", outcome, outcome)), make("td", "", message));
    });
    return make("table", "tests", make("thead", "", head), make("tbody", "", ...lines));
  }

  function link(text, unit) {
    const node = make("a", "", text);
    node.href = unit ? `#unit/${unit}` : "#";
    return node;
  }

  function bar(unit, one) {
    const nav = make("nav", "bar", link("All tasks"));
    nav.ariaLabel = "Rollouts";
    const rows = [...body.rows].filter((row) => !row.hidden).map((row) => row.querySelector("a").hash.slice(6));
    const place = rows.indexOf(one.siblings[0]);
    if (place > 0) nav.append(link("Previous task", rows[place - 1]));
    if (place >= 0 && place + 1 < rows.length) nav.append(link("Next task", rows[place + 1]));
    if (one.siblings.length > 1) {
      one.siblings.forEach((other, number) => {
        const to = link(`Attempt ${number + 1}`, other);
        if (other === unit) to.ariaCurrent = "page";
        nav.append(to);
      });
    }
    const button = make("button", "", "Expand all");
    button.type = "button";
    button.addEventListener("click", () => {
      const open = button.textContent === "Expand all";
      for (const node of page.querySelectorAll("details")) node.open = open;
      button.textContent = open ? "Collapse all" : "Expand all";
    });
    nav.append(button);
    return nav;
  }

  function show(unit, one) {
    const title = make("h1", "", one.task, " ", make("span", one.outcome, one.outcome));
    const parts = [bar(unit, one), title, facts(one.facts)];
    if (one.flags.length) {
      parts.push(make("h2", "", "Flags"));
      for (const [rule, weight, detail] of one.flags) parts.push(make("p", "", make("span", weight, `${rule} (${weight})`), ` ${detail}`));
    }
    parts.push(fold("", false, "Statement", "", make("pre", "", one.statement)));
    parts.push(make("h2", "", "Patch"));
    parts.push(one.patch ? diff(one.patch) : make("p", "quiet", "No change."));
    if (one.reference) parts.push(fold("", false, "Reference", "the known solution", diff(one.reference)));
    if (one.tests.length) parts.push(make("h2", "", "Tests"), make("p", "quiet", one.tested), tests(one.tests));
    parts.push(make("h2", "", "Steps"));
    if (!one.entries.length) parts.push(make("p", "quiet", "The agent kept no session log."));
    else if (!one.entries.some((step) => step[5].length)) {
      parts.push(make("p", "warn", "Too many rollouts for one file: the steps' texts are in the session logs alone."));
    }
    parts.push(...one.entries.map(entry));
    page.replaceChildren(...parts);
  }

  async function route() {
    const unit = location.hash.startsWith("#unit/") ? location.hash.slice(6) : "";
    if (unit && !data) data = await unpack();
    const one = unit && Object.hasOwn(data, unit) ? data[unit] : null;
    page.hidden = !one;
    overview.hidden = Boolean(one);
    if (one) {
      left = one.siblings[0];
      show(unit, one);
      page.focus();
      scrollTo(0, 0);
    } else if (left) {
      const row = [...body.rows].find((row) => row.querySelector("a").hash === `#unit/${left}`);
      left = null;
      if (row) row.querySelector("a").focus();
    }
    document.documentElement.dataset.ready = location.hash || "#"; // what is shown by now, for tests
  }

  addEventListener("hashchange", route);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !page.hidden) location.hash = "";
  });
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const node of closed) node.open = true;
  });
  addEventListener("afterprint", () => {
    for (const node of closed) node.open = false;
  });
  route();
})();
