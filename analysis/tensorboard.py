"""Export recorded runs as event files for TensorBoard: scalars, settings and images."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

from debiaslab.analysis.png_artifacts import png_size
from debiaslab.analysis.records import Record
from debiaslab.core.files import atomic_write
from debiaslab.core.settings import flatten
from debiaslab.settings.declared import without_effect_on_results

EVENTS = "events.out.tfevents.run"  # TensorBoard reads every file with "tfevents" in its name
VERSION = "brain.Event:2"  # of the file format, its first event


def write_events(
    folder: Path, record: Record, points: Sequence[tuple[int, Mapping[str, float]]], pictures: Mapping[str, bytes]
) -> None:
    """Write or replace `folder`/`EVENTS`: `points` are (optimiser step, named scalars), `pictures` name -> PNG.

    Settings that the result depends on are hyper-parameters, with the results under each recorded rule as metrics:
    `RULE/SPLIT/METRIC` in [0, 1]. Evaluations have no timestamps: all events have the start time of the run. Raises
    `UserError` if the file cannot be written.
    """
    from tensorboardX.proto.event_pb2 import Event  # a slow import
    from tensorboardX.record_writer import RecordWriter

    start = 0.0 if record.start is None else record.start.replace(tzinfo=UTC).timestamp()
    events = [Event(wall_time=start, file_version=VERSION)]
    for step, summary in [*_settings_and_result(record), *_scalars(points), *_pictures(pictures)]:
        events.append(Event(wall_time=start, step=step, summary=summary))
    with atomic_write(folder / EVENTS) as temporary:
        writer = RecordWriter(str(temporary))
        for event in events:
            writer.write(event.SerializeToString())
        writer.close()


def _settings_and_result(record: Record) -> Iterator[tuple[int, Any]]:
    from tensorboardX.summary import hparams

    ignored = without_effect_on_results()
    settings = {name: _simple(value) for name, value in flatten(record.config) if name not in ignored}
    result = {
        f"{rule}/{name}": (int(values["step"]), float(value))
        for rule, values in (record.result or {}).items()
        for name, value in values.items()
        if name.count("/") == 1 and value is not None
    }
    yield from ((0, summary) for summary in hparams(settings, result))
    yield from _scalars([(step, {tag: value}) for tag, (step, value) in result.items()])


def _simple(value: Any) -> Any:
    """Convert `value` for TensorBoard: text, a number, True or False, or None."""
    return value if value is None or isinstance(value, (str, bool, int, float)) else repr(value)


def _scalars(points: Sequence[tuple[int, Mapping[str, float]]]) -> Iterator[tuple[int, Any]]:
    from tensorboardX.proto.summary_pb2 import Summary

    for step, values in points:
        known = {tag: value for tag, value in values.items() if value == value}  # without NaN
        yield step, Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in known.items()])


def _pictures(pictures: Mapping[str, bytes]) -> Iterator[tuple[int, Any]]:
    from tensorboardX.proto.summary_pb2 import Summary

    for name, content in pictures.items():
        width, height = png_size(content)
        image = Summary.Image(width=width, height=height, colorspace=4, encoded_image_string=content)
        yield 0, Summary(value=[Summary.Value(tag=name, image=image)])
