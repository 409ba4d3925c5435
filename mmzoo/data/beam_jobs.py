"""Jobs of Apache Beam that are numbered, write a file each, and can be killed at any time."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence

RUNNERS = {
    "direct": "DirectRunner",
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
    "dataflow": "DataflowRunner",
}

_LINE_EVERY = 30.0  # seconds, where the output is no terminal


class JobError(RuntimeError):
    """A job that failed, with its cause."""


def run_jobs(
    job: Callable[[int], None],
    numbers: Sequence[int],
    *,
    runner: str = "direct",
    workers: int = 1,
    options: Sequence[str] = (),
) -> None:
    """Calls `job` with each number, on the workers of a Beam runner.

    Args:
        job: What can be pickled, and does its work by writing files that all workers see.
        numbers: Which jobs are to be done.
        runner: One of `RUNNERS`.
        workers: With "direct", how many threads of this process; Pillow, soundfile and the
            runtimes of models let go of Python while they work.
        options: Further options of the runner, as `["--flink_master=host:8081"]`.

    Raises:
        ImportError: If Beam is not installed.
        JobError: If a job fails; those that are done stay.
        ValueError: If there is no such runner.
    """
    if runner not in RUNNERS:
        raise ValueError(f"Expected a runner of {sorted(RUNNERS)}. Received: {runner!r}.")
    if workers < 1:
        raise ValueError(f"`workers` must be a positive int. Received: workers={workers}.")
    try:
        with _quiet():
            import apache_beam as beam
            from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise ImportError(
            'Expected Apache Beam. Received: no such package. Run `pip install -e ".[beam]"`.'
        ) from error
    if not numbers:
        return
    local = [f"--direct_num_workers={workers}", "--direct_running_mode=multi_threading"]
    settings = PipelineOptions([*(local if runner == "direct" else []), *options])
    try:
        with _quiet(), beam.Pipeline(runner=RUNNERS[runner], options=settings) as pipeline:
            _ = pipeline | beam.Create(list(numbers), reshuffle=True) | beam.Map(job)
    except RuntimeError as error:
        cause = str(error).partition(" [while running")[0]
        raise JobError(
            f"A job failed: {cause}. What is done stays; mend the cause and run it again."
        ) from error


@contextlib.contextmanager
def _quiet():
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)  # Beam warns of cloud packages that nobody asked for
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def shown(title: str, total: int, done: Callable[[], int], unit: str = "records", console=None):
    """Shows how far jobs are, while they run, by what they have written.

    Args:
        title: What stands in front of the bar.
        total: How many records there are.
        done: Function that counts those that are done.
        unit: What is counted.
        console: Optional `rich.console.Console`.
    """
    from rich import console as rich_console
    from rich import progress

    console = console or rich_console.Console()
    bar = progress.Progress(
        progress.TextColumn("{task.description}"), progress.BarColumn(),
        progress.MofNCompleteColumn(), progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(), console=console, disable=not console.is_terminal,
    )  # fmt: skip
    first, begin, over = done(), time.monotonic(), threading.Event()
    task = bar.add_task(title, total=total, completed=first, rate="")

    def rate(count):
        return f"{(count - first) / max(time.monotonic() - begin, 1e-9):,.0f} {unit}/s"

    def look():
        line = begin + _LINE_EVERY
        while not over.wait(0.2):
            count = done()
            bar.update(task, completed=count, rate=rate(count))
            if not console.is_terminal and time.monotonic() > line:
                console.print(f"{title}  {count:,} of {total:,} {unit}  {rate(count)}")
                line += _LINE_EVERY

    watcher = threading.Thread(target=look, daemon=True)
    bar.start()
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        count = done()
        bar.update(task, completed=count, rate=rate(count))
        bar.stop()
        if not console.is_terminal:
            console.print(f"{title}  {count:,} of {total:,} {unit}  {rate(count)}")
