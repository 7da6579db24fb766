"""What commands print. Text from records and data sets is shown, never obeyed: control characters are written out."""

import re
import sys
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

# but for line feed and tab; the last ones turn the direction of what follows
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
WIDTH = 240  # characters of a line where no terminal says how wide it is


def printable(text: str) -> str:
    r"""`text` with control characters, which could move the cursor or hide what is there, as escapes (`\x1b`)."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape", "backslashreplace").decode(), text)


def one_line(text: str) -> str:
    r"""`printable`, with line breaks as `\n`, too."""
    return printable(text).replace("\n", "\\n")


class PrintableConsole(Console):
    """rich's console; all text that is no `rich.text.Text` goes through `printable`."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def new_table(title: str | None = None, caption: str | None = None) -> Table:
    """A table as all commands have it."""
    left: Any = {"title_justify": "left", "caption_justify": "left"}
    return Table(title=title, caption=caption, title_style="bold", box=SIMPLE_HEAD, pad_edge=False, **left)


def show(*things: Any) -> None:
    """Print to standard output, one below the other: on a terminal, tables as wide as it is; all else is unbroken."""
    console = PrintableConsole(file=sys.stdout, highlight=False, markup=False, emoji=False)
    console.width = max(console.width, 80) if console.is_terminal else WIDTH
    for thing in things:
        console.print(thing, soft_wrap=isinstance(thing, (str, Text)) or not console.is_terminal)


def left_out(what: object) -> None:
    """Say on standard error what is left out, and why."""
    print(f"left out: {printable(str(what))}", file=sys.stderr)
