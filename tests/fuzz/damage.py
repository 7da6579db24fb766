"""Ways to damage a file of JSON, JSON lines or bytes."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP]

ODD: list[Any] = [
    *(None, True, False, -1, 0, 1, 3.7, 10**25, 10**400, -(10**400), 1e308, float("nan"), float("inf")),
    *("", "x", "0", "é\u0301", "\ud800", "\x00", "\x1b[31mred\x1b[0m", "\u202e", "a\nb\r\tc", "a" * 70_000),
    *("=1+1", "@SUM(A1)", "-1", "| a | b |", "<script>alert(1)</script>", r"\input{/etc/passwd}$%&#_^~{}", "*_`[x](y)"),
    *("../../secret", "/etc/passwd", "last", "oracle_test_nothing", "test", "2026-99-99", "9999-12-31T23:59:59"),
    *([], {}, [None], [[]], [[None]], [1, [2, "3"]], {"": None}, {"a": {"b": None}}, {"name": []}, ["../secret"], DEEP),
]
ODD_KEYS = ["", "x", "a.b", "$set", "\x00", "\ud800", "test/x", "test/a/b/c", "../secret", "=1", "\x1b[31m", "é"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


def mutated(value: Any, random: Random) -> Any:
    """A JSON value with one of its values replaced, renamed, left out, or repeated."""
    path = random.choice(places(value))
    if not path:
        return random.choice(ODD)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    how = random.choice(("replace", "replace", "replace", "leave out", "rename", "wrap", "repeat"))
    if how == "leave out":
        del holder[path[-1]]
    elif how == "rename" and isinstance(holder, dict):
        holder[random.choice(ODD_KEYS)] = holder.pop(path[-1])
    elif how == "repeat" and isinstance(holder, list):
        holder.append(holder[path[-1]])
    elif how == "wrap":
        holder[path[-1]] = random.choice(([holder[path[-1]]], {"a": holder[path[-1]]}, str(holder[path[-1]])))
    else:
        holder[path[-1]] = random.choice(ODD)
    return value


# ---- damages: each changes the file, and is given a file elsewhere that nothing may show


def truncate(path: Path, random: Random, secret: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: random.randrange(len(content) + 1)])


def garble(path: Path, random: Random, secret: Path) -> None:
    """Change a few bits."""
    content = bytearray(path.read_bytes())
    for _ in range(random.choice((1, 1, 3, 30))):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


def overwrite(path: Path, random: Random, secret: Path) -> None:
    contents = (b"", b"\0" * 100, b"\xff\xfe\x00", b"[" * 100_000, b"{}", b"[]", b"null", b"1" * 5_000, b"\x80")
    path.write_bytes(random.choice((*contents, random.randbytes(500))))


def reshape(path: Path, random: Random, secret: Path) -> None:
    """Change the shape of JSON, or of one of the lines."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = random.randrange(len(lines))
    value = json.loads(lines[number])
    for _ in range(random.choice((1, 1, 1, 3))):
        value = mutated(value, random)
    lines[number] = json.dumps(value)
    path.write_text("\n".join(lines) + "\n")


def replace_by_no_file(path: Path, random: Random, secret: Path) -> None:
    path.unlink()
    kind = random.choice(("nothing", "folder", "fifo", "secret", "circle", "zero"))
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind != "nothing":
        path.symlink_to({"secret": secret, "circle": path, "zero": Path("/dev/zero")}[kind])


def reshape_tensors(path: Path, random: Random, secret: Path) -> None:
    """Tensors of another shape or type, or other names."""
    import numpy
    from safetensors.numpy import load_file, save_file

    tensors = load_file(path)
    name = random.choice(sorted(tensors))
    values = [
        numpy.zeros((2, 3)),
        numpy.zeros(0, dtype=bool),
        numpy.full(tensors[name].shape, numpy.nan),
        tensors[name].astype(numpy.int64),
        tensors[name].astype(numpy.uint8)[:1],
        numpy.full(tensors[name].shape, 2**62),
    ]
    tensors[random.choice([name, "weight", "conflicting", "x"])] = random.choice(values)
    save_file(tensors, path)


Damage = Callable[[Path, Random, Path], None]
BYTES: list[Damage] = [truncate, garble, overwrite, replace_by_no_file]


def damages_of(path: Path) -> list[Damage]:
    """The damages that make sense for a file, those of its format more often."""
    if path.suffix in (".json", ".jsonl"):
        return [*BYTES, *[reshape] * 8]
    return [*BYTES, *[reshape_tensors] * 4] if path.suffix == ".safetensors" else BYTES
