"""Random numbers of samples: the same rows wherever they are drawn."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mmzoo.ops.sample_random import SEED_NAME, Rows, current_rows, sample_uniform, seeing


def seed(value=7):
    return keras.random.SeedGenerator(value, name=SEED_NAME)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4,), (5, 7), (2, 3, 4)])
def test_parts_of_a_batch_are_rows_of_the_whole(shape):
    whole = sample_uniform((11, *shape), seed()).numpy()
    parts = []
    for first, count in ((0, 4), (4, 0), (4, 1), (5, 6)):
        with seeing(Rows(first, count, 11, replicas=4)):
            parts.append(sample_uniform((count, *shape), seed()).numpy())
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_first_row_may_be_a_tensor():
    @tf.function
    def draw(first):
        with seeing(Rows(first, 2, 8)):
            return sample_uniform((2, 3), generator)

    generator = seed()
    whole = sample_uniform((8, 3), seed())
    np.testing.assert_array_equal(draw(tf.constant(6)), whole[6:])


def test_numbers_are_uniform_and_differ():
    drawn = sample_uniform((4000, 5), seed()).numpy()
    assert drawn.min() >= 0 and drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.01 and abs(drawn.std() - 12**-0.5) < 0.01
    assert len(np.unique(drawn)) > 19_900
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.05


def test_steps_and_seeds_differ():
    generator = seed()
    draws = [sample_uniform((50,), generator).numpy() for _ in range(3)]
    draws.append(sample_uniform((50,), seed(8)).numpy())
    for k, a in enumerate(draws):
        for b in draws[k + 1 :]:
            assert not np.intersect1d(a, b).size


def test_rows_end_with_their_block():
    assert current_rows() is None
    with seeing(Rows(1, 2, 3)):
        with seeing(Rows(4, 5, 6)):
            assert current_rows().first == 4
        assert current_rows().first == 1
    assert current_rows() is None
    with pytest.raises(KeyError), seeing(Rows(1, 2, 3)):
        raise KeyError
    assert current_rows() is None
