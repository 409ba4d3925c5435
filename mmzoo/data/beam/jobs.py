"""Jobs of Apache Beam that are numbered, write a file each, and can be killed at any time."""

import contextlib
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Sequence

RUNNERS = {
    "direct": "DirectRunner",
    "flink": "FlinkRunner",
    "spark": "SparkRunner",
    "dataflow": "DataflowRunner",
}

_MARKED = re.compile(r"RuntimeError: \[cause: (.*?) :cause\]", re.DOTALL)
_FAILED: dict[str, Exception] = {}  # by the key of a run in this process
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
    guarded = _Guarded(job)
    try:
        with _quiet(), beam.Pipeline(runner=RUNNERS[runner], options=settings) as pipeline:
            _ = pipeline | beam.Create(list(numbers), reshuffle=True) | beam.Map(guarded)
    except RuntimeError as error:  # of a runner, or of a worker elsewhere
        marked = _MARKED.findall(str(error))
        cause = marked[-1] if marked else str(error).partition(" [while running")[0]
        raise _job_error(cause) from error
    failed = _FAILED.pop(guarded.key, None)
    if failed is not None:
        raise _job_error(_one_line(failed)) from failed


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__


def _job_error(cause):
    return JobError(
        f"A job failed: {cause.rstrip('.')}. What is done stays; mend the cause and run it again."
    )


class _Guarded:
    """A job whose error is kept, for Beam prints one that it is given, in hundreds of lines.

    A worker in another process has no way but to raise it; it is then found in the text of Beam's.

    Args:
        job: The job.
    """

    def __init__(self, job: Callable[[int], None]):
        self.job, self.process, self.key = job, os.getpid(), uuid.uuid4().hex

    def __call__(self, number: int) -> None:
        if self.key in _FAILED:
            return
        try:
            self.job(number)
        except Exception as error:
            if os.getpid() != self.process:
                raise RuntimeError(f"[cause: {_one_line(error)} :cause]") from error
            _FAILED[self.key] = error


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
