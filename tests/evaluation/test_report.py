import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from report_cases import (
    CLASSES,
    METRICS,
    Tags,
    accuracy,
    certificate,
    check,
    render,
    run,
    section,
    words,
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return render(tmp_path_factory.mktemp("report"), {**run(), "certificate": certificate()})


def test_page_is_well_formed_and_loads_nothing(page):
    tags = Tags(page).found
    assert {"svg", "img", "audio", "table"} <= {tag for tag, _ in tags}
    assert not {"script", "iframe", "object", "embed", "base"} & {tag for tag, _ in tags}
    for _, attributes in tags:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
        assert not any(name.startswith("on") for name in attributes)
    assert "://" not in page and "@import" not in page and not re.search(r"url\((?!#)", page)
    assert "default-src 'none'" in page
    names = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(names) == len(set(names)) > 10  # those of the two figures
    for name in re.findall(r"(?:url\(#|xlink:href=\"#)([^)\"]+)", page):
        assert name in names


def test_title_says_what_was_run(page):
    head = words(page.split("<h2>")[0])
    assert "concepts late fusion of image, text, audio 90.0 %" in head
    # By hand, Wilson's formula for 54 of 60.
    assert "Accuracy on 60 test samples (54 right); 95 % interval 79.9 % to 95.3 %" in head
    assert "An answer that looks at no input gives 10.0 %" in head
    for fact in ("1,234,567", "3 min 51 s", "Seed 7", "concept128", "5ha", "mmzoo 0.1.0"):
        assert fact in head
    assert "Two values" not in head and "not recorded" not in head


def test_missing_records_are_named(tmp_path):
    arguments = run()
    kept = ("recipe", "test")
    arguments["metrics"] = {name: METRICS[name] for name in kept}
    page = render(tmp_path, arguments)
    assert words(page.split("<h2>")[0]).count("not recorded") == 6
    assert "recorded no history" in page and "No certificate was given" in page


@pytest.mark.parametrize("recorded, shown", [(0.9, False), (0.917, False), (0.95, True)])
def test_two_accuracies_are_not_hidden(tmp_path, recorded, shown):
    arguments = run()
    arguments["metrics"]["test"]["metrics"] = accuracy(recorded)
    assert ("Two values" in render(tmp_path, arguments)) is shown


def test_curves_mark_the_best_epoch_of_both(page):
    curves = section(page, "Learning curves")
    assert "best epoch 3: 0.600" in curves and "best epoch 3: 0.750" in curves
    assert curves.count("</svg>") == 2 and "the best accuracy on the" in curves
    assert curves.count("var(--accent)") >= 2 and curves.count("var(--second)") >= 2
    assert not re.search(r"(?:fill|stroke): #", curves)  # a fixed colour is lost in one mode


def test_one_subset_is_named_and_several_are_compared(tmp_path, page):
    assert "accuracy 90.0 % 79.9 % – 95.3 % 10.0 % 95.7 % higher" in words(section(page, "Metrics"))
    part = section(page, "Features")
    assert "with all of its features: image, text, audio" in words(part)
    assert 'class="bar' not in part
    assert "image+text+audio 800 64 – no" in words(part)  # no time on record
    arguments = run()
    subsets = {"image": accuracy(0.5), "image+text+audio": accuracy(0.9)}
    arguments["metrics"]["test"]["subsets"] = subsets
    part = section(render(tmp_path, arguments), "Features")
    assert "all of its features" not in part and part.count('<span class="bar ') == 2
    assert "width:50.00%" in part and "width:90.00%" in part
    assert "image 50.0 % 37.7 % – 62.3 % – " in words(part)
    assert "Trained for these" not in words(part)  # but one model
    arguments["metrics"]["trained"]["image"] = {"test": 0.55, "seconds": 61}
    arguments["metrics"]["trained"]["image+text+audio"]["test"] = 0.9
    part = section(render(tmp_path, arguments), "Features")
    assert "Trained for these" in words(part)
    assert "image 50.0 % 37.7 % – 62.3 % – 55.0 %" in words(part)
    assert "image – – 1 min 1 s –" in words(part)


def test_other_runtimes_are_named(tmp_path):
    arguments = run()
    good = {"runtime": "onnx by OpenVINO", "samples": 51, "max_abs": 1.25e-7, "breaches": []}
    absent = {"runtime": "tflite by OpenVINO", "not_run": "it is not <there>"}
    arguments["certificate"] = certificate(second_readers=[good, absent])
    part = section(render(tmp_path, arguments), "Certificate")
    assert "onnx by OpenVINO ✓ holds 51 1.25e-07" in words(part)
    assert "tflite by OpenVINO not run: it is not <there>" in words(part)
    arguments["certificate"] = certificate(second_readers=[{**good, "breaches": ["off"]}])
    assert "onnx by OpenVINO ✗ breach 51" in words(
        section(render(tmp_path, arguments), "Certificate")
    )
    arguments["certificate"] = certificate()
    assert "other runtimes" not in words(section(render(tmp_path, arguments), "Certificate"))


def test_the_artifacts_answer_for_every_subset(tmp_path):
    arguments = run()
    metric = {"name": "accuracy", "keras": 0.5, "artifact": 0.25, "change": -0.25}
    subsets = {"image+text": metric, "nothing": {**metric, "artifact": 0.125}}
    arguments["certificate"] = certificate(subsets=subsets)
    part = section(render(tmp_path, arguments), "Certificate")
    assert "image+text 25.0 % 50.0 %" in words(part) and "nothing 12.5 % 50.0 %" in words(part)
    assert "one in 2 of them" in words(part)
    arguments["certificate"] = certificate()
    part = section(render(tmp_path, arguments), "Certificate")
    assert "Accuracy of the artifacts" not in words(part)


def test_confusions_are_counted_and_sorted(tmp_path):
    arguments = run([(0, 1), (12, 3), (13, 3), (14, 3), (20, 9), (21, 9)])
    arguments["answers"]["probability"][13, 3] = 0.95
    part = section(render(tmp_path, arguments), "Most confused classes")
    assert "6 samples were wrong, in 3 different pairs" in words(part)
    assert re.findall(r"(class \w) → (class \w) (\d) of 6", words(part)) == [
        ("class C", "class D", "3"),
        ("class D", "class J", "2"),
        ("class A", "class B", "1"),
    ]
    surest = re.search(r'base64,([^"]+)"', part)[1]  # of C as D: row 13
    image = Image.open(io.BytesIO(base64.b64decode(surest)))
    np.testing.assert_array_equal(np.asarray(image), arguments["inputs"]["image"][13])


def test_at_most_twelve_confusions_and_none_without_an_error(tmp_path):
    many = [(6 * c + k, (c + 1 + k) % 10) for c in range(10) for k in range(2)]
    part = section(render(tmp_path, run(many)), "Most confused classes")
    assert "20 different pairs" in words(part) and part.count("<li>") == 12
    part = section(render(tmp_path, run([])), "Most confused classes")
    assert "No test sample was wrong" in part and "<li>" not in part


def test_certificate_that_holds(page):
    part = words(section(page, "Certificate"))
    assert "✓ Holds:" in part and "✗" not in part
    assert (
        "ONNX ✓ holds portable samples 1 probability 51 1.50e-07 2.50e-09 3.50e-07 yes 100.0 %"
        in part
    )
    assert "ONNX onnxruntime 1.31.1 7.18 0.27 346 7.0 64.0 90.0 % 85.0 % -5.00e-02" in part
    assert "Batch 1, ms ONNX 7.0 Batch 17, ms ONNX 64.0" in part
    assert re.findall(r"width:([^%]*)%", section(page, "Certificate")) == ["100.00"] * 2


def test_breaches_show(tmp_path):
    bad = check(holds=False, finite=False, max_abs=float("nan"), agreement=None)
    broken = certificate(holds=False, checks=[bad], breaches=["3 values are not finite"])
    page = render(tmp_path, {**run(), "certificate": broken})
    part = section(page, "Certificate")
    assert '<b class="no">✗ Does not hold:</b>' in part and '<b class="no">✗ breach</b>' in part
    assert "nan 2.50e-09 3.50e-07 ✗ no – " in words(part)
    assert "<div>✗ 3 values are not finite</div>" in part


def test_a_runtime_that_never_answered_and_the_manifest(tmp_path):
    broken = certificate(holds=False, checks=[], latency_ms={}, metric=None, breaches=["it died"])
    del broken["formats"]["onnx"]["load_seconds"], broken["formats"]["onnx"]["peak_mib"]
    broken["breaches"] = ["reference.npz is not the one"]
    manifest = {"formats": {"onnx": {"path": "onnx/model.onnx", "files": {"a.onnx": "abc123"}}}}
    page = render(tmp_path, {**run(), "certificate": broken, "manifest": manifest})
    part = words(section(page, "Certificate"))
    assert "✗ it died" in part and "✗ reference.npz is not the one" in part
    assert "onnxruntime 1.31.1 7.18 – – – – –" in part and "a.onnx abc123" in part


def test_samples_are_eight_right_and_four_wrong_over_the_classes(page):
    cards = section(page, "Samples").split('<li class="sample ')[1:]
    assert [card.split('"')[0] for card in cards] == ["right"] * 8 + ["wrong"] * 4
    rows = [int(re.search(r"sample (\d+)<", card)[1]) for card in cards]
    assert len({row // 6 for row in rows[:8]}) == 8  # eight classes
    assert {0, 54} < set(rows) and len({row // 6 for row in rows[8:]}) == 4
    for row, card in zip(rows, cards, strict=True):
        assert f">phrase {row}.<" in card and card.count("<img") == card.count("<audio") == 1
        assert f"True: {CLASSES[row // 6]} " in words(card)
    assert "✓ right" in cards[0] and "✗ wrong" in cards[8]
    # Row 0 is an A, taken for a B; then the equals in class order, A first and marked.
    assert "class B 82.0 % class A ✓ 2.0 % class C 2.0 %" in words(cards[8])
    assert "width:82.00%" in cards[8] and "rank" not in cards[8]


def test_few_wrong_samples_and_a_true_class_far_down(tmp_path):
    arguments = run([(54, 0)])
    page = render(tmp_path, arguments)
    assert page.count('class="sample wrong"') == 1 and page.count('class="sample right"') == 8
    assert "The true class is at rank 10, with 2.0 %" in words(page)
    assert "8 right and 1 wrong" in words(page)
    for side in ("inputs", "targets", "answers"):
        arguments[side] = {name: value[:7] for name, value in arguments[side].items()}
    page = render(tmp_path, arguments)
    assert page.count('class="sample right"') == 7  # from two classes: the rest is filled up
