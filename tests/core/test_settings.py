from dataclasses import dataclass

import pytest

from debiaslab.core.errors import UserError
from debiaslab.core.settings import default_settings, require, settings


@dataclass(frozen=True, kw_only=True)
class Example:
    rate: float = 0.5
    steps: int | None = None
    widths: tuple[int, ...] = (1, 2)
    on: bool = False

    def __post_init__(self) -> None:
        require(self.rate > 0, "rate", self.rate, "positive")


def test_values_become_the_declared_types() -> None:
    example = settings(Example, {"rate": 2, "steps": 3, "widths": [4, 5]}, "x.")
    assert example == Example(rate=2.0, steps=3, widths=(4, 5))
    assert isinstance(example.rate, float)


def test_defaults_are_plain_values() -> None:
    assert default_settings(Example) == {"rate": 0.5, "steps": None, "widths": [1, 2], "on": False}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"raet": 1.0}, "unknown setting 'x.raet'; did you mean 'rate'? one of on, rate, steps, widths"),
        ({"rate": "fast"}, "x.rate='fast': must be of type float, not str"),
        ({"rate": "0,01"}, "x.rate='0,01': must be of type float, not str; use a decimal point: 0.01"),
        ({"rate": [0, 1]}, "x.rate=[0, 1]: must be of type float, not list; use a decimal point: 0.1"),
        ({"rate": True}, "x.rate=True: must be of type float, not bool"),
        ({"steps": 1.5}, "x.steps=1.5: must be of type int or None, not float"),
        ({"widths": [1, "a"]}, "x.widths='a': must be of type int, not str"),
        ({"on": 1}, "x.on=1: must be of type bool, not int"),
        ({"widths": 1}, "x.widths=1: must be of type list, such as [A, B], not int"),
        ({"rate": float("inf")}, "x.rate=inf: must be a finite number"),
        ({"rate": -1}, "x.rate=-1.0: must be positive"),
    ],
)
def test_bad_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as error:
        settings(Example, values, "x.")
    assert str(error.value) == message


@pytest.mark.parametrize("name", ["rate", "steps", "widths"])
@pytest.mark.parametrize("value", [10**23, -(10**23), 10**400])
def test_numbers_that_no_computation_could_take(name: str, value: int) -> None:
    with pytest.raises(UserError, match=rf"x\.{name}=-?10{{18,19}}\.\.\.: must be at most 1e\+15 in size$"):
        settings(Example, {name: [value] if name == "widths" else value}, "x.")
