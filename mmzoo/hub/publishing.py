"""Writes a Keras model as a TF-Hub module."""

import collections
import contextlib
import warnings
from pathlib import Path

import keras
import tensorflow as tf

from mmzoo.compat.functional import (
    all_layers,
    inputs_structure,
    is_functional,
    maker_of,
    outputs_structure,
)
from mmzoo.hub.contract import CONTRACT_FILE
from mmzoo.hub.layer import HubLayer
from mmzoo.hub.resources import find_resources
from mmzoo.hub.store import write_checksums
from mmzoo.io.files import atomic_write, check_replaceable
from mmzoo.ops import portable_operators


@portable_operators()
def publish(model: keras.Model, path, *, card: str | None = None, contract=None) -> Path:
    """Writes a reusable SavedModel that can be run, trained and published again.

    `tensorflow_hub.load`, tf_keras' `hub.KerasLayer(trainable=True)` and `HubLayer` load and
    fine-tune it. It has `__call__(inputs, training=False)`, `variables`,
    `trainable_variables`, `regularization_losses`, `weights` (a dict, by name) and the
    signature `serving_default`. A `HubLayer` inside is published as trainable, frozen at the
    moment or not; a Keras layer as it is.

    Args:
        model: Functional Keras model of one input, or of a dict of inputs.
        path: Folder to write; an old module there is replaced once the new one is written.
        card: Optional model card in Markdown, kept as `assets.extra/README.md`.
        contract: Optional `Contract`, kept as `assets.extra/module.json`.

    Returns:
        `path`. Its `SHA256SUMS` lists the checksum of every file.

    Raises:
        ValueError: If the model is not functional, has no inputs of its own, or `path` holds
            something else than a module.

    Reference:
        The reusable SavedModel interface, tensorflow.org/hub/reusable_saved_models. Differs:
        `weights` is added, so that every weight keeps its name.
    """
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not isinstance(model, keras.Model) or not is_functional(model):
        raise ValueError(f"Expected a functional keras.Model. Received: {type(model).__name__}.")
    path = Path(path)
    check_replaceable(path, OURS, "saved_model.pb")
    with atomic_write(path) as target:
        root, signature = _root(model)
        tf.saved_model.save(root, str(target), signatures={"serving_default": signature})
        extra = target / "assets.extra"
        if card is not None or contract is not None:
            extra.mkdir()
        if card is not None:
            (extra / "README.md").write_text(card, encoding="utf-8")
        if contract is not None:
            (target / CONTRACT_FILE).write_text(contract.to_json(), encoding="utf-8")
        write_checksums(target)
    return path


OURS = {
    "saved_model.pb", "fingerprint.pb", "variables", "assets", "assets.extra", "SHA256SUMS",
    "keras_metadata.pb",
}  # fmt: skip


def _root(model):
    """The object to save, and its signature."""
    spec = keras.tree.map_structure(
        lambda t: tf.TensorSpec(t.shape, t.dtype, name=t.name), inputs_structure(model)
    )

    @tf.function(autograph=False)
    def run(inputs, training=False):
        return model(inputs, training=training)

    with _thawed(model):
        functions = [run.get_concrete_function(spec, training=flag) for flag in (False, True)]
        root = tf.train.Checkpoint()
        root.__call__ = run
        root.variables = [weight.value for weight in model.weights]
        root.trainable_variables = [weight.value for weight in model.trainable_weights]
        if model.weights and not root.trainable_variables:
            warnings.warn(
                f"No weight of {model.name!r} is trainable, so nobody will fine-tune the module. "
                "Set `model.trainable = True` before, if it should be.",
                stacklevel=3,
            )
        root.regularization_losses = [
            _loss(w) for w in model.trainable_weights if w.regularizer is not None
        ]
    root.weights = _by_name(model)
    # Dropout's seeds are state of the module, and no weights of a user's.
    known = {id(weight) for weight in model.weights}
    resources = find_resources(model, functions)
    root.seeds = [v.value for v in model.variables if id(v) not in known]
    root.seeds += [each for each in resources if isinstance(each, tf.Variable)]
    root.resources = [each for each in resources if not isinstance(each, tf.Variable)]
    return root, _signature(model, spec)


@contextlib.contextmanager
def _thawed(model):
    """Modules inside, trainable for a moment: whoever publishes them may have frozen them."""
    inner = [
        layer
        for layer in all_layers(model, include_self=False)
        if isinstance(layer, HubLayer) and layer.module.fine_tunable
    ]
    before = [(layer, layer._trainable, set(layer._frozen)) for layer in inner]
    try:
        for layer in inner:
            layer._trainable, layer._frozen = True, set()
            layer._apply_trainable()
        yield
    finally:
        for layer, trainable, frozen in before:
            layer._trainable, layer._frozen = trainable, frozen
            layer._apply_trainable()


def _by_name(model):
    """Dict of name to variable: a module's own names, with its layer's where two share one."""
    inner: dict[int, tuple[str, str]] = {}
    for layer in all_layers(model, include_self=False):
        if isinstance(layer, HubLayer):
            inner |= {id(w): (layer.name, name) for name, w in layer.module_weights.items()}
    counted = collections.Counter(name for _, name in inner.values())
    counted.update(weight.path for weight in model.weights if id(weight) not in inner)
    named = {}
    for weight in model.weights:
        layer, name = inner.get(id(weight), ("", weight.path))
        name = f"{layer}/{name}" if layer and counted[name] > 1 else name
        while name in named:
            name += "_"
        named[name] = weight.value
    return named


def _loss(weight):
    regularizer = weight.regularizer  # as it is while the model is thawed
    return tf.function(lambda: regularizer(weight.value), input_signature=[])


def _signature(model, spec):
    """Arguments and results by name; of nested results, by their path."""
    specs = {each.name: each for each in tf.nest.flatten(spec)}
    structure = outputs_structure(model)
    if not isinstance(structure, dict):
        made = [maker_of(t).operation.name for t in keras.tree.flatten(structure)]
        names = [n if made.count(n) == 1 else f"{n}_{k}" for k, n in enumerate(made)]

    @tf.function(autograph=False)
    def run(**values):
        inputs = keras.tree.map_structure(lambda each: values[each.name], spec)
        outputs = model(inputs, training=False)
        if isinstance(structure, dict):
            leaves = keras.tree.flatten_with_path(outputs)
            return {"_".join(map(str, path)): value for path, value in leaves}
        return dict(zip(names, tf.nest.flatten(outputs), strict=True))

    return run.get_concrete_function(**specs)
