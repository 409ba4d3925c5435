import numpy as np
import pytest

from mmzoo.evaluation.page.mark_labels import place_labels

BOUNDS = (0, 0, 620, 340)


def meets(boxes, others):
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    return (low < high).all(-1)


@pytest.mark.parametrize("seed", range(6))
def test_no_label_lies_on_another_or_on_a_mark(seed):
    rng = np.random.default_rng(seed)
    crowd = rng.normal((180, 250), (60, 25), (16, 2))
    points = np.concatenate([crowd, rng.uniform((20, 20), (600, 320), (11, 2))])
    points = points.clip((20, 20), (600, 320))
    sizes = np.stack([rng.uniform(25, 115, 27), np.full(27, 11)], 1)
    bars = np.concatenate([points - (0.5, 12), points + (0.5, 12)], 1)
    boxes = place_labels(points, sizes, BOUNDS, bars)
    np.testing.assert_allclose(boxes[:, 2:] - boxes[:, :2], sizes)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= BOUNDS[2:]).all()
    assert not meets(boxes, boxes)[~np.eye(27, dtype=bool)].any()
    assert not meets(boxes, np.concatenate([points - 3, points + 3], 1)).any()


def test_a_lone_label_stands_on_the_right_and_leaves_the_edge():
    size, nothing = np.array([[50.0, 10.0]]), np.zeros((0, 4))
    box = place_labels(np.array([[100.0, 100.0]]), size, BOUNDS, nothing)
    np.testing.assert_allclose(box, [[105, 95, 155, 105]])
    box = place_labels(np.array([[600.0, 100.0]]), size, BOUNDS, nothing)
    np.testing.assert_allclose(box, [[545, 95, 595, 105]])
    bar = np.array([[106.0, 90.0, 107.0, 110.0]])
    box = place_labels(np.array([[100.0, 100.0]]), size, BOUNDS, bar)
    assert not meets(box, bar).any()
