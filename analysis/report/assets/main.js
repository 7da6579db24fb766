// The address after "#" says which page: "/", "/runs" or "/run/ID", with "?rule=...&metric=..." for the leaderboard.

const overview = data("overview");

function rememberBoard() {
  const words = new URLSearchParams({ rule: board.rule, metric: board.metric });
  if (location.hash.split("?")[0].match(/^(#\/?)?$/)) history.replaceState(null, "", `#/?${words}`);
}

function pageOf(path) {
  if (path === "/runs") return runsPage(overview);
  if (path.startsWith("/run/")) {
    const id = decodeURIComponent(path.slice("/run/".length));
    const position = overview.runs.findIndex((run) => run.id === id);
    if (position >= 0) return runPage(overview, position);
    return [html("h1", { tabindex: -1 }, "No such run"), html("p", {}, `${id} is not in this report: see `, html("a", { href: "#/runs" }, "all runs"), ".")];
  }
  return leaderboardPage(overview);
}

function show() {
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  const words = new URLSearchParams(query ?? "");
  for (const name of ["rule", "metric"]) if (words.has(name)) board[name] = words.get(name);
  document.getElementById("cell").close();
  const main = document.getElementById("main");
  main.replaceChildren(...pageOf(path));
  const title = main.querySelector("h1");
  document.title = `${title.textContent} - debiaslab`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === (path === "/runs" ? "#/runs" : path.startsWith("/run/") ? "" : "#/")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  return title;
}

Object.assign(board, overview.first);
document.getElementById("about").textContent = overview.about;
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
window.addEventListener("hashchange", () => {
  const title = show();
  window.scrollTo(0, 0);
  title.focus();
});
show();
