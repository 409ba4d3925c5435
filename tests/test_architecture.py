import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "draw_architecture.py"
SPEC = importlib.util.spec_from_file_location("draw_architecture", TOOL)
tool = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tool)

SETUP = """
[options]
packages =
    mmzoo
    mmzoo.cli
    mmzoo.data
    mmzoo.data.files
    mmzoo.export
    mmzoo.fusion
    mmzoo.recipes
package_dir =
    mmzoo.cli = cli
    mmzoo.export = export
    mmzoo.recipes = recipes
"""
FILES = {
    "mmzoo/__init__.py": "import mmzoo.recipes",
    "mmzoo/__main__.py": "from mmzoo.cli.commands import main",
    "mmzoo/_version.py": "__version__ = '1'",
    "cli/__init__.py": '"""Commands."""',
    "cli/commands.py": '"""One word for all."""\nfrom mmzoo import export\ndef main():\n'
    "    import mmzoo.recipes.story",
    "mmzoo/data/__init__.py": "",
    "mmzoo/data/files/__init__.py": "",
    "mmzoo/data/text.py": '"""Strings to bytes & back."""\nfrom mmzoo._version import __version__',
    "mmzoo/fusion/__init__.py": "",
    "mmzoo/fusion/late.py": '"""Late fusion."""\nfrom ..data import text',
    "mmzoo/fusion/_gate.py": "def gate():\n    from mmzoo.data.text import x",
    "export/__init__.py": '"""Exporters."""',
    "export/parity.py": "import importlib\n\ndef load(name):\n"
    "    return importlib.import_module(f'mmzoo.fusion.{name}')",
    "recipes/__init__.py": "",
    "recipes/story.py": '"""A sentence that is too wide, for the column."""\n'
    "import mmzoo\n\nexport = mmzoo.export.parity\nasync def main():\n    import mmzoo.fusion",
}


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "setup.cfg").write_text(SETUP)
    for name, source in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    return tmp_path


def texts(root):
    svg = xml.etree.ElementTree.parse(root / "docs" / "architecture.svg")
    return [x.text for x in svg.iter("{http://www.w3.org/2000/svg}text")]


def test_the_picture_names_what_is_there(tree):
    assert tool.main([], tree) == 0
    words = texts(tree)
    for expected in ("cli/", "commands.py", "story.py", "parity.py", "late.py", "Late fusion."):
        assert expected in words
    assert "Strings to bytes & back." in words
    assert any(x.startswith("A sentence") and x.endswith("wide …") for x in words)
    assert "files/" in words  # a package of data is a line in its parent's box
    assert not {"_gate.py", "_version.py", "__init__.py"} & set(words)
    assert tool.RED not in (tree / "docs" / "architecture.svg").read_text()


def test_arrows_are_the_imports_and_lazy_if_all_are_in_functions(tree):
    house = tool.House(tree)
    assert house.wrong == {}
    assert house.arrows == {
        ("mmzoo.cli", "mmzoo.export"): False,
        ("mmzoo.cli", "mmzoo.recipes"): True,
        ("mmzoo.export", "mmzoo.fusion"): True,
        ("mmzoo.fusion", "mmzoo.data"): False,
        ("mmzoo.recipes", "mmzoo.export"): False,
        ("mmzoo.recipes", "mmzoo.fusion"): True,
    }


def test_without_a_command_line_its_layer_is_absent(tree):
    (tree / "cli" / "commands.py").unlink()
    (tree / "mmzoo" / "__main__.py").unlink()
    assert tool.main([], tree) == 0
    assert "cli/" not in texts(tree)


def test_a_cycle_inside_a_layer_is_drawn(tree):
    (tree / "mmzoo" / "data" / "loop.py").write_text("import mmzoo.fusion.late")
    assert tool.main([], tree) == 0
    assert ("mmzoo.data", "mmzoo.fusion") in tool.House(tree).arrows


def test_drawing_is_deterministic(tree):
    path = tree / "docs" / "architecture.svg"
    command = (
        "import pathlib, runpy, sys; tool, tree = sys.argv[1:]; "
        "runpy.run_path(tool)['main']([], pathlib.Path(tree))"
    )
    drawn = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        arguments = [sys.executable, "-c", command, str(TOOL), str(tree)]
        subprocess.run(arguments, env=environment, check=True)
        drawn.append(path.read_bytes())
    assert drawn[0] == drawn[1] == tool.draw(tool.House(tree)).encode()
    assert tree.name.encode() not in drawn[0]


def test_check_wants_the_picture_of_this_code(tree, capsys):
    assert tool.main(["--check"], tree) == 1
    assert "architecture.svg is missing or old. Run `python tools/" in capsys.readouterr().out
    assert not (tree / "docs").exists()

    tool.main([], tree)
    assert tool.main(["--check"], tree) == 0
    path = tree / "docs" / "architecture.svg"
    path.write_text(path.read_text().replace("late.py", "early.py"))
    assert tool.main(["--check"], tree) == 1
    assert "early.py" in path.read_text()

    tool.main([], tree)
    (tree / "mmzoo" / "fusion" / "early.py").touch()
    assert tool.main(["--check"], tree) == 1


@pytest.mark.parametrize(
    ("file", "source", "line", "target"),
    [
        ("mmzoo/data/bad.py", "import mmzoo.export.parity", 1, "mmzoo.export.parity"),
        ("mmzoo/data/bad.py", "import os\nfrom mmzoo import recipes", 2, "mmzoo.recipes"),
        ("mmzoo/data/bad.py", "from ..export import parity", 1, "mmzoo.export.parity"),
        ("mmzoo/data/_bad.py", "import mmzoo\nx = mmzoo.export", 2, "mmzoo.export"),
        ("mmzoo/bad.py", "def f():\n    from .export import x", 2, "mmzoo.export"),
        ("mmzoo/bad.py", "from . import cli", 1, "mmzoo.cli"),
        ("export/bad.py", "import mmzoo.recipes.story as s", 1, "mmzoo.recipes.story"),
        ("export/__init__.py", "from mmzoo.cli import main", 1, "mmzoo.cli"),
        (
            "export/bad.py",
            "from importlib import import_module\n\nimport_module('mmzoo.recipes.story')",
            3,
            "mmzoo.recipes.story",
        ),
    ],
)
def test_an_import_against_the_arrows_is_named_and_red(tree, capsys, file, source, line, target):
    (tree / file).write_text(source)
    where = f"{file}:{line}"
    assert [(k, x[1]) for k, x in tool.House(tree).wrong.items()] == [(where, target)]
    for arguments in ([], ["--check"]):
        assert tool.main(arguments, tree) == 1
        printed = capsys.readouterr().out
        assert printed.startswith(f"{where}: mmzoo.")
        assert f" imports {target}, against command line -> recipes -> export" in printed
        assert "missing or old" not in printed
    assert where in texts(tree)
    assert tool.RED in (tree / "docs" / "architecture.svg").read_text()


def test_no_import_of_ours_runs_against_the_arrows():
    house = tool.House(ROOT)
    assert house.wrong == {}
    assert len(house.boxes) >= 8
    assert sum(map(len, house.boxes.values())) >= 25
    assert ("mmzoo.encoders", "mmzoo.preprocessing") in house.arrows
    assert ("mmzoo.export.certify", "mmzoo.export.runtimes") in house.arrows
