"""The documents show what works: their Python is run, their commands and links exist."""

import doctest
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(DOCS)): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
}
EVERYTHING = {"../README.md": README, **PAGES}


def blocks(language, text):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def cells(text):
    pattern = r"^```\{code-cell\} ipython3\n(?::tags: [^\n]*\n)?(.*?)^```"
    return re.findall(pattern, text, re.DOTALL | re.MULTILINE)


def commands(text):
    return "\n".join(blocks("sh", text))


WITH_PYTHON = [name for name, text in PAGES.items() if blocks("python", text)]
NOTEBOOKS = [name for name, text in PAGES.items() if cells(text)]


def modules():
    for top, package in [("mmzoo", "mmzoo"), ("export", "mmzoo.export")]:
        for path in sorted((ROOT / top).rglob("*.py")):
            if ">>>" in path.read_text(encoding="utf-8"):
                parts = path.relative_to(ROOT / top).with_suffix("").parts
                yield ".".join((package, *parts))


def test_docstring_examples():
    attempted = 0
    for name in modules():
        result = doctest.testmod(importlib.import_module(name))
        assert result.failed == 0, name
        attempted += result.attempted
    assert attempted >= 15


def run_blocks(code, name):
    namespace = {"__name__": "page"}
    for block in code:
        exec(compile(block, name, "exec"), namespace)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the pages name: tables of four rows, and the bundle of the README."""
    from PIL import Image
    from soundfile import write

    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    rows = ["image,text,audio,label"]
    for k in range(4):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), "uint8")).save(folder / f"{k}.png")
        write(folder / f"{k}.wav", rng.uniform(-0.5, 0.5, 1600), 16_000)
        rows.append(f"{k}.png,text {k},{k}.wav,{'ab'[k % 2]}")
    for name in ("data.csv", "manifest.csv"):
        (folder / name).write_text("\n".join(rows) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_blocks(blocks("python", README), "README.md")
    return folder


def test_readme_python_runs(place):
    assert len(blocks("python", README)) >= 1
    assert (place / "build" / "example" / "onnx" / "model.onnx").is_file()


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_of_a_page_runs(place, page, monkeypatch):
    monkeypatch.chdir(place)
    run_blocks(blocks("python", PAGES[page]), page)


@pytest.mark.slow
@pytest.mark.parametrize("page", NOTEBOOKS)
def test_a_notebook_runs(page, tmp_path, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    run_blocks(cells(PAGES[page]), page)


def test_no_page_is_left_out():
    assert len(PAGES) >= 40
    assert len(WITH_PYTHON) >= 9
    assert len(NOTEBOOKS) >= 2
    for name, text in EVERYTHING.items():  # every block of Python is of one of the two kinds
        shown = len(re.findall(r"^```.*python", text, re.MULTILINE))
        assert shown == len(blocks("python", text)) + len(cells(text)), name


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {
        target
        for text in EVERYTHING.values()
        for target in re.findall(r"^make ([\w-]+)", commands(text), re.MULTILINE)
    }
    assert named >= {"demo", "test", "docs"}
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_scripts_that_are_named_exist():
    named = {
        script
        for text in EVERYTHING.values()
        for script in re.findall(r"^python (\S+\.py)", commands(text), re.MULTILINE)
    }
    assert len(named) >= 6
    assert [script for script in sorted(named) if not (ROOT / script).is_file()] == []


def test_every_mmzoo_command_is_named_in_the_documentation():
    from mmzoo.cli.app import app

    def names(typer):
        return {command.name or command.callback.__name__ for command in typer.registered_commands}

    groups = {group.name: names(group.typer_instance) for group in app.registered_groups}
    assert set(groups) == {"hub", "data", "recipes"}
    pages = "\n".join(map(commands, PAGES.values()))
    known = names(app) | set(groups)
    assert known == set(re.findall(r"^mmzoo ([\w-]+)", pages, re.MULTILINE))
    assert known >= set(re.findall(r"^mmzoo ([\w-]+)", commands(README), re.MULTILINE))
    for group, below in groups.items():
        assert below == set(re.findall(rf"^mmzoo {group} (\w+)", pages, re.MULTILINE))


@pytest.mark.parametrize("name", [*EVERYTHING, "../CONTRIBUTING.md", "../SECURITY.md"])
def test_links_lead_to_files(name):
    text = (DOCS / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [link for link in links if not ((DOCS / name).parent / link).exists()]
    assert missing == []
    if name == "../README.md":
        assert len(links) >= 20


@pytest.mark.parametrize(
    "package, page",
    [
        ("mmzoo.data", "data"),
        ("mmzoo.data.prepare", "data"),
        ("mmzoo.data.readers", "data"),
        ("mmzoo.encoders", "encoders"),
        ("mmzoo.export", "export"),
        ("mmzoo.export.embed", "export"),
        ("mmzoo.fusion", "fusion"),
        ("mmzoo.hub", "hub"),
        ("mmzoo.losses", "losses"),
        ("mmzoo.ops", "ops"),
        ("mmzoo.preprocessing", "preprocessing"),
        ("mmzoo.pretrained", "pretrained"),
        ("mmzoo.tasks", "tasks"),
        ("mmzoo.training", "training"),
    ],
)
def test_the_reference_lists_every_public_name(package, page):
    public = set(importlib.import_module(package).__all__) - {"FORMATS", "readers"}
    listed = re.findall(r"^   ([\w.]+)$", PAGES[f"reference/{page}.md"], re.MULTILINE)
    assert public - set(listed) == set()
