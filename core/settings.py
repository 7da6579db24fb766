"""From a plain mapping (what the command line gives) to a checked frozen dataclass."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from math import isfinite
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from debiaslab.core.errors import UserError, require_known

T = TypeVar("T")

TYPE_NAMES = {NoneType: "None", tuple: "list, such as [A, B]"}  # as a user knows them

# settings of a run that its result depends on and that records made before them lack, with what then was the case
LATER_SETTINGS: Mapping[str, Any] = {"precision": "float32", "channels_last": False}


def setting_names(cls: type) -> list[str]:
    """Names of the fields of a settings dataclass."""
    return [field.name for field in fields(cls)]


def default_settings(cls: type) -> dict[str, Any]:
    """The defaults of a settings dataclass, as plain values (tuples as lists, so that records read back equal)."""
    values: dict[str, Any] = {}
    for field in fields(cls):
        if field.default is not MISSING:
            values[field.name] = list(field.default) if isinstance(field.default, tuple) else field.default
    return values


def settings(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """An instance of the frozen dataclass `cls` from `values`.

    `where` is the prefix that the user types ("method.hparams."). Raises `UserError` for an unknown name, a value of
    another type than the field's, or one that the class's `__post_init__` refuses with `ValueError`.
    """
    hints = get_type_hints(cls)
    for name in values:
        require_known("setting", name, setting_names(cls), prefix=where)
    checked = {name: _checked(value, hints[name], where + name) for name, value in values.items()}
    try:
        return cls(**checked)
    except ValueError as error:
        raise UserError(f"{where}{error}") from None
    except TypeError:
        missing = [field.name for field in fields(cls) if field.default is MISSING and field.name not in values]  # type: ignore[arg-type]
        raise UserError(f"no value for {', '.join(where + name for name in missing)}") from None


def flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every setting of a nested configuration."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """For `__post_init__`: raise `ValueError` ("skew=1.5: must be between 0 and 1") unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name}={value!r}: must be {allowed}")


def _checked(value: Any, hint: Any, name: str) -> Any:
    """`value` as the type `hint` (int to float, list to tuple), or `UserError`."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for option in options:
        origin = get_origin(option) or option
        if origin in (NoneType, None) and value is None:
            return None
        if origin is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            if not isfinite(value):  # nor could a record be read by others: JSON has no such number
                raise UserError(f"{name}={value!r}: must be a finite number")
            return float(value)
        if origin is int and isinstance(value, int) and not isinstance(value, bool):
            return int(value)
        if origin is tuple and isinstance(value, (list, tuple)):
            return tuple(_checked(item, get_args(option)[0], name) for item in value)
        if origin in (bool, str) and isinstance(value, origin):
            return value
    names = [TYPE_NAMES.get(get_origin(option) or option) or option.__name__ for option in options]
    advice = f"; with a point, as in {number}" if float in options and (number := _with_point(value)) else ""
    raise UserError(f"{name}={value!r}: must be of type {' or '.join(names)}, not {type(value).__name__}{advice}")


def _with_point(value: Any) -> str | None:
    """The number that was written with a comma: "0,01" is read as a text, "0,1" as two numbers. None if none was."""
    text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text.replace(",", ".") if re.fullmatch(r"-?\d+,\d+", text) else None
