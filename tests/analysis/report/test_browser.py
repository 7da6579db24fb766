"""The page as a reader has it, in a real browser: no error, no request, and the numbers where they belong."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.recorded import write_record
from tests.analysis.report.browser import Browser, chromium, running_browser
from tests.analysis.report.pages import write_page
from tests.conftest import Command

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium here: apt-get install chromium")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = chromium()
    assert program is not None
    with running_browser(program, tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def browser(running: Browser) -> Iterator[Browser]:
    """The browser; at the end of each test it must have had nothing to complain of, and nothing to fetch."""
    running.complaints.clear()
    running.requests.clear()
    running.resize(1200, 900)
    running.emulate()
    yield running
    assert running.ask("document.documentElement.scrollWidth <= window.innerWidth")
    assert running.complaints == []
    assert running.requests
    assert all(address.startswith(("file://", "data:")) for address in running.requests)


@pytest.fixture
def board(tmp_path: Path, browser: Browser) -> str:
    """The address of a page on three methods, two ratios and two protocols; the browser shows its leaderboard."""
    runs: list[dict[str, Any]] = [{"method": "erm", "seed": seed, "unbiased": 0.3 + 0.02 * seed} for seed in (1, 2, 3)]
    runs += [{"method": "lff", "unbiased": 0.57}, {"method": "lff", "unbiased": 0.82, "data": {"skew": 0.05}}]
    runs += [{"method": "denetdm", "unbiased": 0.70, "hparams": {"hand_over": "oracle_test_conflicting"}}]
    runs += [{"method": "erm", "unbiased": 0.9, "data": {"protocol": "holdout"}}]
    runs += [{"method": "disent", "status": "INTERRUPTED"}]
    for hour, run in enumerate(runs):
        write_record(tmp_path / "runs", start=f"2026-11-22T{hour:02}:00:00", **run)
    address = write_page(tmp_path / "runs", tmp_path)
    browser.open(address)
    return address


def rows(browser: Browser) -> list[list[str]]:
    """The leaderboard: each method, and the first line of its cells."""
    table: Any = browser.ask(
        "[...document.querySelectorAll('.board tbody tr')].map((row) => [...row.children]"
        ".map((cell) => cell.innerText.split('\\n')[0].replace(/[▸†]/g, '').trim()))"
    )
    return list(table)


def header(browser: Browser, part: str) -> str:
    """The selector of the header of the column whose name ends with `part`."""
    return f".board th[data-key$={part!r}]"


def test_leaderboard_is_sorted_by_its_headers(board: str, browser: Browser) -> None:
    assert rows(browser) == [
        ["erm", "90.00", "34.00 ± 2.00", "-"],
        ["lff", "-", "57.00", "82.00"],
        ["denetdm", "-", "70.00", "-"],
    ]
    column = header(browser, "0.005, severity 4, protocol published")
    orders = []
    for _ in range(2):
        browser.click(f"{column} button")
        orders.append(([row[0] for row in rows(browser)], browser.ask(f'document.querySelector("{column}").ariaSort')))
    assert orders == [(["denetdm", "lff", "erm"], "descending"), (["erm", "lff", "denetdm"], "ascending")]
    # what has no number is last, whatever the order; the keyboard does what the mouse does, and keeps its place
    browser.ask(f'document.querySelector("{header(browser, "protocol holdout")} button").focus()')
    browser.press("Enter")
    browser.press("Enter")
    assert rows(browser)[0][0] == "erm"
    assert browser.ask("document.activeElement.closest('th').dataset.key").endswith("protocol holdout")


def test_rule_and_metric_change_the_numbers(board: str, browser: Browser) -> None:
    assert "chosen on test images" not in " ".join(browser.texts(".board caption"))
    browser.choose("rule", "oracle_test_unbiased")
    assert rows(browser)[0] == ["erm", "62.50", "62.50 ± 0.00", "-"]
    assert "chosen on test images" in " ".join(browser.texts(".board caption"))
    browser.choose("metric", "test/conflicting")
    assert rows(browser)[0] == ["erm", "50.00", "50.00 ± 0.00", "-"]
    # the address leads others to the same numbers
    address = browser.ask("location.href")
    browser.call("Page.navigate", url="about:blank")
    browser.open(address)
    assert rows(browser)[0] == ["erm", "50.00", "50.00 ± 0.00", "-"]


def test_filters_hide_rows_and_columns(board: str, browser: Browser) -> None:
    browser.choose("method", "lff")
    assert rows(browser) == [["lff", "57.00", "82.00"]]
    browser.choose("variant", "skew 0.05, severity 4")
    assert rows(browser) == [["lff", "82.00"]]
    browser.choose("protocol", "holdout")
    assert rows(browser) == []
    assert "No run matches" in browser.ask("document.querySelector('main').innerText")
    for name in ("method", "variant", "protocol"):
        browser.choose(name, "")
    browser.choose("text", "DENET published")
    assert rows(browser) == [["denetdm", "70.00"]]


def test_a_cell_opens_the_list_of_its_runs(board: str, browser: Browser) -> None:
    browser.choose("method", "erm")
    browser.choose("protocol", "published")
    browser.ask("document.querySelector('.score').focus()")
    browser.press("Enter")
    assert browser.ask("document.querySelector('dialog').open")
    assert [text.split("\t")[:2] for text in browser.texts("dialog tbody tr")] == [
        ["1", "32.00"],
        ["2", "34.00"],
        ["3", "36.00"],
    ]
    assert "Published: 35.34 ± 0.13 (Sreelatha et al. 2024, Table 1). Ours minus published: -1.34" in " ".join(
        browser.texts("dialog p")
    )
    browser.press("Escape")
    browser.choose("method", "denetdm")
    browser.click(".score")
    assert "chosen on test images, whatever the rule" in " ".join(browser.texts("dialog p"))
    browser.click("dialog a")
    browser.wait_for("document.querySelector('#command') !== null")
    assert not browser.ask("document.querySelector('dialog').open")
    assert "denetdm on colored_mnist" in browser.texts("h1")[0]


def test_run_page_shows_curves_groups_and_settings(board: str, browser: Browser) -> None:
    run_id = browser.ask("overview.runs.find((run) => run.method === 'denetdm').id")
    browser.open(f"{board}#/run/{run_id}")
    browser.wait_for("document.querySelector('.heatmap') !== null")
    lines = browser.ask("[...document.querySelectorAll('#curves polyline')].map((l) => l.dataset.name)")
    assert lines == ["conflicting", "aligned", "unbiased"]
    # the second evaluation, by the keyboard; then a line more
    browser.ask("document.querySelector('#curves .chart > svg').focus()")
    browser.press("ArrowLeft")
    assert browser.texts(".reading")[0] == "epoch 2: conflicting 50.00 aligned 75.00 unbiased 62.50"
    browser.press("ArrowLeft")
    assert browser.texts(".reading")[0] == "epoch 1: conflicting 25.00 aligned 62.50 unbiased 43.75"
    browser.ask("[...document.querySelectorAll('.legend button')].find((b) => b.innerText === 'worst group').click()")
    assert len(browser.ask("[...document.querySelectorAll('#curves polyline')].map((l) => l.dataset.name)")) == 4
    assert browser.texts(".heatmap td") == ["100.0", "50.0", "50.0", "50.0"]
    titles = browser.ask("[...document.querySelectorAll('.heatmap td')].map((cell) => cell.title)")
    assert titles[1] == "target 0, bias 1: 1 of 2 correct (50.0 %)"
    assert browser.ask("document.querySelectorAll('.heatmap td.usual').length") == 2
    assert any(text.startswith("oracle_test_unbiased chosen on test images") for text in browser.texts("main tbody th"))
    browser.choose("setting", "hparams.q")
    assert browser.texts("details table.settings tr") == ["method.hparams.q\t0.7"]
    assert "method.name=denetdm" in browser.texts("#command")[0]


def test_the_list_has_unfinished_runs(board: str, browser: Browser) -> None:
    browser.open(f"{board}#/runs")
    browser.wait_for("document.querySelector('table.runs') !== null")
    assert len(browser.texts("table.runs tbody tr")) == 8
    browser.choose("status", "interrupted")
    (text,) = browser.texts("table.runs tbody tr")
    assert "disent" in text
    browser.click("table.runs tbody a")
    browser.wait_for("document.querySelector('#command') !== null")
    browser.open(f"{board}#/run/none")
    browser.wait_for("document.querySelector('h1').innerText === 'No such run'")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_legible_and_fits_a_phone(board: str, browser: Browser, theme: str) -> None:
    browser.resize(390, 800)
    browser.emulate(prefers_color_scheme=theme)
    colors = browser.ask("['color', 'backgroundColor'].map((n) => getComputedStyle(document.body)[n])")
    light, dark = sorted(sum(map(int, color[4:-1].split(","))) for color in colors)[::-1]
    assert light - dark > 500
    browser.emulate("print")
    assert browser.ask("getComputedStyle(document.querySelector('.controls')).display") == "none"
    browser.emulate()


def test_names_are_text(tmp_path: Path, browser: Browser) -> None:
    name = "<img src=x onerror='alert(1)'></script>&amp;"
    write_record(tmp_path / "runs", method=name, data={"name": name})
    browser.open(write_page(tmp_path / "runs", tmp_path))
    assert rows(browser)[0][0] == name
    browser.click(".score")
    browser.click("dialog a")
    browser.wait_for("document.querySelector('#command') !== null")
    assert name in browser.texts("h1")[0]
    assert browser.ask("document.querySelectorAll('main img').length") == 0


def test_a_real_run(command: Command, tmp_path: Path, browser: Browser) -> None:
    command("with", "digits", "smoke", "method=denetdm")
    command("report", "--out", "shown", data=False)
    address = (tmp_path / "shown" / "report.html").as_uri()
    browser.open(address)
    browser.click(".score")
    browser.click("dialog a")
    browser.wait_for("document.querySelector('#command') !== null")
    titles = browser.texts("#curves figcaption")
    assert titles[0] == "separate: shallow, test accuracy (%)"
    assert len(titles) == 6
    browser.choose("split", "valid")
    browser.choose("branch", "deep")
    assert "valid accuracy (%) of each group, branch deep" in browser.texts(".heatmap caption")[0]
    assert browser.ask("document.querySelectorAll('.heatmap td').length") == 100
    browser.wait_for("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert browser.ask("document.images.length") == 2
