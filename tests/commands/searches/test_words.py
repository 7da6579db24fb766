"""What is read of the words of a search, and what is refused."""

import pytest

from debiaslab.commands.searches.plan import Plan, check, make_plan, own_space
from debiaslab.commands.searches.space import KINDS, Range, as_words, read_range
from debiaslab.commands.searches.words import STORAGE_URL, read_search
from debiaslab.config import ex
from debiaslab.core.errors import UserError
from debiaslab.methods import METHODS
from debiaslab.recording.configuration import configuration
from debiaslab.settings.recipes import recipes_of
from tests.conftest import Command

OPTIMIZER = "method.hparams.optimizer"


def plan_of(*words: str) -> Plan:
    return make_plan(read_search(["digits", "smoke", *words]))


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("uniform(0, 1)", "uniform", (0.0, 1.0)),
        ("log(1e-4,0.1)", "log", (1e-4, 0.1)),
        ("int(-2, 3)", "int", (-2, 3)),
        ("choice(0.1, None, 'a, b', [100, 100], sgd)", "choice", ("0.1", "None", "'a, b'", "[100, 100]", "sgd")),
    ],
)
def test_ranges(text: str, kind: str, values: tuple[object, ...]) -> None:
    found = read_range("method.hparams.q", text)
    assert found == Range("method.hparams.q", kind, values)  # type: ignore[arg-type]
    assert read_range("method.hparams.q", found.text) == found


def test_plain_values_are_no_ranges() -> None:
    for text in ("0.5", "sgd", "(1, 2)", "[1, 2]", ""):
        assert read_range("method.hparams.q", text) is None


@pytest.mark.parametrize(
    "text",
    [
        *(
            "uniform(1, 0)",
            "uniform(1)",
            "uniform(0, 1, 2)",
            "uniform(0, high)",
            "uniform(0, 1e999)",
            "uniform(0, True)",
        ),
        *("uniform(low=0, high=1)", "uniform(0,))", "log(0, 1)", "log(-1, 1)", "int(0.5, 2)", "int(3, 3)"),
        *("choice()", "choice(1, 1)", "choice(3d)"),
    ],
)
def test_ranges_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UserError) as error:
        read_range("method.hparams.q", text)
    assert str(error.value) == f"cannot read method.hparams.q={text}: {KINDS[text.split('(')[0]]}"


def test_the_space_of_the_authors() -> None:
    for rho, high in (("rho990", 1.0), ("rho997", 1.0), ("rho999", 50.0)):
        plan = make_plan(read_search(["biased_mnist", rho, "method=end"]))
        names = ("method.hparams.alpha", "method.hparams.beta")
        assert plan.space == tuple(Range(name, "uniform", (0.0, high)) for name in names)
        assert (plan.objective, plan.selection) == ("valid/unbiased", "best_valid_unbiased")
        assert (plan.num_trials, plan.words.sampler, plan.words.top) == (20, "tpe", 3)


ON_ALL_KINDS = ("digits", "colored_mnist", "cifar10c", "bffhq", "celeba", "biased_mnist", "imagenet9", "kinetics10")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_space(method: str) -> None:
    """With its learning rate, on each kind of image, and values at the ends that the method accepts."""
    for dataset in (name for name in ON_ALL_KINDS if recipes_of(METHODS[method], name)):
        words = [f"data={dataset}", f"method={method}"]
        config = configuration(ex, words)
        space = own_space(config)
        names = [range_.setting.removeprefix("method.hparams.") for range_ in space]
        assert names[0] == "learning_rate" or method == "end"
        assert ("learning_rate" in names) == (method != "end" or dataset != "biased_mnist")
        assert all(range_.source for range_ in space)
        for end in (0, 1):
            configuration(ex, [*words, *as_words({range_.setting: range_.values[end] for range_ in space})])


def test_rates_are_searched_around_the_recipe() -> None:
    for words, low, high in ((["digits"], 2e-4, 2e-2), (["data=cifar10c", "pct0_5"], 5e-5, 5e-3)):
        (rate, *_) = make_plan(read_search([*words, "method=lff"])).space
        assert (rate.kind, rate.values) == ("log", (low, high))


def test_what_is_given_or_switched_off_is_not_searched() -> None:
    def searched(*words: str) -> list[str]:
        space = make_plan(read_search(["digits", *words])).space
        return [range_.setting.removeprefix("method.hparams.") for range_ in space]

    assert searched("method=lff") == ["learning_rate", "q", "ema_decay"]
    assert searched("method=lff", "method.hparams.q=0.5") == ["learning_rate", "ema_decay"]
    distilled = ["distill_learning_rate", "distill_weight", "temperature"]
    assert searched("method=denetdm") == ["learning_rate", *distilled]
    assert searched("method=denetdm", "method.hparams.hand_over=None") == ["learning_rate"]
    assert "distill_weight" not in [
        range_.setting.rpartition(".")[2] for range_ in own_space(configuration(ex, ["data=bffhq", "method=denetdm"]))
    ]


def test_the_help_tells_ranges_and_sources(command: Command) -> None:
    text = command("search", "--help", data=False).out
    (methods,) = [
        line.partition(": ")[2] for line in text.splitlines() if line.startswith("  q=uniform(0.1, 0.9), ours")
    ]
    assert {"lff", "lff_be"} <= set(methods.split(", "))
    assert "\n  alpha=uniform(0, 1), EnD paper, Biased MNIST with rho below 0.999: end\n" in text


@pytest.mark.parametrize(
    ("words", "objective", "selection"),
    [
        (["objective=best_valid_conflicting"], "valid/conflicting", "best_valid_conflicting"),
        (["objective=valid/worst_group"], "valid/worst_group", "best_valid_worst_group"),
        (["objective=valid/unbiased", "selection=last"], "valid/unbiased", "last"),
        (["selection=last"], "valid/unbiased", "last"),
        (["selection=best_valid_accuracy"], "valid/accuracy", "best_valid_accuracy"),
    ],
)
def test_objectives(words: list[str], objective: str, selection: str) -> None:
    plan = plan_of("method=end", *words)
    assert (plan.objective, plan.selection) == (objective, selection)
    trial = plan.trial_words(7, {"method.hparams.alpha": 0.1 + 0.2})
    assert (f"selection={selection}" in trial) == (selection != "best_valid_unbiased")
    assert trial[-4:] == [
        "method.hparams.alpha=0.30000000000000004",
        f"search={plan.name}",
        "trial=7",
        f"objective={objective}",
    ]


def test_the_same_words_name_the_same_search() -> None:
    name = plan_of("method=end").name
    same = (["jobs=2"], ["trials=50"], ["storage=x.db"], ["top=5"], ["log_dir=elsewhere"], ["objective=valid/unbiased"])
    for words in same:
        assert plan_of("method=end", *words).name == name
    others = (["seed=2"], ["skewed4"], ["objective=valid/accuracy"], ["sampler=random"])
    for words in (*others, ["selection=last"], ["method.hparams.alpha=uniform(0, 2)"]):
        assert plan_of("method=end", *words).name != name
    assert plan_of("method=end", "name=mine").name == "mine"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["objective=test/unbiased"], "objective=test/unbiased: a search that selects on the test images"),
        (["objective=oracle_test_unbiased"], "objective=oracle_test_unbiased: a search that selects on the test"),
        (["selection=oracle_test_unbiased"], "selection=oracle_test_unbiased: a search that selects on the test"),
        (["objective=valid/unbiasd"], "unknown objective 'valid/unbiasd'; did you mean 'valid/unbiased'?"),
        (["objective=best_valid_accuracy", "selection=last"], "objective=best_valid_accuracy and selection=last: give"),
        (["selection=best"], "unknown rule 'selection=best'"),
        (["method=erm", "method.hparams.learning_rate=0.1", "method.hparams.weight_decay=0"],
         "nothing to search: erm declares no range for a setting that is not given; write one, such as"),
        (["tuned=3"], "tuned=3: a search decides that for each of its trials"),
        (["method=edn"], "unknown method 'edn'; did you mean 'end'?"),
        (["sampler=tree"], "unknown sampler 'tree'; one of grid, random, tpe"),
        (["sampler=grid"], "method.hparams.alpha=uniform(0.0, 1.0): sampler=grid needs discrete values"),
        (["trials=0"], "trials=0: must be a whole number, 1 or more"),
        (["name=None"], "name='None': must be of letters"),
        (["trial=3"], "trial=3: a search decides that for each of its trials"),
        (["data.skew=uniform(0, 1)"], "data.skew=uniform(0, 1): only settings of method and model can be searched"),
        (["method.hparams.alpha=gauss(0, 1)"], "unknown range 'method.hparams.alpha=gauss'; one of choice"),
        (["epochs=5", "epochs=int(1, 5)"], "epochs=5: method.hparams.epochs has a range too"),
        (["storage=postgresql://me:secret@host/db"], f"storage: a password can be read on the command line; put the"
         f" address into {STORAGE_URL}"),
    ],
)  # fmt: skip
def test_bad_words(words: list[str], error: str) -> None:
    method = [] if any(word.startswith("method=") for word in words) else ["method=end"]
    with pytest.raises(UserError) as found:
        plan_of(*method, *words)
    assert str(found.value).startswith(error)
    assert "secret" not in str(found.value)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["method=end", "data.protocol=published"], "objective=valid/unbiased needs validation images, and digits has"
         " none with data.protocol=published; use data.protocol=holdout"),
        (["method=end", "method.hparams.alfa=uniform(0, 1)"], "unknown setting 'method.hparams.alfa'; did you mean"),
        (["method=end", "method.hparams.alpha=uniform(-1, 1)"], "method.hparams.alpha=-1.0: must be 0 or more"),
        (["method=erm", f"{OPTIMIZER}=choice(adam, adan)"], f"{OPTIMIZER}='adan': must be one of"),
        (["method=denetdm", "method.hparams.hand_over=oracle_test_unbiased", "num_steps=int(1, 2)"],
         "method.hparams.hand_over=oracle_test_unbiased selects weights on the test images, and so would the search"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched(words: list[str], error: str, data_root: object, tmp_path: object) -> None:
    with pytest.raises(UserError) as found:
        check(plan_of(f"data.root={data_root}", f"log_dir={tmp_path}/runs", *words))
    assert error in str(found.value)
