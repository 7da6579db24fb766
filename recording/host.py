"""The facts of the machine that Sacred records of a run."""

from collections.abc import Callable
from functools import cache
from typing import Any

from sacred import host_info


@cache
def guard_host_facts() -> None:
    """From now on, Sacred leaves out a fact that cannot be gathered, and asks for each only once.

    Without it, an answer of nvidia-smi that Sacred does not expect ends a run before it starts.
    """
    for getter in host_info._host_info_gatherers_list:
        getter.getter_function = cache(_guarded(getter.getter_function))


def _guarded(gather: Callable[[], Any]) -> Callable[[], Any]:
    def gather_or_leave_out() -> Any:
        try:
            return gather()
        except Exception as error:  # whatever it is: the run does not depend on it
            raise host_info.IgnoreHostInfo from error

    return gather_or_leave_out
