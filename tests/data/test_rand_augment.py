"""RandAugment by key: each operation is Pillow's, a picture is alone, threads don't matter."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from mmzoo.data.augment.rand_augment import OPERATIONS, rand_augment

KEY = tf.constant([3, 7])
DRAW = np.random.default_rng(0)
Y, X = np.mgrid[:48, :40]
# Smooth pictures with noise, one of few values and one of a single colour.
PICTURES = np.stack(
    [np.stack([90 + 60 * np.sin(X / (5 + c)) + 40 * np.cos(Y / (4 + k)) for c in range(3)], -1)
     + DRAW.normal(scale=6, size=(48, 40, 3)) for k in range(6)]
)  # fmt: skip
PICTURES = np.clip(PICTURES, 0, 255).astype("uint8")
PICTURES[4] = PICTURES[4] // 100 * 100
PICTURES[5] = (12, 200, 77)


def pillow(name, strength, image):
    """An operation by Pillow; `strength` from -1 to 1."""
    height, width = image.height, image.width
    factor = 1 + 0.9 * strength
    if name in ("color", "contrast", "brightness", "sharpness"):
        return getattr(ImageEnhance, name.capitalize())(image).enhance(factor)
    if name in ("auto_contrast", "equalize"):
        return getattr(ImageOps, name.replace("_", ""))(image)
    if name == "solarize":
        return ImageOps.solarize(image, 255 * (1 - abs(strength)))
    if name == "posterize":
        return ImageOps.posterize(image, 8 - round(4 * abs(strength)))
    if name == "rotate":
        return image.rotate(30 * strength, Image.Resampling.BILINEAR, fillcolor=(128,) * 3)
    by = 0.3 * strength
    table = {
        "identity": (1, 0, 0, 0, 1, 0),
        "shear_x": (1, by, 0, 0, 1, 0),
        "shear_y": (1, 0, 0, by, 1, 0),
        "translate_x": (1, 0, round(0.45 * strength * width), 0, 1, 0),
        "translate_y": (1, 0, 0, 0, 1, round(0.45 * strength * height)),
    }
    a, b, c, d, e, f = table[name]
    # Pillow's coordinates are those of a pixel's corner, half a pixel from its centre.
    c, f = c + (1 - a - b) / 2, f + (1 - d - e) / 2
    return image.transform(
        image.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR,
        fillcolor=(128,) * 3,
    )  # fmt: skip


@pytest.mark.parametrize("strength", [-1.0, -0.3, 0.0, 0.6, 1.0])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_is_pillows(name, strength):
    made = OPERATIONS[name](
        tf.constant(PICTURES, tf.float32), tf.fill((len(PICTURES),), np.float32(strength))
    )
    made = np.clip(np.round(made.numpy()), 0, 255)
    for picture, found in zip(PICTURES, made, strict=True):
        expected = np.asarray(pillow(name, strength, Image.fromarray(picture)), "float32")
        off = np.abs(found - expected)
        if name in ("rotate", "shear_x", "shear_y"):
            # At the border ours is mixed with the colour of the fill, Pillow's is not.
            there = np.pad((found != 128).any(-1) & (expected != 128).any(-1), 1)
            there = Image.fromarray(there).convert("L").filter(ImageFilter.MinFilter(5))
            inside = np.asarray(there)[1:-1, 1:-1] > 0
            assert inside.mean() > 0.4
            assert off[inside].max() <= 1.01
        else:
            assert off.max() <= 1.01, (name, strength)


def test_the_smoothing_of_sharpness_is_pillows():
    made = OPERATIONS["sharpness"](tf.constant(PICTURES, tf.float32), tf.fill((6,), -1 / 0.9))
    for picture, found in zip(PICTURES, made.numpy(), strict=True):
        expected = np.asarray(Image.fromarray(picture).filter(ImageFilter.SMOOTH), "float32")
        assert np.abs(found - expected).max() <= 1.01


def test_the_same_key_gives_the_same_and_another_not():
    one, again, other = (rand_augment(PICTURES, key).numpy() for key in (KEY, KEY, KEY + [0, 9]))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any() and one.dtype == np.uint8


def test_a_picture_does_not_depend_on_its_neighbours():
    many = np.concatenate([PICTURES] * 8)
    whole = rand_augment(many, KEY).numpy()
    others = many.copy()
    others[::2] = 255 - others[::2]
    np.testing.assert_array_equal(rand_augment(others, KEY).numpy()[1::2], whole[1::2])


def test_keras_layer_does_depend_on_them():
    """Why it is not used: if this fails, look at it again."""
    equalize = keras.layers.Equalization()
    alone = keras.ops.convert_to_numpy(equalize(PICTURES[:1]))
    atomic_write = keras.ops.convert_to_numpy(equalize(PICTURES))[:1]
    assert (alone != atomic_write).any()


def test_all_operations_are_drawn_and_pictures_differ_from_each_other():
    same = np.repeat(PICTURES[:1], 300, axis=0)
    made = rand_augment(same, KEY, operations=1, magnitude=20).numpy()
    kinds = np.unique(made.reshape(300, -1), axis=0)
    # Two signs of eight operations, four without, and two that a sign does not change.
    assert len(kinds) == 2 * 9 + 5


def test_nothing_to_do_does_nothing():
    np.testing.assert_array_equal(rand_augment(PICTURES, KEY, operations=0), PICTURES)


def test_threads_change_nothing():
    def batches(threads):
        steps = tf.data.Dataset.range(12).map(
            lambda step: rand_augment(PICTURES, tf.stack([0, 9 * tf.cast(step, tf.int32)])),
            num_parallel_calls=threads,
        )
        return np.stack(list(steps.as_numpy_iterator()))

    np.testing.assert_array_equal(batches(1), batches(8))


@pytest.mark.parametrize("pictures", [np.zeros((2, 4, 4, 3), "float32"), PICTURES[0]])
def test_only_raw_pictures_are_taken(pictures):
    with pytest.raises(ValueError, match="Expected uint8 pictures"):
        rand_augment(pictures, KEY)


@pytest.mark.parametrize("options", [{"operations": -1}, {"magnitude": 31}, {"magnitude": -1}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="Expected `operations` of 0 or more"):
        rand_augment(PICTURES, KEY, **options)
