"""Column names of a CSV of images: ours, and the mapping from a user's names to them."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from debiaslab.core.errors import UserError, require_known, suggestion

REQUIRED = ("path", "target")
INFERRED_BIAS = "bias_inferred"
COLUMNS = (*REQUIRED, "bias", "split", "aligned", INFERRED_BIAS)
FURTHER_BIAS = "bias "  # prefix of our names for the second and further bias columns


def parse_columns(text: str) -> dict[str, list[str]]:
    """Parse "target=label,bias=gender+age" into our column names -> those in the CSV. Raises `UserError`."""
    found: dict[str, list[str]] = {}
    for part in text.split(","):
        ours, separator, theirs = (word.strip() for word in part.partition("="))
        names = [name.strip() for name in theirs.split("+")] if ours == "bias" else [theirs]
        if not separator or not all(names):
            raise UserError(f"data.columns={text}: write OURS=THEIRS,OURS=THEIRS, as in target=label,bias=gender+age")
        require_known("column", ours, COLUMNS, "data.columns=")
        if ours in found:
            raise UserError(f"data.columns={text}: {ours} comes twice; several bias columns are bias=A+B")
        found[ours] = names
    return found


def our_names(file: Path, header: Sequence[str], names: Mapping[str, Sequence[str]], setting: str) -> list[str | None]:
    """Our name for each column of a CSV; None for columns that are ignored. Raises `UserError` for a missing one.

    `setting` names the file; the user has chosen `names` if it is data.csv.
    """
    ours: dict[str, str] = {}
    for name, theirs in names.items():
        for number, column in enumerate(theirs):
            if column not in header:
                given = f"data.columns={name}={column}: {file} has no such column"
                missing = given if setting == "data.csv" else f"{file}, line 1: no column {column!r}"
                raise UserError(f"{missing}{suggestion(column, header)} columns: {', '.join(header)}")
            ours[column] = name if number == 0 else f"{FURTHER_BIAS}{number + 1}"
    known = {column: column for column in COLUMNS if column not in names}
    return [(known | ours).get(column) for column in header]


def ignored_columns(file: Path, found: Sequence[str], header: Sequence[str | None]) -> tuple[str, ...]:
    """A note that lists the columns which are ignored."""
    absent = [name for name in COLUMNS if name not in header]
    shown = []
    for column, ours in zip(found, header, strict=True):
        if ours is None:
            near = get_close_matches(column.lower(), absent, n=1, cutoff=0.7)
            shown.append(f"{column} (did you mean {near[0]}?)" if near else column)
    return (f"{file}: ignored columns: {', '.join(shown)}",) if shown else ()
