"""Options of a study."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from debiaslab.commands.cluster_words import ClusterWords, take_options
from debiaslab.commands.parallel import DEFAULT
from debiaslab.commands.results import TableWords
from debiaslab.commands.searches.space import read_range
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

# settings of a run that are options of a study, and those that the study sets itself
IN_PLACE_OF = {"method": "methods", "method.name": "methods"}
DECIDED = ("resume", "checkpoint", "train")
NO_SEEDS = "which runs? give seeds=5, seeds=1-5 or seeds=1,2,3"


def read_variants(name: str, text: str) -> tuple[str, ...]:
    """Parse variants. Raises `UserError` for one that contains an option of the study, which would have no effect."""
    variants = read_list(name, text)
    for part in (part for variant in variants for part in variant.split("+")):
        own, separator, _ = part.partition("=")
        if separator and own in (*word_names(StudyWords), *DECIDED, *IN_PLACE_OF):
            raise UserError(f"variants={part}: variants cannot contain {own}; leave it out there")
    return variants


@dataclass(frozen=True, kw_only=True)
class StudyWords(ClusterWords, TableWords):
    """Options of a study, and the `common` words of all its runs."""

    methods: tuple[str, ...] | None = word(
        "A,B; default: all with a recipe for the data set", read=some_of_these("method", list(METHODS))
    )
    variants: tuple[str, ...] = word(
        "A,B: named configurations and settings, several joined by +", ("",), read=read_variants
    )
    first_seed: int | None = word("the only seed, or the first of several", name="seed", read=read_number)
    seeds_text: str | None = word("1,2,3 or 1-5, or the number of seeds; default: 3", name="seeds")
    parallel: int = word(f"parallel runs; {DEFAULT}", 0, name="jobs")
    together: bool | None = word(
        "train runs that differ only in their seed as one; auto: if that is faster",
        False,
        read=read_flag_or_auto,
    )
    search: int | None = word("N: also tune each method on each variant by N trials, and show both")
    objective: str | None = word("with search=N: metric on validation images that its trials maximise: valid/unbiased")
    again: bool = word("True: repeat runs of other versions of the code", False)
    mongo: bool = word("True: runs in MongoDB (-m) count too, wherever they were made", False)
    listed: bool = word("True: show what would be done, without doing it", False, name="list")
    common: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds. Raises `UserError` for invalid text."""
        return read_seeds(self.seeds_text or ("1" if self.first_seed is not None else "3"), self.first_seed)


def read_study(updates: Sequence[str]) -> StudyWords:
    """Parse the options. Raises `UserError` for invalid ones; settings are checked with the jobs (`jobs.py`)."""
    options, updates = take_options(updates)
    renamed = []
    for update in updates:
        name, separator, value = update.partition("=")
        if separator and name in DECIDED:
            raise UserError(f"{update}: a study decides that for each of its runs; leave it out")
        if separator and read_range(name, value) is not None:
            raise UserError(
                f"{update}: a study searches the ranges that each method declares; leave it out, or use search"
            )
        renamed.append(f"{IN_PLACE_OF.get(name, name)}={value}" if separator else update)
    study, common = read_words(StudyWords, renamed)
    _ = study.seeds  # check it
    if study.objective is not None and study.search is None:
        raise UserError(f"objective={study.objective}: of trials; ask for some with search=20")
    study = replace(study, options=options, common=tuple(common))
    study.require_place()
    if study.on_slurm and study.together is not False:
        raise UserError("together: on Slurm each run is a job of its own; leave it out")
    if study.nodes is not None and study.search is not None:
        raise UserError(f"nodes={study.nodes}: a trial is on one node; leave it out, or search={study.search}")
    return study
