"""The host information that Sacred records."""

from collections.abc import Callable
from functools import cache
from typing import Any

from sacred import host_info


@cache
def guard_host_facts() -> None:
    """Make Sacred leave out host information that cannot be gathered, and gather each item only once.

    Otherwise, unexpected output of nvidia-smi would end a run before it starts.
    """
    for getter in host_info._host_info_gatherers_list:
        getter.getter_function = _guard(getter.getter_function)


def _guard(gather: Callable[[], Any]) -> Callable[[], Any]:
    @cache
    def gather_once() -> tuple[Any] | None:
        try:
            return (gather(),)
        except Exception:  # the run does not depend on it
            return None

    def gather_or_leave_out() -> Any:
        found = gather_once()
        if found is None:
            raise host_info.IgnoreHostInfo
        return found[0]

    return gather_or_leave_out
