"""A fixture for whole folders of tests: runtimes whose processes are shared within a file."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def kept_processes():
    """Artifacts of one file run in one process a runtime: to start them took most of the time.

    Fresh ones are tested in `export/test_kept_process.py`, and by all that runs the command line.
    """
    from mmzoo.export.runtimes.kept_process import keep_processes

    with keep_processes():
        yield
