"""A user's own modules: those that define layers, or the kinds of a task."""

import importlib
import importlib.util
import sys
import types
from pathlib import Path


def import_own(names) -> list[types.ModuleType]:
    """Imports modules of a user.

    Args:
        names: Names of Python modules, or paths of .py files. A file's folder becomes importable,
            so that it may import its neighbours; a module may lie in the current folder.

    Raises:
        ImportError: If one is not there, or fails while it is imported.
    """
    found = []
    for name in names:
        path = Path(name)
        try:
            if path.suffix == ".py":
                if not path.is_file():
                    raise ImportError("no such file")
                found.append(_import_file(path))
            else:
                if "" not in sys.path and str(Path.cwd()) not in sys.path:
                    sys.path.insert(0, str(Path.cwd()))
                found.append(importlib.import_module(name))
        except Exception as error:  # a user's own program may raise anything
            raise ImportError(
                f"Expected a Python module or a .py file for --import. Received: {name!r}, which "
                f"can't be imported: {type(error).__name__}: {error}"
            ) from error
    return found


def _import_file(path):
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if path.stem in sys.modules:
        known = getattr(sys.modules[path.stem], "__file__", None)
        if known is None or Path(known).resolve() != path.resolve():
            raise ImportError(f"a module called {path.stem!r} is imported already: rename the file")
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module
