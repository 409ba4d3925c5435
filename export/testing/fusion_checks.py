"""What a fusion layer has to stand, a user's own too: `check_fusion`, one call."""

import itertools
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mmzoo.export.testing.layer_checks import (
    FORMATS,
    POLICIES,
    assert_near,
    check_layer,
    check_parity,
    flat,
    randomize,
    wrap,
)

MODALITIES = (("text",), ("image", "text"), ("audio", "image", "text"))
WIDTHS = {"audio": 3, "image": 6, "text": 4}  # D_m
TOKENS = {"audio": 5, "image": 3, "text": 4}  # N_m
CLASSES = 4
SAME = 1e-5  # of scale, for the same sum in another order


def check_fusion(
    make, *, folder, widths=None, num_weights=None, modalities=MODALITIES, formats=FORMATS
):
    """Puts a fusion layer through the contract of `mmzoo.fusion.FusionLayer`.

    With one, two and three modalities: everything that `check_layer` does, with some modalities
    absent, exported to each format with the most; an absent modality has no influence, by one
    bit, whatever it holds, NaN in the artifacts too; nor has what is masked; the order of the
    dicts means nothing; everything present is as good as no `presence`; and with everything
    absent the result is finite.

    Args:
        make: Function without arguments that returns a new layer.
        folder: Where to save; made if it is not there.
        widths: Dict of modality to its width; default: different ones, or all 4 for logits.
        num_weights: Optional function of a dict of widths to the exact number of trainable
            parameters, absent tokens included.
        modalities: Tuples of modality names, from one modality to most.
        formats: Formats that it is exported to.

    Raises:
        AssertionError: At the first thing that does not hold.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    takes = make().takes
    for names in modalities:
        chosen = chosen_widths(takes, names, widths)
        inputs = make_inputs(takes, chosen)
        check_layer(
            make,
            call_layer,
            inputs=inputs,
            num_weights=num_weights and num_weights(chosen),
            formats=formats if names == modalities[-1] else (),
            # Half precision with fewest and most: what is between is the same code.
            policies=POLICIES if names in (modalities[0], modalities[-1]) else (),
            shapes=free_shapes(takes, chosen),
            folder=folder,
            more=[spoil_absent(inputs)],
        )
        layer = make()
        call_layer(layer, inputs)
        randomize(layer)
        check_absent(layer, inputs)
        check_order(layer, inputs)
        check_all_present(layer, make, inputs)
        if takes == "tokens":
            check_masked(layer, inputs)


def check_fusion_exports(
    make, *, folder, widths=None, names=MODALITIES[-1], formats=FORMATS
) -> None:
    """Exports a fusion layer, and compares each artifact with Keras.

    Args:
        make, folder, widths: See `check_fusion`.
        names: Modality names.
        formats: Formats that it is exported to.

    Raises:
        AssertionError: If an artifact answers differently, absent modalities as NaN too.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    layer = make()
    chosen = chosen_widths(layer.takes, names, widths)
    inputs = make_inputs(layer.takes, chosen)
    call_layer(layer, inputs)
    randomize(layer)
    model = wrap(layer, call_layer, inputs, free_shapes(layer.takes, chosen))
    for name in formats:
        check_parity(model, inputs, name, folder, [spoil_absent(inputs)])


def chosen_widths(takes, names, widths):
    """Dict of modality to its width; of experts, the number of classes."""
    return {m: (widths or WIDTHS)[m] if takes != "logits" else CLASSES for m in names}


def free_shapes(takes, widths):
    """Shapes of inputs whose number of tokens is free; None where nothing is."""
    if takes != "tokens":
        return None
    masks = {f"{m}_mask": (None,) for m in widths}
    return {m: (None, width) for m, width in widths.items()} | masks


def make_inputs(takes, widths, seed=0):
    """Three samples: tensors, masks with holes, and some modalities absent."""
    rng = np.random.default_rng(seed)
    inputs = {}
    for k, (name, width) in enumerate(sorted(widths.items())):
        shape = (3, TOKENS[name], width) if takes == "tokens" else (3, width)
        inputs[name] = rng.standard_normal(shape).astype("float32")
        if takes == "tokens":
            mask = np.ones(shape[:2], "float32")
            mask[0, 1] = mask[2, -1] = 0  # two real ones at least, for a softmax to weigh
            inputs[f"{name}_mask"] = mask
        present = np.ones(3, "float32")
        present[k % 3] = 0  # each is absent from one sample
        inputs[f"{name}_present"] = present
    return inputs


def call_layer(layer, inputs, training=None):
    """Calls a fusion layer with one flat dict; masks and presence are numbers, 0 or 1."""
    names = [n for n in inputs if not n.endswith(("_mask", "_present"))]
    options = {"training": training}
    if f"{names[0]}_mask" in inputs:
        options["masks"] = {n: inputs[f"{n}_mask"] > 0 for n in names}
    if f"{names[0]}_present" in inputs:
        options["presence"] = {n: inputs[f"{n}_present"] > 0 for n in names}
    return layer({n: inputs[n] for n in names}, **options)


def spoil_absent(inputs):
    """The same samples, with NaN for whatever is absent."""
    spoilt = dict(inputs)
    for name in names_in(inputs):
        present = inputs[f"{name}_present"] > 0
        spoilt[name] = np.where(
            present.reshape(-1, *[1] * (inputs[name].ndim - 1)), inputs[name], np.float32(np.nan)
        )
    return spoilt


def names_in(inputs):
    return [n for n in inputs if not n.endswith(("_mask", "_present"))]


def check_absent(layer, inputs):
    """Nothing of an absent modality is felt: not in the result, not in any gradient."""
    names = names_in(inputs)
    run = tf.function(lambda given: values_and_gradients(layer, given), autograph=False)
    for here in itertools.product((0, 1), repeat=len(names)):
        given = inputs | {
            f"{n}_present": np.full(3, present, "float32")
            for n, present in zip(names, here, strict=True)
        }
        gone = [n for n, present in zip(names, here, strict=True) if not present]
        expected = run(given)
        for value in expected:
            assert np.isfinite(value).all(), f"not finite without {gone}"
        for content in (7.0, -3e38, np.inf, np.nan):
            other = given | {n: np.full_like(given[n], content) for n in gone}
            other |= {f"{n}_mask": 1 - given[f"{n}_mask"] for n in gone if f"{n}_mask" in given}
            for a, b in zip(run(other), expected, strict=True):
                np.testing.assert_array_equal(a, b, f"absent {gone} of {content} is felt")


def values_and_gradients(layer, inputs):
    with tf.GradientTape() as tape:
        outputs = keras.tree.flatten(call_layer(layer, inputs, training=False))
        loss = tf.add_n([tf.reduce_sum(tf.cast(each, "float32") ** 2) for each in outputs])
    gradients = tape.gradient(loss, [w.value for w in layer.trainable_weights])
    return [x for x in [*outputs, *gradients] if x is not None]


def check_order(layer, inputs):
    turned = dict(reversed(inputs.items()))
    for a, b in pairs(call_layer(layer, turned), call_layer(layer, inputs)):
        np.testing.assert_array_equal(a, b, "the order of the dicts is felt")


def check_all_present(layer, make, inputs):
    """No `presence` is the same as everything present."""
    full = {k: np.ones_like(v) if k.endswith("_present") else v for k, v in inputs.items()}
    bare = {k: v for k, v in inputs.items() if not k.endswith("_present")}
    other = make()
    call_layer(other, bare)
    mine = {weight.path.partition("/")[2]: weight for weight in layer.weights}
    for weight in other.weights:
        weight.assign(mine[weight.path.partition("/")[2]])
    for a, b in pairs(call_layer(other, bare), call_layer(layer, full)):
        assert_near(a, b, SAME, "without presence")


def check_masked(layer, inputs):
    """What a mask hides has no influence."""
    expected = call_layer(layer, inputs)
    for content in (7.0, -3e38, np.nan):
        other = dict(inputs)
        for name in names_in(inputs):
            hidden = inputs[f"{name}_mask"][..., None] == 0
            other[name] = np.where(hidden, np.float32(content), inputs[name])
        for a, b in pairs(call_layer(layer, other), expected):
            np.testing.assert_array_equal(a, b, f"masked {content} is felt")


def pairs(actual, expected):
    return zip(flat(actual).values(), flat(expected).values(), strict=True)
