from debiaslab.core.durations import duration


def test_durations() -> None:
    assert [duration(seconds) for seconds in (4.4, 99, 600, 12_000)] == ["4 s", "99 s", "10 min", "3 h 20 min"]
