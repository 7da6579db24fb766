"""Errors of files of arrays (.npy), in one line each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from debiaslab.core.errors import UserError
from debiaslab.core.files import require_regular


@contextmanager
def reading_array(path: Path, name: str, missing: str, damaged: str) -> Iterator[None]:
    """Raise `UserError` for a `path` that cannot be read as an array within the block.

    `name` is what to call it if the system refuses it; `missing` and `damaged` are the messages for a file that is not
    there, and for one that is no array.
    """
    try:
        require_regular(path)
        yield
    except FileNotFoundError:
        raise UserError(missing) from None
    except OSError as error:
        raise UserError(f"cannot read {name}: {error.strerror or error}") from None
    except UserError:
        raise
    except Exception:  # numpy's message suggests to load a pickle, and it raises many errors for damaged headers
        raise UserError(damaged) from None
