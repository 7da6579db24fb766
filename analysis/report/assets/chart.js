// Line charts as inline SVG: hover, touch or the arrow keys read the values.

const WIDTH = 460, HEIGHT = 250, LEFT = 44, RIGHT = 12, TOP = 10, BOTTOM = 34;

const METRIC_STYLES = {
  conflicting: { color: "var(--blue)", dash: null },
  aligned: { color: "var(--vermilion)", dash: "6 4" },
  unbiased: { color: "var(--green)", dash: "10 3 2 3" },
  worst_group: { color: "var(--pink)", dash: "2 3" },
  accuracy: { color: "var(--amber)", dash: "12 4" },
};
const OTHER_STYLES = Object.values(METRIC_STYLES);

/** `count` or so round numbers that cover [low, high]. */
function ticks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const marks = [];
  for (let mark = first; mark * step <= high + step * 1e-9; mark += 1) marks.push(Number((mark * step).toPrecision(12)));
  return marks;
}

function compact(value) {
  return Math.abs(value) >= 10000 ? `${value / 1000}k` : String(value);
}

/** The part of a chart that depends on which lines are shown. */
function drawLines(chart, shown) {
  const { x, series, range, at, atLabel } = chart;
  const values = shown.flatMap((line) => line.values).filter((value) => value !== null);
  const [low, high] = range ?? [Math.min(0, ...values), Math.max(1e-9, ...values)];
  const [first, last] = [x[0], x[x.length - 1]];
  const left = (value) => (last === first ? (LEFT + WIDTH - RIGHT) / 2 : LEFT + ((value - first) / (last - first)) * (WIDTH - LEFT - RIGHT));
  const top = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low || 1)) * (HEIGHT - TOP - BOTTOM);
  const layer = svg("g", {});
  for (const mark of ticks(low, high, 5)) {
    layer.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: top(mark), y2: top(mark) }));
    layer.append(svg("text", { x: LEFT - 6, y: top(mark) + 4, "text-anchor": "end" }, String(mark)));
  }
  const xMarks = last === first ? [first] : ticks(first, last, 6).filter(Number.isInteger);
  for (const mark of xMarks) layer.append(svg("text", { x: left(mark), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, compact(mark)));
  layer.append(svg("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, chart.xLabel));
  if (at !== null && at !== undefined) {
    layer.append(svg("line", { class: "at", x1: left(at), x2: left(at), y1: TOP, y2: HEIGHT - BOTTOM }, svg("title", {}, atLabel)));
  }
  for (const line of shown) {
    const known = x.map((place, index) => [place, line.values[index]]).filter(([, value]) => value !== null);
    const points = known.map(([place, value]) => `${left(place).toFixed(1)},${top(value).toFixed(1)}`);
    const style = { stroke: line.style.color, "stroke-dasharray": line.style.dash };
    if (points.length === 1) {
      const [cx, cy] = points[0].split(",");
      layer.append(svg("circle", { cx, cy, r: 3.5, fill: line.style.color, "data-name": line.name }));
    } else layer.append(svg("polyline", { class: "line", points: points.join(" "), "data-name": line.name, ...style }));
  }
  return { layer, left, count: series[0].values.length };
}

function legendSample(style) {
  const line = svg("line", { x1: 0, x2: 26, y1: 4, y2: 4, "stroke-width": 2.5, stroke: style.color, "stroke-dasharray": style.dash });
  return svg("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" }, line);
}

function valueTable(chart) {
  const head = html("tr", {}, html("th", { scope: "col" }, chart.xLabel), chart.series.map((line) => html("th", { scope: "col", class: "number" }, line.label)));
  const rows = chart.x.map((place, index) =>
    html("tr", {}, html("th", { scope: "row" }, String(place)), chart.series.map((line) => html("td", { class: "number" }, chart.text(line.values[index])))),
  );
  return html("div", { class: "scroll", tabindex: 0 }, html("table", {}, html("thead", {}, head), html("tbody", {}, rows)));
}

/**
 * A figure with one line for each of `series` ({name, label, values, style, hidden}) over `x`; `range` of y, or null: as
 * the values need; `text` writes a value; `at` is a marked place on x.
 */
function lineChart(chart) {
  const shown = new Set(chart.series.filter((line) => !line.hidden));
  const reading = html("div", { class: "reading", "aria-live": "polite" });
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0, "aria-label": `${chart.title}; arrow keys read the values` });
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  let drawn, index = null;
  const draw = () => {
    drawn = drawLines(chart, chart.series.filter((line) => shown.has(line)));
    picture.replaceChildren(drawn.layer, cursor);
  };
  const read = (position) => {
    index = Math.max(0, Math.min(drawn.count - 1, position));
    const place = drawn.left(chart.x[index]);
    fill(cursor, { x1: place, x2: place, visibility: "visible" }, []);
    const lines = chart.series.filter((line) => shown.has(line));
    const parts = lines.map((line) => [` ${line.label} `, html("b", {}, chart.text(line.values[index]))]);
    reading.replaceChildren(...[`${chart.xLabel} ${chart.x[index]}:`, parts].flat(3));
  };
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * WIDTH;
    const distances = chart.x.map((value) => Math.abs(drawn.left(value) - place));
    read(distances.indexOf(Math.min(...distances)));
  });
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    read(index === null ? (step > 0 ? 0 : drawn.count - 1) : index + step);
  });
  const toggle = (line, button) => {
    if (shown.has(line)) shown.delete(line);
    else shown.add(line);
    button.setAttribute("aria-pressed", String(shown.has(line)));
    draw();
    if (index !== null) read(index);
  };
  const legend = chart.series.map((line) => {
    const button = html("button", { type: "button", "aria-pressed": String(shown.has(line)) }, legendSample(line.style), line.label);
    button.addEventListener("click", () => toggle(line, button));
    return button;
  });
  draw();
  const values = html("details", { ontoggle: () => values.children.length > 1 || values.append(valueTable(chart)) }, html("summary", {}, "values"));
  return html("figure", { class: "chart" }, html("figcaption", {}, chart.title), html("div", { class: "legend" }, legend), picture, reading, values);
}
