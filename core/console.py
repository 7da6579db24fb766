"""Printing to the terminal. Control characters in text from records and data sets are escaped."""

import re
import sys
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

# except line feed and tab; the last ones change the text direction
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
WIDTH = 240  # characters per line if the output is not a terminal


def printable(text: str) -> str:
    r"""Escape control characters in `text` (`\x1b`), which could move the cursor or hide other text."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape", "backslashreplace").decode(), text)


def one_line(text: str) -> str:
    r"""`printable`, with line breaks as `\n`, too."""
    return printable(text).replace("\n", "\\n")


def plural(number: int, noun: str) -> str:
    """Format a count: "1 run", "1,200 runs"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class PrintableConsole(Console):
    """rich's console; text that is not a `rich.text.Text` goes through `printable`."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def new_table(title: str | None = None, caption: str | None = None) -> Table:
    """A table in the style of all commands."""
    left: Any = {"title_justify": "left", "caption_justify": "left"}
    return Table(title=title, caption=caption, title_style="bold", box=SIMPLE_HEAD, pad_edge=False, **left)


def show(*things: Any) -> None:
    """Print `things` to standard output. Tables are fitted to the width of a terminal; other text is not wrapped."""
    console = PrintableConsole(file=sys.stdout, highlight=False, markup=False, emoji=False)
    console.width = max(console.width, 80) if console.is_terminal else WIDTH
    for thing in things:
        console.print(thing, soft_wrap=isinstance(thing, (str, Text)) or not console.is_terminal)


def left_out(what: object) -> None:
    """Report on standard error what is left out, and why."""
    print(f"left out: {printable(str(what))}", file=sys.stderr)
