"""Features, answers, metrics and tasks: JSON, reading, decisions, intervals."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Picture

from mmzoo import tasks
from mmzoo.tasks import (
    Accuracy,
    Audio,
    Category,
    Classification,
    Embedding,
    Image,
    Labels,
    Multilabel,
    Number,
    Regression,
    Scores,
    Task,
    Tensor,
    Text,
    compare_values,
    guess_task,
    measure,
)

FEATURES = (
    Image("photo", (8, 6), "pad"), Text("title"), Audio("voice", 8_000), Number("age", "years"),
    Category("city", ("Oslo", "Rome")),
)  # fmt: skip
TASKS = [
    Classification(FEATURES, ("a", "b", "c")),
    Multilabel(FEATURES[:2], ("red", "round"), threshold=0.4),
    Regression(FEATURES[3:], answer_name="price", target="sold", unit="EUR", mean=3.0, scale=2.0),
    Embedding(FEATURES[:1], width=5),
    guess_task(
        [Tensor("image", "uint8", (None, 4, 4, 3)), Tensor("x", "float32", (None, 3))],
        [Tensor("y", "float32", (None, 2)), Tensor("z", "float32", (None, 7))], ["no", "yes"],
    ),
]  # fmt: skip


def test_no_tensorflow_is_needed():
    code = "import sys, mmzoo.tasks; print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_json_is_the_task_again(task):
    written = json.loads(json.dumps(task.to_json()))
    assert Task.from_json(written) == task
    assert [each["name"] for each in written["answers"]] == [each.name for each in task.answers]
    assert written["metrics"][0]["kind"] == task.metrics[0].kind


def test_faults_of_json_are_named():
    good = TASKS[0].to_json()
    for change, words in [
        ({"kind": "smell"}, "task kind 'smell' is not known here. Import the module"),
        ({"more": 1}, "has the fields"),
        ({"features": []}, "at least one feature"),
        ({"features": [good["features"][0]] * 2}, "different names"),
        ({"features": [{"kind": "image", "name": "a", "fit": "cover"}]}, "`fit` must be one of"),
    ]:
        with pytest.raises(ValueError, match=words):
            Task.from_json(good | change)
    with pytest.raises(ValueError, match="no feature 'smell'. There are photo, title"):
        TASKS[0].feature("smell")


def test_a_kind_is_taken_once():
    with pytest.raises(ValueError, match="metric kind 'accuracy' is taken by mmzoo.tasks"):

        @dataclasses.dataclass(frozen=True)
        class Other(tasks.Metric, kind="accuracy"):
            pass


def test_cells_are_read_and_stacked(tmp_path):
    Picture.new("RGB", (30, 40), "red").save(tmp_path / "a.png")
    image, text, _, number, category = FEATURES
    assert image.read(tmp_path / "a.png").shape == (8, 6, 3)
    tensor = Tensor("age", "float32", (None,), kind="number")
    values = [number.read(cell) for cell in ("33", 4, None, " ")]
    np.testing.assert_array_equal(number.stack(values, tensor, []), [33, 4, np.nan, np.nan])
    tensor = Tensor("city", "int32", (None, 1), kind="category")
    values = [category.read(cell) for cell in ("Rome", "Paris", None)]
    assert category.stack(values, tensor, []).tolist() == [[2], [0], [0]]
    tensor = Tensor("title", "uint8", (None, 4), kind="text")
    assert text.stack(["ab", None], tensor, [4]).tolist() == [[97, 98, 0, 0], [0, 0, 0, 0]]
    for feature, cell, words in [
        (number, "many", "'age' as a number. Received: 'many'"),
        (number, "inf", "as a finite number"),
        (text, ["a"], "'title' as a text"),
        (tasks.Array("x"), "1", "'x' as an array"),
    ]:
        with pytest.raises(ValueError, match=words):
            feature.read(cell)


@pytest.mark.parametrize("feature, tensor", [
    (Image("photo"), Tensor("photo", "uint8", (None, None, None, 3))),
    (FEATURES[1], Tensor("title", "uint8", (None, None))),
    (FEATURES[2], Tensor("voice", "float32", (None, 100))),
    (FEATURES[3], Tensor("age", "float32", (None,))),
    (FEATURES[4], Tensor("city", "int32", (None,))),
])  # fmt: skip
def test_drawn_values_are_such_as_the_feature_takes(feature, tensor):
    drawn = feature.draw(np.random.default_rng(0), tensor, 20)
    assert drawn.shape[0] == 20 and drawn.dtype == tensor.dtype
    assert feature.fits(Tensor(tensor.name, tensor.dtype, (None, *drawn.shape[1:])))
    assert len(np.unique(drawn)) > 2
    assert not feature.fits(Tensor(tensor.name, "complex64", tensor.shape))


def test_decisions_and_their_leads():
    scores = np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2]])
    answer = Scores("y")
    assert answer.decisions(scores).tolist() == [[0], [0]]
    np.testing.assert_allclose(answer.leads(scores), [[0.2], [0]])
    other = scores[:, [1, 0, 2]]
    assert answer.agreement(other, scores, 0) == 0.5 and answer.agreement(other, scores, 0.3) == 1
    labels = Labels("y", ("a", "b", "c"), 0.45)
    assert labels.decisions(scores).tolist() == [[True, False, False], [False, False, False]]
    assert labels.agreement(scores + 0.1, scores, 0) == pytest.approx(4 / 6)
    # 0.5 and 0.4 are each 0.05 from the threshold: 0.11 of the largest score moves that far.
    assert labels.may_flip(scores, 0.05) == 0 and labels.may_flip(scores, 0.11) == 2
    assert tasks.Value("y").agreement(scores, other, 0) is None
    assert answer.read(scores[0], 2) == [
        {"class": "0", "score": 0.5}, {"class": "1", "score": 0.3},
    ]  # fmt: skip


def test_an_interval_holds_the_truth_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    for _ in range(100):
        truth = rng.normal(0, 1, 60)
        found = measure(
            TASKS[2].metrics[0], {"price": truth + rng.normal(0, 1, 60)}, {"sold": truth}
        )
        low, high = found["interval"]
        held += low <= np.sqrt(2 / np.pi) <= high  # the mean of |x| of a standard normal
    assert 86 <= held <= 99


def test_groups_are_drawn_together():
    right = np.repeat(np.random.default_rng(0).random(10) < 0.5, 20)
    answers = {"probability": np.eye(2)[right.astype(int)]}
    targets = {"labels": np.ones(200, int)}
    metric = Accuracy("probability", "labels")
    alone = measure(metric, answers, targets)["interval"]
    together = measure(metric, answers, targets, np.repeat(np.arange(10), 20))["interval"]
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_what_a_metric_lost():
    truth = {"sold": np.arange(40.0)}
    good, bad = ({"price": truth["sold"] + off} for off in (1.0, 1.5))
    found = compare_values(TASKS[2].metrics[0], bad, good, truth)
    assert found["change"] == pytest.approx(0.5) and found["lost"] == pytest.approx(0.5)
    assert found["differ"] is None and found["interval"][0] <= 1.5 <= found["interval"][1]
    scores = np.eye(2)[np.r_[np.zeros(30, int), np.ones(10, int)]]
    found = compare_values(
        Accuracy("p", "y"), {"p": scores}, {"p": np.eye(2)[np.zeros(40, int)]},
        {"y": np.zeros(40, int)},
    )  # fmt: skip
    assert found["lost"] == 0.25 and found["differ"] == 10
    assert found["error"] == pytest.approx(np.sqrt(10) / 40)


@pytest.mark.parametrize("task", TASKS[:4], ids=lambda task: task.kind)
def test_a_head_learns_and_its_baseline_is_no_better_than_chance(task):
    import keras

    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (200, 4)).astype("float32")
    first = (x[:, 0] > 0).astype(int)
    targets = {
        "classification": {"labels": first},
        "multilabel": {"labels": np.stack([first, 1 - first], 1)},
        "regression": {"sold": 2 * x[:, 0] + 3},
        "embedding": {"labels": first},
    }[task.kind]
    task.check_targets(targets)
    keras.utils.set_random_seed(0)
    given = keras.Input((4,), name="given")
    model = keras.Model(given, task.head(keras.layers.Dense(8, "relu")(given)))
    model.compile("adam", loss=task.losses())
    metric = task.metrics[0]
    base = metric.value(task.baseline(targets, 200), targets)
    model.fit(x, task.training_targets(targets), epochs=60, batch_size=50, verbose=0)
    found = metric.value(model.predict(x, verbose=0), targets)
    assert (found - base) * (1 if metric.higher_is_better else -1) > 0.2, (found, base)


def test_wrong_targets_are_named():
    for task, targets, words in [
        (TASKS[0], {"labels": np.array([0, 3])}, "from 0 to 2, a class each. Received: 3 in"),
        (TASKS[0], {"labels": np.zeros(2)}, "expected 2 integer labels"),
        (TASKS[1], {"labels": np.array([0, 1])}, "0 or 1 for each of 2 labels"),
        (TASKS[2], {"sold": np.array([1.0, np.nan])}, "finite number a sample"),
    ]:
        with pytest.raises(ValueError, match=words):
            task.check_targets(targets)
