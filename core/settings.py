"""Settings: declared once, as fields of frozen dataclasses, and checked when an instance is built from a mapping."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from math import isfinite
from types import MappingProxyType, NoneType, UnionType
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from debiaslab.core.errors import UserError, require_known
from debiaslab.core.files import expand

T = TypeVar("T")
Check = Callable[[str, Any], None]  # of a setting's name and value; raises `ValueError` or `UserError`

TYPE_NAMES = {NoneType: "None", tuple: "list, such as [A, B]"}  # in messages to the user
LARGEST = 10**15  # the largest allowed integer: more than any training could take
METADATA = "setting"  # key of the declaration in a dataclass field's metadata


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The declaration of a setting, apart from its name, type and default.

    - `help`: its description in `print_config` and the docs.
    - `check`: rejects invalid values; None is never checked.
    - `place`: it names something on this machine, such as a folder or a device, which results do not depend on.
    - `identity`: results depend on it, unless it is a `place`.
    - `label`: tables and titles include it in the name of a variant, as "NAME VALUE"; if it is a text, that text is
      shown wherever the setting is on.
    - `percent`: maps a value to the percentage of bias-conflicting training images.
    - `published`: published numbers are for its default; runs with another value are not compared with them.
    - `unless`: another setting that replaces this one: if that is set, this one is None.
    - `before`: the value of runs that were recorded before the setting existed.
    - `part`: it is the length of a part of training, in "steps" or "epochs", and is scaled down with the whole.
    """

    help: str = ""
    check: Check | None = None
    place: bool = False
    identity: bool = True
    label: bool | str = False
    percent: Callable[[Any], float] | None = None
    published: bool = True
    unless: str | None = None
    before: Any = ...
    part: str | None = None

    @property
    def changes_result(self) -> bool:
        return self.identity and not self.place


PLAIN = Setting()  # for fields without a declaration


def setting(default: Any, help: str, check: Check | None = None, **declared: Any) -> Any:
    """A dataclass field with a `Setting`."""
    return field(default=default, metadata={METADATA: Setting(help=help, check=check, **declared)})


def declared(cls: type) -> Mapping[str, Setting]:
    """The declarations of a dataclass's fields; a subclass that only changes a default inherits the declaration."""
    return _declared(cls)


@cache
def _declared(cls: type) -> Mapping[str, Setting]:
    return MappingProxyType({field.name: _declaration(cls, field.name) for field in fields(cls)})


def _declaration(cls: type, name: str) -> Setting:
    for base in cls.__mro__:
        known = base.__dict__.get("__dataclass_fields__", {}).get(name)
        if known is not None and METADATA in known.metadata:
            found: Setting = known.metadata[METADATA]
            return found
    return PLAIN


class Settings:
    """Base class of settings dataclasses: creating an instance runs the checks that the fields declare.

    Checks that involve several settings belong in the `__post_init__` of the subclass. `PREFIX` precedes the names of
    the settings on the command line.
    """

    PREFIX: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, known in declared(type(self)).items():
            value = getattr(self, name)
            if known.unless is not None:
                other = f"{self.PREFIX}{known.unless}"
                if getattr(self, known.unless) is None:
                    require(value is not None, name, value, f"set, or {other}")
                else:
                    require(value is None, name, value, f"left out with {other}")
            if known.check is not None and value is not None:
                known.check(name, value)


# ---- checks of single values


def must_be(allowed: str, holds: Callable[[Any], bool]) -> Check:
    """A check that rejects values for which `holds` is False; `allowed` completes "must be ..."."""

    def check(name: str, value: Any) -> None:
        require(holds(value), name, value, allowed)

    return check


def choice(options: Iterable[Any], allowed: str | None = None) -> Check:
    """A check that the value is one of `options`."""
    known = list(options)
    names = ", ".join(f"{option:g}" if isinstance(option, float) else str(option) for option in known)
    return must_be(allowed or f"one of {names}", lambda value: value in known)


def known_as(kind: str, options: Iterable[str], prefix: str = "") -> Check:
    """A check that the value is one of `options`, whose error suggests the closest one."""
    names = list(options)
    return lambda name, value: require_known(kind, value, names, prefix=f"{prefix}{name}=" if prefix else "")


def between(low: float, high: float, allowed: str | None = None) -> Check:
    """A check that the value is in [low, high]."""
    return must_be(allowed or f"{low:g} to {high:g}", lambda value: low <= value <= high)


positive = must_be("positive", lambda value: value > 0)
all_positive = must_be("one or more positive numbers", lambda values: len(values) > 0 and min(values) > 0)
odd = must_be("odd and positive", lambda value: value > 0 and value % 2 == 1)
not_negative = must_be("0 or more", lambda value: value >= 0)


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """For checks: raise `ValueError` ("skew=1.5: must be between 0 and 1") unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name}={value!r}: must be {allowed}")


# ---- conversion from and to plain values


def setting_names(cls: type) -> tuple[str, ...]:
    """The names of a dataclass's settings."""
    return tuple(declared(cls))


def default_settings(cls: type, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The defaults of a settings dataclass as plain values, with tuples as lists, as JSON records return them.

    None for settings that are replaced by another one (`Setting.unless`) among the `given` settings.
    """
    values: dict[str, Any] = {}
    for known_field in fields(cls):
        default = known_field.default
        if default is not MISSING:
            values[known_field.name] = list(default) if isinstance(default, tuple) else default
    for name, known in declared(cls).items():
        if known.unless is not None and (given or {}).get(known.unless) is not None:
            values[name] = None
    return values


hints_of = cache(get_type_hints)  # of a settings dataclass


def settings(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build an instance of the frozen dataclass `cls` from `values`.

    `where` is the prefix of the names on the command line ("method.hparams."). Raises `UserError` for an unknown name,
    a value of the wrong type, or one that the class rejects with `ValueError`.
    """
    hints = hints_of(cls)  # type: ignore[arg-type]  # types are hashable
    known = setting_names(cls)
    for name in values:
        require_known("setting", name, known, prefix=where)
    checked = {name: _checked(value, hints[name], where + name) for name, value in values.items()}
    try:
        return cls(**checked)
    except ValueError as error:
        raise UserError(f"{where}{error}") from None
    except TypeError:
        missing = [field.name for field in fields(cls) if field.default is MISSING and field.name not in values]  # type: ignore[arg-type]
        raise UserError(f"no value for {', '.join(where + name for name in missing)}") from None


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) for every setting of a nested configuration."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def nest(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `flatten`: a configuration of the settings, whose names are dotted."""
    config: dict[str, Any] = {}
    for name, value in settings.items():
        *groups, last = name.split(".")
        place = config
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return config


def merge(config: Mapping[str, Any], updates: Mapping[str, Any]) -> dict[str, Any]:
    """The nested `config` with the nested `updates`."""
    result = dict(config)
    for name, value in updates.items():
        known = result.get(name)
        result[name] = merge(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return result


def _checked(value: Any, hint: Any, name: str) -> Any:
    """Convert `value` to the type `hint` (int to float, list to tuple); raises `UserError` if that is impossible."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for option in options:
        origin = get_origin(option) or option
        if origin in (NoneType, None) and value is None:
            return None
        if isinstance(value, int) and abs(value) > LARGEST:
            raise UserError(f"{name}={str(value)[:20]}...: must be at most {LARGEST:g} in size")
        if origin is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            if not isfinite(value):  # JSON, and so a record, has no such numbers
                raise UserError(f"{name}={value!r}: must be a finite number")
            return float(value)
        if origin is int and isinstance(value, int) and not isinstance(value, bool):
            return int(value)
        if origin is tuple and isinstance(value, (list, tuple)):
            return tuple(_checked(item, get_args(option)[0], name) for item in value)
        if origin is str and isinstance(value, str):
            return expand(value, name)
        if origin is bool and isinstance(value, bool):
            return value
    names = [TYPE_NAMES.get(get_origin(option) or option) or option.__name__ for option in options]
    advice = f"; use a decimal point: {number}" if float in options and (number := _with_point(value)) else ""
    raise UserError(f"{name}={value!r}: must be of type {' or '.join(names)}, not {type(value).__name__}{advice}")


def _with_point(value: Any) -> str | None:
    """The decimal number if `value` was written with a comma ("0,01" is parsed as text, "0,1" as a pair), else None."""
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text.replace(",", ".") if re.fullmatch(r"-?\d+,\d+", text) else None
