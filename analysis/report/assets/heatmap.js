// Accuracy of every (target, bias) group as a table of colours, with the numbers in it.

// dark blue to yellow, of even steps in lightness, the same for the colour-blind
const RAMP = ["#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838"]
  .map((color) => [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16)));
const MANY_GROUPS = 16;  // columns beyond which a cell has no room for its number

/** The colour [r, g, b] of an accuracy in percent. */
function rampColor(percent) {
  const place = (Math.max(0, Math.min(100, percent)) / 100) * (RAMP.length - 1);
  const low = Math.min(RAMP.length - 2, Math.floor(place));
  return RAMP[low].map((value, channel) => Math.round(value + (RAMP[low + 1][channel] - value) * (place - low)));
}

function rampStyle(percent) {
  const [red, green, blue] = rampColor(percent);
  const dark = 0.299 * red + 0.587 * green + 0.114 * blue < 125;
  return `background: rgb(${red} ${green} ${blue}); color: ${dark ? "#ffffff" : "#000000"}`;
}

function groupCell(row, column, table, total, usual, names) {
  const where = `target ${names.target(row)}, bias ${names.bias(column)}`;
  const kind = usual ? "usual" : null;
  if (!total) return html("td", { class: ["empty", kind].filter(Boolean).join(" "), title: `${where}: no image` }, "-");
  const percent = table.accuracy[row][column];
  const title = `${where}: ${table.correct[row][column]} of ${total} correct (${percent.toFixed(1)} %)`;
  return html("td", { class: kind, title, style: rampStyle(percent) }, percent.toFixed(1));
}

/** `table` is {correct, accuracy}, `total` the group sizes, both [target][bias]; `aligned` marks the usual pairs. */
function heatmap(caption, table, total, aligned, classes, biases) {
  const names = { target: (index) => classes?.[index] ?? String(index), bias: (index) => biases?.[index] ?? String(index) };
  const columns = total[0].length;
  const known = columns > 1;  // without bias labels there is one column
  const labels = known ? total[0].map((_, index) => names.bias(index)) : ["all images"];
  const head = html("tr", {}, html("th", { scope: "col" }, known ? "target \\ bias" : "target"), labels.map((label) => html("th", { scope: "col" }, label)));
  const rows = total.map((sizes, row) => {
    const cells = sizes.map((size, column) => groupCell(row, column, table, size, known && aligned[row]?.[column], names));
    return html("tr", {}, html("th", { scope: "row" }, names.target(row)), cells);
  });
  const bar = `background: linear-gradient(to right, ${RAMP.map((color) => `rgb(${color.join(" ")})`).join(", ")})`;
  const legend = html("div", { class: "ramp" }, "0 %", html("span", { class: "bar", style: bar }), "100 %");
  if (known) legend.append(html("span", { class: "usual" }), "bias-aligned group");
  const grid = html("table", { class: columns > MANY_GROUPS ? "heatmap dense" : "heatmap" }, html("caption", {}, caption), html("thead", {}, head), html("tbody", {}, rows));
  return html("div", {}, html("div", { class: "scroll", tabindex: 0 }, grid), legend);
}
