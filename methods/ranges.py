"""The ranges in which `search` and `study ... search=N` vary the hyper-parameters of a method, with their sources."""

from dataclasses import dataclass

OURS = "ours"
RECIPE = "recipe"  # stands for the recipe's value in the description of a range


@dataclass(frozen=True, kw_only=True)
class SearchRange:
    """The range of a hyper-parameter: `text`, as on the command line (docs/search.md), or, without it, log-uniform
    within `factor` of the recipe's value. `source`: a paper or its code, or "ours"."""

    text: str | None = None
    factor: float = 10
    source: str = OURS

    def at(self, value: object) -> str | None:
        """The range for a recipe with this `value`; None if there is none, as the recipe switches the setting off."""
        if self.text is not None:
            return None if value is None else self.text
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            return None
        return f"log({value / self.factor:g}, {value * self.factor:g})"

    def __str__(self) -> str:
        return self.text or f"log({RECIPE} / {self.factor:g}, {RECIPE} x {self.factor:g})"


LEARNING_RATE = SearchRange(source="ours; as wide as DomainBed's for small images")
WEIGHT_DECAY = SearchRange(text="log(1e-6, 1e-2)", source="DomainBed, for photographs")
GCE_EXPONENT = SearchRange(text="uniform(0.1, 0.9)")
