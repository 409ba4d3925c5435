"""The catalogue is readable, and says what the modules' documentation says."""

import json
import subprocess
import sys

import pytest

from mmzoo.hub import catalogue
from mmzoo.hub.handles import parse

ENTRIES = catalogue.entries()
BY_HANDLE = {entry.handle: entry for entry in ENTRIES}


def test_every_handle_is_canonical_and_there_once():
    assert len(ENTRIES) == 41
    names = [name for entry in ENTRIES for name in (entry.handle, entry.kaggle) if name]
    assert len(set(names)) == len(names)
    for name in names:
        assert str(parse(name)) == name
        assert parse(name).version is not None
    assert all(parse(entry.kaggle).kind == "kaggle" for entry in ENTRIES if entry.kaggle)


def test_entries_are_whole():
    for entry in ENTRIES:
        ours = entry.handle.startswith("mmzoo/")
        assert (entry.contract is None) == ours
        if not ours:
            assert entry.contract.modality == entry.modality
            assert entry.contract.licence == "Apache-2.0"
        assert set(entry.needs) <= {"tensorflow-text"}
    assert [e.modality for e in ENTRIES] == sorted(
        (e.modality for e in ENTRIES), key=["image", "text", "audio", "video"].index
    )
    assert {e.build for e in ENTRIES if e.build} == {"image", "text", "minilm", "audio"}


def test_preprocessors_are_listed_themselves():
    wanted = {e.contract.input.preprocessor for e in ENTRIES if e.contract}
    wanted.discard("")
    assert len(wanted) == 3
    for name in wanted:
        assert BY_HANDLE[name].contract.input.kind == "string"
        assert BY_HANDLE[name].needs == ("tensorflow-text",)


@pytest.mark.parametrize(
    "name, kind, units, fine_tunable",
    [  # as the pages of the modules say
        ("google/imagenet/mobilenet_v2_100_224/feature_vector/5", "image", 1280, True),
        ("google/imagenet/inception_v3/feature_vector/5", "image", 2048, True),
        ("google/universal-sentence-encoder/4", "string", 512, True),
        ("google/nnlm-en-dim128/2", "string", 128, True),
        ("google/sentence-t5/st5-base/1", "string", 768, False),
        ("google/electra_small/2", "token_ids", 256, True),
        ("google/yamnet/1", "waveform", 1024, False),
        ("google/vggish/1", "waveform", 128, False),
        ("google/trillsson5/1", "waveform", 1024, True),
        ("tensorflow/movinet/a0/base/kinetics-600/classification/3", "video", 600, True),
    ],
)
def test_contracts(name, kind, units, fine_tunable):
    contract = catalogue.find(f"tfhub.dev/{name}").contract
    assert contract.input.kind == kind
    assert contract.outputs.units == units
    assert contract.fine_tunable is fine_tunable


def test_sizes_and_rates():
    def takes(name):
        return catalogue.find(f"tfhub.dev/{name}").contract.input

    assert takes("google/imagenet/inception_v3/feature_vector/5").size == (299, 299)
    assert takes("google/bit/m-r50x1/1").size is None
    for entry in ENTRIES:
        if entry.contract and entry.contract.input.kind == "image":
            assert entry.contract.input.value_range == (0.0, 1.0)
        if entry.contract and entry.contract.input.kind == "waveform":
            assert entry.contract.input.sample_rate == 16_000
    assert takes("google/yamnet/1").batched is False
    assert takes("vasudevgupta7/wav2vec2/1").max_length == 246_000


def test_a_module_is_found_under_any_spelling_on_either_host():
    entry = catalogue.find("https://tfhub.dev/google/universal-sentence-encoder/4")
    for spelling in (
        "tfhub.dev/google/universal-sentence-encoder/4/",
        "google/universal-sentence-encoder/tensorFlow2/universal-sentence-encoder/2",
        "https://www.kaggle.com/models/google/universal-sentence-encoder/TensorFlow2/"
        "universal-sentence-encoder/2",
    ):
        assert catalogue.find(spelling) is entry
    assert catalogue.find("tfhub.dev/google/universal-sentence-encoder/3") is None
    assert catalogue.find("./folder") is None


def test_equivalents_go_both_ways_and_only_where_they_are_known():
    for entry in ENTRIES:
        if entry.kaggle:
            assert [str(e) for e in catalogue.equivalents(entry.handle)] == [entry.kaggle]
            assert [str(e) for e in catalogue.equivalents(entry.kaggle)] == [entry.handle]
        else:
            assert catalogue.equivalents(entry.handle) == ()
    assert catalogue.equivalents("tfhub.dev/google/trillsson5/1") == ()
    assert catalogue.equivalents("tfhub.dev/nobody/nothing/1") == ()
    assert sum(bool(entry.kaggle) for entry in ENTRIES) == 27


def test_the_file_has_only_known_fields(monkeypatch, tmp_path):
    data = [{"handle": "mmzoo/a/1", "modality": "image", "colour": 1}]
    (tmp_path / "catalogue.json").write_text(json.dumps(data))
    monkeypatch.setattr(catalogue, "_FILE", tmp_path / "catalogue.json")
    with pytest.raises(TypeError, match="colour"):
        catalogue.entries.__wrapped__()


def test_reading_it_needs_no_tensorflow():
    code = "import sys, mmzoo.hub.catalogue as c; c.entries(); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
