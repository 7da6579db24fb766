"""The words of `python -m benchmarks`."""

from importlib.util import find_spec

import pytest

from benchmarks.__main__ import BENCHMARKS, main


def test_help_lists_every_benchmark_with_its_question(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for name, question in BENCHMARKS.items():
        assert any(line.split(maxsplit=1) == [name, question] for line in lines), name
        assert find_spec(f"benchmarks.{name}")


def test_an_unknown_name_is_one_line_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lff", "denet"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: unknown benchmark 'denet'; did you mean 'denetdm'? one of building, ")
    assert told.count("\n") == 1
