"""The files of a release agree with one another and can be read by those that need them."""

import configparser
import re
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import mmzoo

ROOT = Path(__file__).resolve().parent.parent
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg", encoding="utf-8")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TEMPLATES = sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml"))
VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")


def load(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def oldest_python():
    (version,) = re.fullmatch(r">=(3\.\d+)", CONFIG["options"]["python_requires"]).groups()
    return version


def test_the_version_is_written_in_one_place():
    assert VERSION.fullmatch(mmzoo.__version__)
    assert CONFIG["metadata"]["version"] == "attr: mmzoo._version.__version__"
    code = (ROOT / "mmzoo/_version.py").read_text(encoding="utf-8")
    assert code == f'__version__ = "{mmzoo.__version__}"\n'
    assert metadata.version("mmzoo") == mmzoo.__version__


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\S+)", text, re.MULTILINE)
    assert versions[0] == mmzoo.__version__
    assert len(versions) == len(set(versions))


def test_the_citation_is_of_this_version():
    citation = load(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == mmzoo.__version__
    assert citation["license"] == CONFIG["metadata"]["license"]
    assert citation["authors"] == [{"name": CONFIG["metadata"]["author"]}]
    assert {"message", "title", "type"} <= set(citation)


def test_the_metadata_names_files_and_classifiers_that_exist():
    found = CONFIG["metadata"]
    assert found["long_description"] == "file: README.md"
    for name in found["license_files"].split():
        assert (ROOT / name).is_file()
    classifiers = found["classifiers"].split("\n")
    assert f"Programming Language :: Python :: {oldest_python()}" in classifiers
    # An expression in `license` and a classifier of a licence exclude each other (PEP 639).
    assert not any(line.startswith("License ::") for line in classifiers)


def test_the_documentation_is_an_extra_of_its_own():
    extras = CONFIG["options.extras_require"]
    assert {"sphinx", "myst-nb", "furo"} <= set(re.findall(r"^[\w-]+", extras["docs"], re.M))
    assert "'.[docs]'" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_what_the_repository_has(path):
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    # YAML 1.1 reads the key `on` as true.
    starts = {"schedule"} if path.stem == "nightly" else {"push", "pull_request"}
    assert starts <= set(workflow[True])
    (job,) = workflow["jobs"].values()
    assert job["timeout-minutes"] > 0
    pythons = [step["with"]["python-version"] for step in job["steps"]
               if step.get("uses", "").startswith("actions/setup-python@")]  # fmt: skip
    assert pythons == [oldest_python()]
    commands = [step["run"] for step in job["steps"] if "run" in step]
    known = {"ci": [".ci/run"], "docs": ["make docs"], "nightly": ["make exhaustive"]}
    assert commands == known[path.stem]


def test_the_workflows_are_all_there():
    assert [path.stem for path in WORKFLOWS] == ["ci", "docs", "nightly"]
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    assert "\ndocs:" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_an_issue_template_is_a_form(path):
    form = load(path)
    assert form["name"] and form["description"]
    asked = [item for item in form["body"] if item["type"] != "markdown"]
    assert {item["type"] for item in asked} <= {"textarea", "input", "dropdown", "checkboxes"}
    names = [item["id"] for item in asked]
    assert len(names) == len(set(names)) >= 2
    assert all(item["attributes"]["label"] for item in asked)
    assert any(item.get("validations", {}).get("required") for item in asked)


def test_the_issue_templates_are_there():
    assert len(TEMPLATES) >= 3
    assert load(ROOT / ".github/ISSUE_TEMPLATE/config.yml")["blank_issues_enabled"] is True


def test_the_dockerfile_uses_the_declared_python_and_a_known_extra():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == [f"python:{oldest_python()}-slim"]
    (extra,) = re.findall(r"pip install .*\[(\w+)\]", text)
    assert extra in CONFIG["options.extras_require"]
    assert 'ENTRYPOINT ["mmzoo"]' in text
    assert "mmzoo = " in CONFIG["options.entry_points"]["console_scripts"]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    needed = {"README.md", "LICENSE", "NOTICE", "mmzoo", "export", "recipes", "cli"}
    assert ".git" in ignored and not needed & set(ignored)


def test_the_security_policy_says_where_to_report():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "private vulnerability reporting" in text


def test_the_sdist_lists_folders_that_exist():
    lines = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()
    named = [name for line in lines if line.startswith(("include ", "graft "))
             for name in line.split()[1:]]  # fmt: skip
    assert len(named) >= 15
    assert [name for name in named if not (ROOT / name).exists()] == []
