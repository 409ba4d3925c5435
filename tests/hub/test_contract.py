"""A contract survives JSON, and a wrong one says which field is wrong."""

import dataclasses
import json

import pytest

from mmzoo.hub.contract import Contract, Input, Outputs, contract_from_dict, read_contract

IMAGE = Contract(
    "image",
    Input("image", "float32", size=(224, 160), value_range=(0.0, 1.0), mean=(0.5, 0.4, 0.3)),
    Outputs(1280),
    fine_tunable=True,
    licence="Apache-2.0",
)
SPEECH = Contract(
    "audio",
    Input("waveform", "float32", sample_rate=16_000, batched=False, max_length=480_000),
    Outputs(1024, pooled=None, tokens=1, mask="mask"),
    fine_tunable=False,
)


@pytest.mark.parametrize("contract", [IMAGE, SPEECH])
def test_json_round_trip(contract):
    assert Contract.from_json(contract.to_json()) == contract
    assert json.loads(contract.to_json())["format"] == 1


def test_what_has_a_default_may_be_left_out():
    data = {
        "modality": "text",
        "input": {"kind": "string", "dtype": "string"},
        "outputs": {"units": 512},
        "fine_tunable": True,
    }
    expected = Contract("text", Input("string", "string"), Outputs(512, pooled=""), True, "")
    assert contract_from_dict(data) == expected
    assert set(data) == {"modality", "input", "outputs", "fine_tunable"}


@pytest.mark.parametrize(
    "part, changes, message",
    [
        (None, {"modality": "smell"}, "`modality` of a contract must be one of .*image.*'smell'"),
        (None, {"fine_tunable": 1}, "`fine_tunable` of a contract must be true or false. Rec.*1"),
        (None, {"licence": None}, "`licence` of a contract must be a string. Received: None"),
        (None, {"colour": 1}, r"`contract` of a contract .* unknown: \['colour'\]"),
        (None, {"format": 2}, "Received: format 2. A later mmzoo wrote it: upgrade mmzoo"),
        (None, {"input": 3}, "`input` of a contract must be an object. Received: 3"),
        (None, {"outputs": None}, "`outputs` of a contract must be an object. Received: None"),
        ("input", {"kind": "pixels"}, "`input.kind` of a contract must be one of"),
        ("input", {"dtype": ""}, "`input.dtype` of a contract must be a dtype's name"),
        ("input", {"size": [224]}, "`input.size` .* two positive ints or null. Received: .224,"),
        ("input", {"size": [0, 224]}, "`input.size` of a contract must be two positive ints"),
        ("input", {"size": 224}, "`input.size` of a contract must be two positive ints"),
        ("input", {"value_range": [0.0]}, "`input.value_range` of a contract must be numbers"),
        ("input", {"mean": ["a"]}, "`input.mean` of a contract must be numbers or null"),
        ("input", {"std": []}, "`input.std` of a contract must be numbers or null"),
        ("input", {"sample_rate": 0}, "`input.sample_rate` of a contract must be a positive int"),
        ("input", {"sample_rate": 16000}, "must be null unless the input is a waveform"),
        ("input", {"kind": "waveform"}, "`input.sample_rate` .* must be an int in Hz. Rec.*None"),
        ("input", {"max_length": -1}, "`input.max_length` of a contract must be a positive int"),
        ("input", {"batched": "no"}, "`input.batched` of a contract must be true or false"),
        ("input", {"preprocessor": None}, "`input.preprocessor` of a contract must be a handle"),
        ("input", {"rate": 1}, r"`input` of a contract has fields missing: .., unknown: ..rate"),
        ("outputs", {"units": -1}, "`outputs.units` of a contract must be an int, at least 0"),
        ("outputs", {"tokens": -1}, "`outputs.tokens` of a contract must be a key, a position"),
        ("outputs", {"mask": 1.5}, "`outputs.mask` of a contract must be a key, a position or"),
        ("outputs", {"pooled": None}, "`outputs.pooled` of a contract must be a place, if there"),
    ],
)  # fmt: skip
def test_wrong_fields_are_named(part, changes, message):
    data = {"format": 1, **dataclasses.asdict(IMAGE)}
    (data if part is None else data[part]).update(changes)
    with pytest.raises(ValueError, match=message):
        Contract.from_json(json.dumps(data))


def test_missing_fields_are_named():
    with pytest.raises(ValueError, match=r"`input` of a contract has fields missing: \['dtype'\]"):
        contract_from_dict({"input": {"kind": "string"}, "outputs": {"units": 1}})
    with pytest.raises(ValueError, match=r"fields missing: \['fine_tunable', 'modality'\]"):
        contract_from_dict(
            {"input": {"kind": "string", "dtype": "string"}, "outputs": {"units": 1}}
        )
    with pytest.raises(ValueError, match="Expected a contract: a JSON object. Received: 3"):
        contract_from_dict(3)
    with pytest.raises(ValueError, match="`input` must be an Input"):
        Contract("text", {}, Outputs(1), True)


def test_a_modules_folder_carries_it(tmp_path):
    assert read_contract(tmp_path) is None
    path = tmp_path / "assets.extra" / "module.json"
    path.parent.mkdir()
    path.write_text(SPEECH.to_json(), encoding="utf-8")
    assert read_contract(str(tmp_path)) == SPEECH
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"module.json: Expected a contract as JSON. Received"):
        read_contract(tmp_path)
