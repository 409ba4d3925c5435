"""Keeps what TensorFlow logs while it is imported off the terminal; its settings don't."""

import contextlib
import importlib.abc
import importlib.machinery
import os
import sys
import tempfile


class QuietTensorFlow(importlib.abc.MetaPathFinder):
    """Put into `sys.meta_path` before TensorFlow is imported, which 2.21 does not do silently.

    What is written to the process's standard error meanwhile is shown if the import fails, and
    dropped if it succeeds.
    """

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_quietly(module):
            with held_back():
                execute(module)

        spec.loader.exec_module = execute_quietly  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def held_back(show_on_error=True):
    """Holds standard error back, of C++ too, and lets it out if the block raises.

    Args:
        show_on_error: False where the exception says all of it: of a converter, whose lines are
            warnings if it succeeds.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            os.dup2(kept, 2)
            said.seek(0)
            if show_on_error:
                os.write(2, said.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
