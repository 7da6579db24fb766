// The list of all runs, unfinished ones too, and what could not be read.

const listing = { sort: { key: "started (UTC)", descending: true }, status: "", text: "" };

function duration(seconds) {
  if (seconds === null) return "";
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  return hours ? `${hours} h ${minutes} min` : minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

function statusText(run) {
  return html("span", { class: `status-${run.status}` }, run.state + (run.evaluates ? ", evaluates weights" : ""));
}

// header -> [value to sort by, what is shown]
const RUN_COLUMNS = {
  run: [(run) => run.id, runLink],
  method: [(run) => run.method, (run) => run.method],
  "data set": [(run) => run.data, (run) => run.data],
  variant: [(run) => run.variant, (run) => run.variant],
  protocol: [(run) => run.protocol, (run) => run.protocol ?? ""],
  seed: [(run) => run.seed, (run) => run.evaluates ? "-" : String(run.seed)],
  status: [(run) => run.status, statusText],
  "started (UTC)": [(run) => run.start, (run) => run.start ?? ""],
  took: [(run) => run.seconds, (run) => duration(run.seconds)],
};

function runTable(overview, draw) {
  const runs = overview.runs.filter((run) => {
    const words = `${run.id} ${run.method} ${run.data} ${run.variant} ${run.protocol ?? ""} ${run.status} seed ${run.seed}`;
    return (!listing.status || run.status === listing.status) && hasWords(words, listing.text);
  });
  runs.sort(comparing(RUN_COLUMNS[listing.sort.key][0], listing.sort.descending));
  const changed = (sort) => { listing.sort = sort; draw(); };
  const head = Object.keys(RUN_COLUMNS).map((name) => sortHeader(name, name, listing.sort, name === "seed" || name === "took", changed));
  const rows = runs.map((run) => html("tr", {}, Object.entries(RUN_COLUMNS).map(([name, [, shown]]) => html("td", { class: name === "seed" || name === "took" ? "number" : null }, shown(run)))));
  const caption = html("caption", { role: "status" }, `${runs.length} of ${overview.runs.length} runs`);
  return html("table", { class: "runs" }, caption, html("thead", {}, html("tr", {}, head)), html("tbody", {}, rows));
}

function problemList(overview) {
  const { problems, pictures_left_out: pictures } = overview;
  const notices = [];
  if (problems.length) notices.push(html("div", { class: "notice" }, "Records that could not be read, or only in part:", html("ul", {}, problems.map((problem) => html("li", {}, problem)))));
  if (pictures) notices.push(html("p", { class: "notice" }, `${pictures} pictures are left out: the page would be too large with them.`));
  return notices;
}

function runsPage(overview) {
  const place = html("div", { class: "scroll" });
  const draw = () => redrawn(place, () => place.replaceChildren(runTable(overview, draw)));
  const set = (name) => (value) => { listing[name] = value; draw(); };
  const controls = html("div", { class: "controls", role: "group", "aria-label": "Which runs are listed" },
    select("status", "status", choices(overview.runs, "status"), listing.status, set("status")),
    searchBox("containing", "text", listing.text, set("text")));
  draw();
  return [html("h1", { tabindex: -1 }, "Runs"), problemList(overview), controls, place].flat();
}
