// One run: results of all rules, curves, groups, pictures, settings, environment, and how to repeat it.

const METRIC_LABELS = { worst_group: "worst group", accuracy: "all images", align_conflict_harmonic: "harmonic mean" };

function factList(facts) {
  const shown = facts.filter(([, value]) => value !== null && value !== "");
  return html("dl", { class: "facts" }, shown.map(([name, value]) => html("div", {}, html("dt", {}, name), html("dd", {}, value))));
}

function resultTable(page, view) {
  const head = html("tr", {}, ["rule", "phase", "epoch", "step"].map((label, index) => html("th", { scope: "col", class: index > 1 ? "number" : null }, label)),
    page.metrics.map((metric) => html("th", { scope: "col", class: "number" }, METRIC_LABELS[metric] ?? metric)));
  const rows = Object.entries(page.rules).map(([name, rule]) => {
    const accuracies = rule.accuracies[view.split]?.[view.branch] ?? page.metrics.map(() => "-");
    const cells = [rule.phase, rule.epoch, rule.step].map((value, index) => html("td", { class: index ? "number" : null }, String(value ?? "")));
    const label = html("th", { scope: "row" }, name, " ", rule.oracle ? oracleBadge() : "");
    return html("tr", { class: name === view.rule ? "chosen" : null }, label, cells, accuracies.map((text) => html("td", { class: "number" }, text)));
  });
  const caption = html("caption", {}, `metrics (%; nll in nats) on ${view.split}, branch ${view.branch}`);
  return html("div", { class: "scroll" }, html("table", {}, caption, html("thead", {}, head), html("tbody", {}, rows)));
}

/** x and its name: epochs, or steps where several evaluations share an epoch. */
function axisOf(phase) {
  const rising = phase.epochs.every((epoch, index) => index === 0 || epoch > phase.epochs[index - 1]);
  return rising ? { x: phase.epochs, xLabel: "epoch" } : { x: phase.steps, xLabel: "step" };
}

function accuracyCharts(page, view) {
  const chosen = page.rules[view.rule];
  return page.phases.flatMap((phase) => Object.entries(phase.accuracies[view.split] ?? {}).map(([branch, metrics]) => {
    const position = phase.steps.indexOf(chosen?.step);
    const axis = axisOf(phase);
    const known = Object.keys(metrics);
    const main = known.some((name) => name === "conflicting" || name === "aligned") ? ["conflicting", "aligned", "unbiased"] : known;
    const series = known.map((name) => ({ name, label: METRIC_LABELS[name] ?? name, values: metrics[name], style: METRIC_STYLES[name], hidden: !main.includes(name) }));
    if (!series.length) return null;
    const at = phase.name === chosen?.phase && position >= 0 ? axis.x[position] : null;
    const text = (value) => (value === null ? "-" : value.toFixed(2));
    return lineChart({ title: `${phase.name}: ${branch}, ${view.split} accuracy (%)`, ...axis, series, range: [0, 100], text, at, atLabel: `chosen by ${view.rule}` });
  })).filter(Boolean);
}

function trainingCharts(page) {
  const text = (value) => (value === null ? "-" : String(value));
  return page.phases.flatMap((phase) => [["mean training losses", phase.losses], ["training samples", phase.diagnostics]].map(([what, lines]) => {
    const series = Object.entries(lines).map(([name, values], index) => ({ name, label: name, values, style: OTHER_STYLES[index % OTHER_STYLES.length] }));
    return series.length ? lineChart({ title: `${phase.name}: ${what}`, ...axisOf(phase), series, range: null, text }) : null;
  })).filter(Boolean);
}

function groupMap(page, view) {
  const step = page.rules[view.rule]?.step;
  const table = page.groups.by_step[String(step)]?.[view.split]?.[view.branch];
  if (!table) return html("p", { class: "quiet" }, "No group counts of this split and branch.");
  const rule = page.rules[view.rule];
  const caption = `${view.split} accuracy (%) of each group, branch ${view.branch}, rule ${rule.label}, ${rule.phase} epoch ${rule.epoch}`;
  return heatmap(caption, table, page.groups.total[view.split], page.groups.aligned, page.classes, page.biases);
}

/** Settings in folds by what they belong to; `text` leaves only those that contain it. */
function settingFolds(config, text) {
  const folds = {};
  for (const [name, value] of config) {
    if (!hasWords(`${name}=${value}`, text)) continue;
    const group = name.includes(".") ? name.split(".")[0] : "run";
    (folds[group] ??= []).push(html("tr", {}, html("td", {}, name), html("td", {}, value)));
  }
  const found = Object.entries(folds).map(([group, rows]) => html("details", { open: text !== "" || group === "method" },
    html("summary", {}, `${group} (${rows.length})`), html("table", { class: "settings" }, html("tbody", {}, rows))));
  return found.length ? found : [html("p", {}, "no such setting")];
}

function settingsSection(page) {
  const place = html("div", {});
  const draw = (text) => place.replaceChildren(...settingFolds(page.config, text));
  draw("");
  return [html("h2", {}, "Settings"), html("div", { class: "controls" }, searchBox("setting containing", "setting", "", draw)), place];
}

function pictureSection(page, contents) {
  if (!page.pictures.length) return [];
  const figures = page.pictures.map(({ name, content }) => html("figure", {}, html("figcaption", { class: "quiet small" }, name), html("img", { src: contents[content], alt: `${name} of this run` })));
  return [html("h2", {}, "Pictures"), html("div", { class: "pictures" }, figures)];
}

/** The last phase's evaluations (they have the prediction first) and the recorded results, as split -> branch. */
function measuredOf(page) {
  return [page.phases.at(-1)?.accuracies ?? {}, ...Object.values(page.rules).map((rule) => rule.accuracies)];
}

function splitsOf(page) {
  return [...new Set(measuredOf(page).flatMap(Object.keys))];
}

function viewControls(page, view, draw) {
  const splits = splitsOf(page);
  const branches = [...new Set(measuredOf(page).flatMap((accuracies) => Object.keys(accuracies[view.split] ?? {})))];
  if (!branches.includes(view.branch)) [view.branch] = branches;
  const set = (name) => (value) => { view[name] = value; draw(); };
  const rules = Object.entries(page.rules).map(([name, rule]) => ({ name, oracle: rule.oracle }));
  return html("div", { class: "controls", role: "group", "aria-label": "What is shown of this run" },
    rules.length ? select("selection rule", "rule", ruleOptions(rules), view.rule, set("rule")) : "",
    select("split", "split", splits.map((name) => [name, name]), view.split, set("split")),
    branches.length > 1 ? select("branch", "branch", branches.map((name, index) => [name, index ? name : `${name} (prediction)`]), view.branch, set("branch")) : "");
}

function measured(page) {
  const rules = Object.keys(page.rules);
  const splits = splitsOf(page);
  if (!splits.length) return [html("p", { class: "notice" }, "This record has no evaluations.")];
  const view = { rule: rules.includes(board.rule) ? board.rule : rules[0], split: splits.includes("test") ? "test" : splits[0] };
  const place = html("div", {});
  const draw = () => {
    const active = place.contains(document.activeElement) ? document.activeElement.name : null;
    const controls = viewControls(page, view, draw);
    const labels = html("p", { class: "quiet small", id: "labels" }, `${view.rule}: ${page.rules[view.rule]?.bias_labels}`);
    const results = rules.length ? [html("h2", {}, "Results"), resultTable(page, view), labels] : [];
    const thinned = page.phases.some((phase) => phase.epochs.length < phase.evaluations);
    const curves = [html("h2", {}, "Curves"), html("div", { class: "charts", id: "curves" }, accuracyCharts(page, view)),
      thinned ? html("p", { class: "quiet small" }, "Of long curves some evaluations are left out here, evenly; the record has all.") : ""];
    const groups = rules.length ? [html("h2", {}, "Groups"), groupMap(page, view)] : [];
    place.replaceChildren(...[controls, results, curves, groups].flat().filter(Boolean));
    if (active) place.querySelector(`[name="${active}"]`)?.focus();
  };
  draw();
  const training = trainingCharts(page);
  return [place, training.length ? [html("h2", {}, "Training"), html("div", { class: "charts" }, training)] : []].flat();
}

function runPage(overview, position) {
  const [run, page] = [overview.runs[position], data(`run-${position}`)];
  const facts = [["run", run.id], ["status", statusText(run)], ["method", run.method], ["recipe", run.recipe], ["data set", run.data], ["variant", run.variant],
    ["protocol", run.protocol], ["seed", run.evaluates ? null : String(run.seed)], ["started (UTC)", run.start], ["took", duration(run.seconds)]];
  const environment = page.environment.map(([name, value]) => html("tr", {}, html("td", {}, name), html("td", {}, value)));
  return [
    html("h1", { tabindex: -1 }, page.title),
    factList(facts),
    run.oracle.length ? html("p", { class: "notice" }, `${run.oracle.join("; ")}: weights of an earlier phase were chosen on test images, whatever the rule.`) : "",
    measured(page),
    pictureSection(page, data("pictures")),
    settingsSection(page),
    html("h2", {}, "Environment"),
    html("div", { class: "scroll" }, html("table", { class: "settings" }, html("tbody", {}, environment))),
    html("h2", {}, "Repeat it"),
    html("pre", { tabindex: 0, id: "command" }, page.command),
  ].flat().filter((part) => part !== "");
}
