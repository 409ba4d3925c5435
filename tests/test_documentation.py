"""What the documents show is run: README's Python, and every docstring's example."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


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


def test_readme_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(snippets) >= 1
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out.startswith("True")
    assert (tmp_path / "build" / "example" / "onnx" / "model.onnx").is_file()


@pytest.mark.parametrize("target", ["demo", "test"])
def test_readme_commands_are_targets_of_the_makefile(target):
    assert f"make {target}" in README
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_mmzoo_command_in_the_readme_exists():
    from mmzoo.cli.app import app

    def names(typer):
        return {command.name or command.callback.__name__ for command in typer.registered_commands}

    groups = {group.name: names(group.typer_instance) for group in app.registered_groups}
    assert set(groups) == {"hub", "data"}
    named = set(re.findall(r"^mmzoo ([\w-]+)", README, re.MULTILINE))
    assert names(app) | set(groups) == named
    for group, known in groups.items():
        assert known == set(re.findall(rf"^mmzoo {group} (\w+)", README, re.MULTILINE))


def test_links_in_the_readme_lead_to_files():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert len(links) >= 3
    assert [link for link in links if not (ROOT / link).exists()] == []
