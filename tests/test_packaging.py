"""What installs, what importing costs, and that there is one copy of every class."""

import ast
import configparser
import importlib
import importlib.util
import re
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")


def run_python(code, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=120
    )


def test_every_folder_with_code_is_a_listed_package():
    folders = {"mmzoo"}
    for top, package in [
        ("mmzoo", "mmzoo"),
        ("export", "mmzoo.export"),
        ("recipes", "mmzoo.recipes"),
        ("cli", "mmzoo.cli"),
    ]:
        for file in (ROOT / top).rglob("*.py"):
            parts = file.parent.relative_to(ROOT / top).parts
            folders.add(".".join((package, *parts)))
    listed = set(CONFIG["options"]["packages"].split())
    assert folders == listed
    assert len(listed) >= 11


def test_every_package_that_is_imported_is_declared():
    imported: dict[str, str] = {}
    for top in ("mmzoo", "export", "recipes", "cli"):
        for file in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module]
                else:
                    continue
                imported |= {name.split(".")[0]: str(file) for name in names}
    wanted = CONFIG["options"]["install_requires"].splitlines()
    wanted += [line for extra in CONFIG["options.extras_require"].values()
               for line in extra.splitlines()]  # fmt: skip
    declared = {plain_name(re.split(r"[\[<>=; ]", line)[0]) for line in wanted if line}
    owners = metadata.packages_distributions()
    undeclared = {
        name: file
        for name, file in imported.items()
        if name != "mmzoo" and name not in sys.stdlib_module_names
        and not {plain_name(owner) for owner in owners.get(name, [])} & declared
    }  # fmt: skip
    assert undeclared == {} and len(imported) > 20


def plain_name(distribution):
    return re.sub("[-_.]+", "-", distribution).lower()


def test_every_data_file_is_listed():
    """Each file is matched, below folders of data too, and each name of a file is one."""

    def place(package):
        path = package.replace(".", "/")
        return ROOT / re.sub("^mmzoo/(?=(cli|export|recipes)(/|$))", "", path)

    packages = {place(package) for package in CONFIG["options"]["packages"].split()}
    listed = 0
    for package, patterns in CONFIG["options.package_data"].items():
        folder = place(package)
        others = packages - {folder}
        files = {
            path for path in folder.rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc")
            and not any(path.is_relative_to(o) for o in others if o.is_relative_to(folder))
        }  # fmt: skip
        matched = {pattern: set(folder.glob(pattern)) & files for pattern in patterns.split()}
        assert all(found or "*" in pattern for pattern, found in matched.items()), package
        assert set().union(*matched.values()) == files, package
        listed += len(files)
    assert listed >= 5 + 2 + 1 + 3 * 7


@pytest.mark.parametrize("name", ["cli", "export", "recipes"])
def test_a_second_copy_is_refused(name):
    done = run_python(f"import {name}", cwd=ROOT)
    assert done.returncode != 0
    assert f"Expected to be imported as `mmzoo.{name}`" in done.stderr


def test_importing_mmzoo_imports_nothing_heavy():
    heavy = ["tensorflow", "keras", "onnxruntime", "tf2onnx", "matplotlib", "soundfile", "PIL"]
    code = f"import sys, mmzoo; print([name for name in {heavy} if name in sys.modules])"
    done = run_python(code)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_prediction_and_verification_need_no_tensorflow_in_their_process():
    code = (
        "import sys, mmzoo.export.inference.prediction, mmzoo.export.certify.verification\n"
        "import mmzoo.export.runtimes.c_api\n"
        "print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    done = run_python(code)
    assert done.stdout.strip() == "False", done.stdout + done.stderr


def test_no_module_bears_the_name_of_a_public_function():
    """Importing the module would put it in the function's place."""
    clashes, seen = [], 0
    for package in CONFIG["options"]["packages"].split():
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", ()):
            seen += 1
            if isinstance(getattr(module, name), types.ModuleType):
                continue
            if importlib.util.find_spec(f"{package}.{name}"):
                clashes.append(f"{package}.{name}")
    assert clashes == []
    assert seen > 100


def test_public_names_resolve_and_unknown_ones_do_not():
    import mmzoo

    for name in mmzoo.__all__:
        assert getattr(mmzoo, name) is not None
    for name in mmzoo.export.__all__:
        assert getattr(mmzoo.export, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mmzoo.nothing
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mmzoo.export.nothing


def test_no_file_is_two_rooms_in_one():
    files = [
        p
        for top in ("mmzoo", "export", "recipes", "cli", "tools")
        for p in (ROOT / top).rglob("*.py")
    ]
    assert len(files) >= 30
    assert {str(p): n for p in files if (n := len(p.read_text().splitlines())) > 300} == {}
