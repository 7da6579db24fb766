// Methods by data sets: every number comes with the page; here they are chosen, sorted and filtered.

const board = { sort: { key: null, descending: true }, method: "", data: "", variant: "", protocol: "", text: "" };

function boardCells(content) {
  const { rows, columns, tables } = content;
  const cells = tables[board.rule]?.[board.metric] ?? [];
  return cells.filter((cell) => {
    const [row, column] = [rows[cell.row], columns[cell.column]];
    const meets = ["data", "variant", "protocol"].every((name) => !board[name] || column[name] === board[name]);
    const words = `${row.name} ${column.name} ${column.protocol ?? ""}`;
    return meets && (!board.method || row.method === board.method) && hasWords(words, board.text);
  });
}

function choices(items, name) {
  const values = [...new Set(items.map((item) => item[name]).filter((value) => value !== null && value !== ""))].sort();
  return [["", "all"], ...values.map((value) => [value, value])];
}

function ruleOptions(rules) {
  const option = (rule) => [rule.name, rule.oracle ? `${rule.name} (test images)` : rule.name];
  const [oracle, honest] = [rules.filter((rule) => rule.oracle), rules.filter((rule) => !rule.oracle)];
  const groups = [{ group: "chosen without test images", options: honest.map(option) }];
  if (oracle.length) groups.push({ group: "chosen on test images", options: oracle.map(option) });
  return groups;
}

function boardControls(content, draw) {
  const set = (name) => (value) => { board[name] = value; draw(); };
  return html("div", { class: "controls", role: "group", "aria-label": "What the leaderboard shows" },
    select("selection rule", "rule", ruleOptions(content.rules), board.rule, set("rule")),
    select("metric", "metric", content.metrics.map((metric) => [metric.name, metric.label]), board.metric, set("metric")),
    select("method", "method", choices(content.rows, "method"), board.method, set("method")),
    select("data set", "data", choices(content.columns, "data"), board.data, set("data")),
    select("variant", "variant", choices(content.columns, "variant"), board.variant, set("variant")),
    select("protocol", "protocol", choices(content.columns, "protocol"), board.protocol, set("protocol")),
    searchBox("containing", "text", board.text, set("text")));
}

/** Below the name of the data: the variant, and on how many images it was judged where not on all. */
function columnLabel(column) {
  const [first, ...rest] = column.name.split(", ");
  const limit = column.limit ? html("small", {}, `judged on ${column.limit} images`) : "";
  return { name: first, below: [html("small", {}, rest.join(", ")), limit] };
}

function scoreButton(cell, best, overview) {
  const oracle = cell.runs.some((index) => overview.runs[index].oracle.length);
  const lines = [html("span", { class: "mean" }, cell.text, oracle ? " †" : ""), html("small", {}, `n = ${cell.runs.length}`)];
  if (cell.paper) lines.push(html("small", {}, `paper ${cell.paper.text} (${cell.paper.difference})`));
  if (cell.p) lines.push(html("small", {}, cell.p));
  return html("button", { class: best ? "score best" : "score", type: "button", onclick: () => showCell(cell, overview) }, lines);
}

function boardTable(overview, cells, draw) {
  const content = overview.leaderboard;
  const at = new Map(cells.map((cell) => [`${cell.row},${cell.column}`, cell]));
  const rows = [...new Set(cells.map((cell) => cell.row))].sort((a, b) => a - b);
  const columns = [...new Set(cells.map((cell) => cell.column))].sort((a, b) => a - b);
  const { key, descending } = board.sort;
  if (key === "method") rows.sort(comparing((row) => content.rows[row].name, descending));
  else if (key !== null) rows.sort(comparing((row) => at.get(`${row},${content.columns.findIndex((column) => column.name === key)}`)?.mean, descending));
  const best = new Map(columns.map((column) => {
    const means = cells.filter((cell) => cell.column === column).map((cell) => cell.mean);
    const chosen = content.metrics.find((item) => item.name === board.metric)?.lower ? Math.min : Math.max;
    return [column, means.length > 1 ? chosen(...means) : null];
  }));
  const changed = (sort) => { board.sort = sort; draw(); };
  const head = html("tr", {}, sortHeader("method", "method", board.sort, false, changed),
    columns.map((column) => sortHeader(columnLabel(content.columns[column]), content.columns[column].name, board.sort, true, changed)));
  const body = rows.map((row) => html("tr", {}, html("th", { scope: "row" }, content.rows[row].name), columns.map((column) => {
    const cell = at.get(`${row},${column}`);
    const isBest = cell && cell.mean === best.get(column);
    return html("td", {}, cell ? scoreButton(cell, isBest, overview) : html("span", { class: "none" }, "-"));
  })));
  return html("table", { class: "board" }, boardCaption(content), html("thead", {}, head), html("tbody", {}, body));
}

function boardCaption(content) {
  const rule = content.rules.find((item) => item.name === board.rule);
  const metric = content.metrics.find((item) => item.name === board.metric);
  const text = `${metric.label} (${metric.unit}), mean ± standard deviation over seeds; weights by the rule ${rule.name} `;
  return html("caption", {}, text, rule.oracle ? oracleBadge() : "");
}

/** The runs of a cell, in a dialog. */
function showCell(cell, overview) {
  const content = overview.leaderboard;
  const dialog = document.getElementById("cell");
  const close = html("button", { class: "close", type: "button", onclick: () => dialog.close() }, "close");
  const rule = content.rules.find((item) => item.name === board.rule);
  const oracle = [...new Set(cell.runs.flatMap((index) => overview.runs[index].oracle))];
  const rows = cell.runs.map((index, position) => {
    const run = overview.runs[index];
    return html("tr", {}, html("td", {}, String(run.seed)), html("td", { class: "number" }, cell.values[position]), html("td", {}, runLink(run)), html("td", {}, run.start ?? ""));
  });
  const head = html("tr", {}, ["seed", "value", "run", "started (UTC)"].map((label, index) => html("th", { scope: "col", class: index === 1 ? "number" : null }, label)));
  dialog.replaceChildren(close,
    html("h2", { id: "cell-title" }, `${content.rows[cell.row].name}: ${cell.text}`),
    html("p", { class: "quiet" }, `${content.columns[cell.column].name}; ${board.metric}, rule ${rule.name} `, rule.oracle ? oracleBadge() : ""),
    html("div", { class: "scroll" }, html("table", {}, html("thead", {}, head), html("tbody", {}, rows))),
    oracle.length ? html("p", { class: "notice" }, `† ${oracle.join("; ")}: weights of an earlier phase were chosen on test images, whatever the rule`) : "",
    cell.paper ? html("p", {}, `Published: ${cell.paper.text} (${cell.paper.source}). Ours minus published: ${cell.paper.difference} points. ${cell.paper.how}`) : "",
    cell.interval ? html("p", {}, cell.interval) : "",
    cell.test ? html("p", {}, cell.test) : "",
    html("p", { class: "quiet" }, cell.labels),
    ...(cell.notes ?? []).map((note) => html("p", { class: "notice" }, note)));
  dialog.showModal();
}

function boardNotes(cells, overview) {
  const oracle = cells.some((cell) => cell.runs.some((index) => overview.runs[index].oracle.length));
  const notes = ["Only runs that differ in nothing but their seed share a cell; if a seed was repeated, its last run counts. Click a value for its runs, its interval and the bias labels used. ▸ marks the best of a column."];
  if (cells.some((cell) => cell.paper)) notes.push("Click a value to see how the paper selected its number, and what limits the comparison.");
  if (oracle) notes.push("† An earlier phase of these runs selected its weights on test images, whatever the rule.");
  return notes.map((note) => html("p", { class: "quiet small" }, note));
}

function leaderboardPage(overview) {
  const content = overview.leaderboard;
  const title = html("h1", { tabindex: -1 }, "Leaderboard");
  if (!content.rules.length) return [title, html("p", {}, "None of these runs has a result yet: see ", html("a", { href: "#/runs" }, "all runs"), ".")];
  if (!content.tables[board.rule]) board.rule = content.rules[0].name;
  if (!content.metrics.some((metric) => metric.name === board.metric)) board.metric = content.metrics[0].name;
  const place = html("div", {});
  const draw = () => redrawn(place, () => {
    const cells = boardCells(content);
    const parts = cells.length ? [html("div", { class: "scroll" }, boardTable(overview, cells, draw)), boardNotes(cells, overview)]
      : [html("p", { role: "status" }, "No run matches: choose another metric or rule, or fewer conditions.")];
    place.replaceChildren(...parts.flat());
    rememberBoard();
  });
  draw();
  return [title, boardControls(content, draw), place];
}
