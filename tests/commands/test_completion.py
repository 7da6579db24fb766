"""The completion script, in a real shell."""

import shutil
import subprocess

import pytest

from debiaslab.commands.completion import script
from tests.conftest import Command


def completed(*words: str) -> list[str]:
    """What bash completes the last of `words` to; it splits them at =."""
    line = " ".join(f"'{word}'" for word in words)
    code = (
        f'{script()}\nCOMP_WORDS=({line}) COMP_CWORD={len(words) - 1}; _debiaslab; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    out = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True).stdout
    return out.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["debiaslab", "pre"], ["predict"]),
        (["debiaslab", "print"], ["print_config", "print_named_configs"]),
        (["debiaslab", "study", "with", "colored"], ["colored_mnist"]),
        (["debiaslab", "with", "digits", "learn"], ["learning_rate="]),
        (["debiaslab", "with", "digits", "method", "="], None),
        (["debiaslab", "with", "digits", "method", "=", "denet"], ["denetdm"]),
        (["debiaslab", "with", "digits", "model", "=", "bagn"], ["bagnet18"]),
        (["debiaslab", "with", "digits", "seed", "=", "1"], []),
    ],
)
def test_bash(words: list[str], expected: list[str] | None) -> None:
    found = completed(*words)
    if expected is None:
        assert {"erm", "lff", "denetdm"} <= set(found)
    else:
        assert found == expected


def test_command(command: Command) -> None:
    outcome = command("completion", "with", "shell=zsh", data=False)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("autoload -U +X bashcompinit && bashcompinit\n_debiaslab() {")
    wrong = command("completion", "with", "shell=fish", data=False)
    assert wrong.code == 2
    assert "bash" in wrong.err
    if (zsh := shutil.which("zsh")) is not None:
        subprocess.run([zsh, "-n"], input=outcome.out, text=True, check=True)
