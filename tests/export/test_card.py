"""What a bundle says of itself in words."""

import copy

from manifests import declared

from mmzoo.export.bundle.model_card import artifacts_table, model_card

MANIFEST = declared({
    "model": "small",
    "inputs": [
        {"name": "image", "dtype": "uint8", "shape": [None, None, None, 3]},
        {"name": "image_present", "dtype": "bool", "shape": [None], "presence_of": "image"},
    ],
    "outputs": [{"name": "probability", "dtype": "float32", "shape": [None, 7]}],
}, [f"c{k}" for k in range(7)], "crop", (48, 64))  # fmt: skip
METRIC = {"name": "accuracy", "samples": 1024, "artifact": 0.75, "keras": 0.8, "change": -0.05}
CERTIFICATE = {
    "tolerance": 1e-5,
    "samples": {"source": "file", "count": 1024},
    "formats": {
        "tflite-int8": {
            "runtime": "ai-edge-litert 2.3.0", "bytes": 2_512_345, "latency_ms": {"1": 1.25},
            "metric": METRIC, "subsets": {"nothing": {**METRIC, "keras": 0.125, "samples": 128}},
            "checks": [
                {"max_abs": 0.25, "sizes": "samples", "samples": 1024},
                {"max_abs": 0.5, "sizes": "nothing", "samples": 128},
            ],
        }
    },
}  # fmt: skip


def test_the_card_says_what_was_measured_and_what_nobody_stated():
    card = model_card(
        MANIFEST, CERTIFICATE, {"": "A small one.", "Data": "Icons.", "Thanks": "You."}
    )
    assert card.startswith("# small\n\nA small one.\n")
    assert "| `image` | in | uint8 | (any, any, any, 3) |" in card
    assert "| `probability` | out | float32 | (any, 7) |" in card
    assert "May be absent: image." in card
    assert (
        "`image`: an image, RGB from 0 to 255, one of another size is cut to the proportions of"
        in card
    )
    assert "the size of the samples; the model itself takes any." in card
    row = "| tflite-int8 | ai-edge-litert 2.3.0 | 2.5 | 1.2 | 0.750 | -0.050 | 5.0e-01 |"
    assert row in card and row == artifacts_table(CERTIFICATE)[-1]
    assert "| nothing | 0.125 | 128 |" in card
    assert "## Data\n\nIcons." in card and "## Thanks\n\nYou." in card
    assert card.count("Not stated by who exported it.") == 3  # metrics, limits, licence


def test_without_labels_and_presence_there_is_less_to_say():
    certificate = copy.deepcopy(CERTIFICATE)
    certificate["formats"]["tflite-int8"] |= {"metric": None, "subsets": {}}
    card = model_card({**MANIFEST, "inputs": MANIFEST["inputs"][:1]}, certificate)
    assert "| 1.2 | – | – | 5.0e-01 |" in card
    assert "absent" not in card and "what is present" not in card


def test_the_command_line_fills_the_card(tmp_path):
    from mmzoo.export.bundle.model_card import read_about

    file = tmp_path / "about.md"
    file.write_text(
        "What it is for.\n\n## limits\n\nNone known.\n\n```\n# no heading\n```\n# Thanks\nAll.\n"
    )
    found = read_about([str(file), "Data=12,000 photos = ours"])
    assert found == {
        "": "What it is for.", "Limits": "None known.\n\n```\n# no heading\n```",
        "Thanks": "All.", "Data": "12,000 photos = ours",
    }  # fmt: skip


def test_what_the_card_can_not_take_is_refused(tmp_path):
    import pytest

    from mmzoo.export.bundle.model_card import read_about

    (tmp_path / "empty.md").write_text("# Data\n")
    (tmp_path / "latin.md").write_bytes(b"# Data\n\xe9\n")
    for given, words in (
        (["Data"], "HEADING=TEXT"),
        (["=text"], "HEADING=TEXT"),
        (["Data="], "HEADING=TEXT"),
        ([str(tmp_path / "none.md")], "can't be read"),
        ([str(tmp_path / "latin.md")], "can't be read as UTF-8"),
        ([str(tmp_path / "empty.md")], "has no text"),
        (["Data=one", "data=two"], "says 'Data' twice"),
    ):
        with pytest.raises(ValueError, match=words):
            read_about(given)


def test_a_name_that_keras_made_up_is_no_title():
    from mmzoo.export.bundle.model_card import _title

    sides = {"inputs": [{"name": "x"}, {"name": "z"}], "outputs": [{"name": "y"}]}
    for made_up in ("functional", "functional_12", "sequential", "model_1"):
        assert _title(None, {"model": made_up, **sides}) == "Model of x, z to y"
        assert _title(" Wea\nther ", {"model": made_up, **sides}) == "Wea ther"
    assert _title(None, {"model": "concepts", **sides}) == "concepts"
