"""The facts of the machine in a record."""

from pathlib import Path

import pytest
from sacred import host_info

from debiaslab.recording.host import _guard, guard_host_facts

NOT_EXPECTED = """#!/bin/sh
echo '<?xml version="1.0" ?><log><gpu><product_name>GPU</product_name><fb_memory_usage><total>N/A</total>
</fb_memory_usage><persistence_mode>Enabled</persistence_mode></gpu></log>'
"""


def test_an_answer_that_is_not_expected_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a GPU without memory of its own."""
    program = tmp_path / "nvidia-smi"
    program.write_text(NOT_EXPECTED)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    gather = host_info._gpus.getter_function
    gather = getattr(gather, "__wrapped__", gather)  # not what was asked for before
    with pytest.raises(host_info.IgnoreHostInfo):
        _guard(gather)()


def test_the_others_are_told() -> None:
    guard_host_facts()
    guard_host_facts()
    facts = host_info.get_host_info()
    assert {"hostname", "os", "python_version", "cpu", "ENV"} <= set(facts)
