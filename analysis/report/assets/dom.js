// Elements and small pieces that every page uses. Text is only ever set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

/** An HTML element; attributes that start with "on" are listeners. */
function html(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** The JSON block of that name in this file. */
function data(name) {
  return JSON.parse(document.getElementById(name).textContent);
}

/** A labelled <select>; `options` are [value, text] or {group, options}. */
function select(label, name, options, value, changed) {
  const option = ([key, text]) => html("option", { value: key, selected: key === value }, text);
  const entries = options.map((item) =>
    Array.isArray(item) ? option(item) : html("optgroup", { label: item.group }, item.options.map(option)),
  );
  const box = html("select", { name, onchange: (event) => changed(event.target.value) }, entries);
  return html("label", {}, label, box);
}

function searchBox(label, name, value, changed) {
  const box = html("input", { type: "search", name, value, oninput: (event) => changed(event.target.value) });
  return html("label", {}, label, box);
}

function oracleBadge() {
  return html("span", { class: "badge" }, "chosen on test images");
}

function runLink(run) {
  return html("a", { href: `#/run/${encodeURIComponent(run.id)}` }, run.id);
}

/** The next sorting after a click on `key`: descending first where numbers are sorted. */
function nextSort(sort, key, numeric) {
  if (sort.key === key) return { key, descending: !sort.descending };
  return { key, descending: numeric };
}

/** A <th> whose button sorts; `label` is text, or {name, below}. */
function sortHeader(label, key, sort, numeric, changed) {
  const order = sort.key === key ? (sort.descending ? "descending" : "ascending") : "none";
  const { name, below } = typeof label === "string" ? { name: label, below: [] } : label;
  const button = html("button", { class: "sort", type: "button", onclick: () => changed(nextSort(sort, key, numeric)) },
    html("span", { class: "label" }, name), below);
  return html("th", { scope: "col", "aria-sort": order, class: numeric ? "number" : null, "data-key": key }, button);
}

/** Compares by `value(item)`; what has no value comes last in either direction. */
function comparing(value, descending) {
  return (first, second) => {
    const [a, b] = [value(first), value(second)];
    const [noA, noB] = [a === null || a === undefined, b === null || b === undefined];
    if (noA || noB) return Number(noA) - Number(noB);
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return descending ? -order : order;
  };
}

/** Whether all words of `text` occur in `haystack`, whatever the case. */
function hasWords(haystack, text) {
  const lower = haystack.toLowerCase();
  return text.toLowerCase().split(/\s+/).every((word) => lower.includes(word));
}

/** Sets focus back on the control of the same place after a table was drawn anew. */
function redrawn(place, draw) {
  const active = document.activeElement;
  const key = place.contains(active) ? active.closest("[data-key]")?.dataset.key : undefined;
  draw();
  if (key !== undefined) place.querySelector(`[data-key="${CSS.escape(key)}"] button`)?.focus();
}
