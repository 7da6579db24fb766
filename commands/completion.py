"""`python main.py completion [with shell=SHELL]`: a script that completes commands, settings and names in a shell.

SHELL is bash (default) or zsh. It completes the installed command debiaslab, and main.py where that is executable.

Examples:
  python main.py completion with shell=zsh
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from debiaslab.commands.overview import GROUPS
from debiaslab.commands.words import one_of_these, read_words, require_no_others, word
from debiaslab.config import NAMED_CONFIGS
from debiaslab.core.settings import setting_names
from debiaslab.datasets import DATASETS
from debiaslab.methods import METHODS, MethodConfig
from debiaslab.models import MODELS
from debiaslab.settings.run import RunSettings

SHELLS = ("bash", "zsh")
SACRED = ("print_config", "print_named_configs")
FUNCTION = """\
_debiaslab() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} name values
    [[ $word == = ]] && { before==; word=; }
    if [[ $before == = ]]; then
        name=${COMP_WORDS[COMP_CWORD-1]}
        [[ $name == = ]] && name=${COMP_WORDS[COMP_CWORD-2]}
        case $name in
@VALUES@
            *) return ;;
        esac
        COMPREPLY=($(compgen -W "$values" -- "$word"))
    elif [[ " ${COMP_WORDS[*]:0:COMP_CWORD} " == *" with "* ]]; then
        COMPREPLY=($(compgen -W "@WORDS@" -- "$word"))
    else
        COMPREPLY=($(compgen -W "with @COMMANDS@" -- "$word"))
    fi
}
complete -o nospace -F _debiaslab debiaslab main.py ./main.py"""


@dataclass(frozen=True, kw_only=True)
class CompletionWords:
    shell: str = word("bash or zsh", "bash", read=one_of_these("shell", SHELLS))


WORDS = CompletionWords


def run(updates: Sequence[str]) -> None:
    """Print the script. Raises `UserError` for another shell."""
    words, others = read_words(CompletionWords, updates)
    require_no_others(CompletionWords, others)
    print("\n".join([*(["autoload -U +X bashcompinit && bashcompinit"] if words.shell == "zsh" else []), script()]))


def script() -> str:
    """The function and its registration, with the names that this version knows."""
    values: dict[str, Iterable[str]] = {
        "method|methods|method.name": METHODS,
        "model|model.name": MODELS,
        "data|data.name": DATASETS,
        "device": ("auto", "cpu", "cuda"),
    }
    cases = [f'            {names}) values="{" ".join(known)}" ;;' for names, known in values.items()]
    settings = [
        "method",
        "model",
        "data.root",
        "data.protocol",
        *setting_names(RunSettings),
        *setting_names(MethodConfig),
    ]
    words = [*NAMED_CONFIGS, *(f"{name}=" for name in dict.fromkeys(settings))]
    commands = [name for names in GROUPS.values() for name in names if name not in ("train", "seeds")]
    filled = FUNCTION.replace("@VALUES@", "\n".join(cases)).replace("@WORDS@", " ".join(words))
    return filled.replace("@COMMANDS@", " ".join([*commands, *SACRED]))
