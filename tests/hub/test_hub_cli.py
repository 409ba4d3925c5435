"""`mmzoo hub` as a person calls it: tables, one-line errors, exit codes, no TensorFlow."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from tiny import pack, write_module

from mmzoo.hub.catalogue import entries
from mmzoo.hub.contract import Contract, Input, Outputs

SOUND = Contract(
    "audio",
    Input("waveform", "float32", value_range=(-1.0, 1.0), sample_rate=16_000),
    Outputs(4, pooled="pooled", tokens="tokens"),
    fine_tunable=True,
    licence="CC0-1.0",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_module(tmp_path_factory.mktemp("whole") / "module")


@pytest.fixture
def mmzoo(tmp_path):
    names = ("MMZOO_CACHE", "TFHUB_CACHE_DIR", "KAGGLEHUB_CACHE")
    environment = {**os.environ, **{name: str(tmp_path / name) for name in names}}
    environment.pop("MMZOO_OFFLINE", None)

    def run(*arguments, **more):
        done = subprocess.run(
            [sys.executable, "-m", "mmzoo", "hub", *map(str, arguments)],
            capture_output=True, text=True, timeout=120, env={**environment, **more},
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return run


def put(whole, folder, contract=None):
    shutil.copytree(whole, folder)
    if contract is not None:
        (folder / "assets.extra").mkdir()
        (folder / "assets.extra/module.json").write_text(contract)
    return folder


def test_list_shows_the_catalogue(mmzoo, whole, tmp_path):
    put(whole, tmp_path / "MMZOO_CACHE/tfhub.dev/google/yamnet/1")
    done = mmzoo("list")
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if "/" in line}
    assert len(rows) == len(entries())
    yamnet = rows["tfhub.dev/google/yamnet/1"]
    for word in (
        "waveform in [-1, 1] at 16000 Hz, one a call",
        "1024",
        "no",
        "Apache-2.0",
        "mmzoo",
    ):
        assert word in yamnet
    assert rows["tfhub.dev/google/vggish/1"].rstrip().endswith("no")
    assert "of any size" in rows["tfhub.dev/google/bit/m-r50x1/1"]


def test_list_as_json_of_one_modality(mmzoo, whole, tmp_path):
    folder = put(whole, tmp_path / "MMZOO_CACHE/mmzoo/whisper-tiny-en/1", SOUND.to_json())
    broken = put(whole, tmp_path / "MMZOO_CACHE/tfhub.dev/google/yamnet/1")
    (broken / "saved_model.pb").unlink()
    odd = put(whole, tmp_path / "MMZOO_CACHE/tfhub.dev/google/vggish/1", "{")
    done = mmzoo("list", "--json", "--modality", "audio")
    assert done.returncode == 0, done.stderr
    rows = {row["handle"]: row for row in json.loads(done.stdout)}
    assert {row["modality"] for row in rows.values()} == {"audio"}
    ours = rows["mmzoo/whisper-tiny-en/1"]
    assert (ours["units"], ours["licence"], ours["cached_in"]) == (4, "CC0-1.0", "mmzoo")
    assert ours["path"] == str(folder)
    assert rows["https://tfhub.dev/google/yamnet/1"]["cached_in"] == ""
    assert str(odd) in rows["https://tfhub.dev/google/vggish/1"]["note"]


def test_list_imports_no_tensorflow():
    code = (
        "import sys; from mmzoo.cli.app import app\n"
        "app(['hub', 'list'], standalone_mode=False)\n"
        "print('loaded', [n for n in ('tensorflow', 'keras', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "loaded []", done.stderr


def test_info_of_a_module_that_is_not_here(mmzoo, tmp_path):
    done = mmzoo("info", "tfhub.dev/google/LaBSE/2/")
    assert done.returncode == 0, done.stderr
    lines = {tuple(line.split(maxsplit=1)) for line in done.stdout.splitlines()}
    assert lines >= {
        ("handle", "https://tfhub.dev/google/LaBSE/2"),
        ("also", "kaggle://google/labse/tensorFlow2/labse/2"),
        ("output", "768 units (pooled: 'default', tokens: 'sequence_output')"),
        ("fine-tunable", "yes"),
        ("mmzoo", f"{tmp_path}/MMZOO_CACHE/tfhub.dev/google/LaBSE/2 (absent)"),
        (
            "preprocessor",
            "https://tfhub.dev/google/universal-sentence-encoder-cmlm/multilingual-preprocess/2",
        ),
    }
    done = mmzoo("info", "mmzoo/minilm-l6/1")
    assert "mmzoo hub build minilm" in done.stdout and "384 units" in done.stdout
    assert "tensorflow-text" in mmzoo("info", "tfhub.dev/google/sentence-t5/st5-base/1").stdout


def test_info_reads_what_is_in_a_folder(mmzoo, whole, tmp_path):
    folder = put(whole, tmp_path / "m", SOUND.to_json())
    done = mmzoo("info", folder)
    assert done.returncode == 0, done.stderr
    assert "variables       2, 1,201 values; reusable" in done.stdout
    assert "serving_default: inputs float32(?, 300) → output_0 float32(?, 4)" in done.stdout
    assert "output          4 units (pooled: 'pooled', tokens: 'tokens')" in done.stdout
    (folder / "assets.extra/module.json").write_text("{")
    done = mmzoo("info", folder)
    assert done.returncode == 1 and "module.json: Expected a contract as JSON" in done.stderr


def test_info_names_what_is_broken(mmzoo, whole, tmp_path):
    folder = put(whole, tmp_path / "MMZOO_CACHE/tfhub.dev/google/yamnet/1")
    (folder / "variables/variables.index").unlink()
    done = mmzoo("info", "tfhub.dev/google/yamnet/1")
    assert done.returncode == 0
    assert f"{folder} (broken: variables/variables.index is missing)" in done.stdout


def test_fetch_prints_the_folder(mmzoo, whole, tmp_path):
    archive = pack(whole, tmp_path / "m.tgz")
    first = mmzoo("fetch", archive)
    assert first.returncode == 0, first.stderr
    folder = first.stdout.strip()
    assert os.path.isfile(f"{folder}/saved_model.pb")
    os.remove(f"{folder}/variables/variables.index")
    again = mmzoo("fetch", "--offline", archive)
    assert again.stdout == first.stdout
    assert f"mmzoo does not use the module at {folder} (broken: " in again.stderr
    assert os.path.isfile(f"{folder}/variables/variables.index")
    assert mmzoo("fetch", archive, "--force").stdout == first.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["fetch", "tfhub.dev/google/yamnet/1", "--offline"], "Can't fetch https://tfhub.dev/goo"),
        (["fetch", "mmzoo/whisper-tiny-en/1"], "mmzoo hub build audio"),
        (["fetch", "nowhere"], "Expected a folder with saved_model.pb"),
        (["fetch", "s3://bucket/m"], "Expected a handle that starts with https://"),
        (["info", "nowhere"], "Expected a folder with saved_model.pb"),
        (["info", "gone.zip"], "Expected an archive. Received"),
        (["info", "https://tfhub.dev/google"], "Expected https://tfhub.dev/PUBLISHER/MODEL"),
    ],
)
def test_errors_are_one_line(mmzoo, arguments, message):
    done = mmzoo(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr


def test_offline_by_the_environment(mmzoo):
    done = mmzoo("fetch", "tfhub.dev/google/yamnet/1", MMZOO_OFFLINE="1")
    assert done.returncode == 1 and "offline mode is on" in done.stderr


def test_wrong_usage_exits_2(mmzoo):
    assert mmzoo("list", "--modality", "smell").returncode == 2
    assert mmzoo("--help").returncode == 0
