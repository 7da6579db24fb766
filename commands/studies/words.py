"""The words after `study with`: which runs, and how they are carried out and shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from debiaslab.commands.results import TableWords
from debiaslab.commands.words import (
    read_flag_or_auto,
    read_list,
    read_number,
    read_seeds,
    read_words,
    some_of_these,
    word,
    word_names,
)
from debiaslab.core.errors import UserError
from debiaslab.methods import METHODS

# settings of one run that a study has a word for, and those that it decides itself
IN_PLACE_OF = {"method": "methods", "method.name": "methods"}
DECIDED = ("resume", "checkpoint", "train")
NO_SEEDS = "which runs? give seeds=5, seeds=1-5 or seeds=1,2,3"


def read_variants(name: str, text: str) -> tuple[str, ...]:
    """Raises `UserError` for a variant with a word of the study itself: it would have no effect."""
    variants = read_list(name, text)
    for part in (part for variant in variants for part in variant.split("+")):
        own, separator, _ = part.partition("=")
        if separator and own in (*word_names(StudyWords), *DECIDED, *IN_PLACE_OF):
            raise UserError(f"variants={part}: {own} is no matter of variants; leave it out there")
    return variants


@dataclass(frozen=True, kw_only=True)
class StudyWords(TableWords):
    """Words of a study, and the `common` words of all of its runs."""

    methods: tuple[str, ...] | None = word(
        "A,B; all that the data set has a recipe for", read=some_of_these("method", list(METHODS))
    )
    variants: tuple[str, ...] = word(
        "A,B: named configurations and settings, several joined by +", ("",), read=read_variants
    )
    first_seed: int | None = word("the only seed, or the first of so many", name="seed", read=read_number)
    seeds_text: str | None = word("1,2,3 or 1-5, or how many; 3 unless said", name="seeds")
    parallel: int = word("runs at a time", 1, name="jobs")
    together: bool | None = word(
        "whether runs that differ in their seed alone are trained as one; auto: where that is faster",
        False,
        read=read_flag_or_auto,
    )
    again: bool = word("True: repeat what another version of the code has done", False)
    listed: bool = word("True: show what would be done, and do nothing", False, name="list")
    common: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Raises `UserError` for a text that names none."""
        return read_seeds(self.seeds_text or ("1" if self.first_seed is not None else "3"), self.first_seed)


def read_study(updates: Sequence[str]) -> StudyWords:
    """Raises `UserError` for a word that is wrong in itself; settings are checked with the runs (`jobs.py`)."""
    renamed = []
    for update in updates:
        name, separator, value = update.partition("=")
        if separator and name in DECIDED:
            raise UserError(f"{update}: a study decides that for each of its runs; leave it out")
        renamed.append(f"{IN_PLACE_OF.get(name, name)}={value}" if separator else update)
    study, common = read_words(StudyWords, renamed)
    _ = study.seeds  # refuses a wrong text
    return replace(study, common=tuple(common))
