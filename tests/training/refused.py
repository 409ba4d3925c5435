"""Asks `DistributedModel` on two logical CPUs for what it must refuse; prints what it said."""

import json

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mmzoo import encoders, losses, training

X, Y = np.ones((8, 3), "float32"), np.ones((8, 1), "float32")


def build(*between):
    x = keras.Input((3,), name="x")
    h = x
    for layer in between:
        h = layer(h)
    return training.DistributedModel(x, layers.Dense(1, name="out")(h))


def said(function):
    try:
        function()
    except ValueError as error:
        return str(error)
    return "nothing"


class Sum(keras.losses.Loss):
    def __call__(self, y_true, y_pred, sample_weight=None):
        return keras.ops.sum(y_pred)


def main():
    two = training.strategy("mirrored", replicas=2)

    def compiled(*between, optimizer=keras.optimizers.SGD, loss="mse", **options):
        with two.scope():
            model = build(*between)
            model.compile(optimizer=optimizer(), loss=loss, **options)
        return model

    def two_workers():
        class OfTwo(training.DistributedModel):
            workers = 2

        with two.scope():
            model = build()
            OfTwo(model.inputs, model.outputs).compile("sgd", "mse", steps_per_execution=2)

    def outside():
        model = build()
        with two.scope():
            wrapped = training.DistributedModel(model.inputs, model.outputs)
            wrapped.compile("sgd", "mse")

    def optimizer_outside():
        optimizer = keras.optimizers.SGD()
        compiled(optimizer=lambda: optimizer)

    def scalar(y_true, y_pred):
        return keras.ops.mean(y_pred)

    def parameter_server():
        class ParameterServerStrategyV2:
            num_replicas_in_sync = 2

        model = build()
        model._distribute_strategy = ParameterServerStrategyV2()
        with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
            model.compile("sgd", "mse")

    accumulating = lambda: keras.optimizers.SGD(gradient_accumulation_steps=2)  # noqa: E731
    overwriting = lambda: keras.optimizers.SGD(use_ema=True, ema_overwrite_frequency=2)  # noqa: E731

    class Adding(layers.Dense):
        def call(self, inputs):
            self.add_loss(keras.ops.sum(inputs))
            return super().call(inputs)

    unaveraged = keras.losses.MeanSquaredError(reduction=None)
    found = {
        "accumulate": said(lambda: compiled(accumulate=0)),
        "gradient_accumulation_steps": said(lambda: compiled(optimizer=accumulating)),
        "ema_overwrite_frequency": said(lambda: compiled(optimizer=overwriting)),
        "steps_per_execution": said(two_workers),
        "jit_compile": said(lambda: compiled(jit_compile=True)),
        "contrast_accumulate": said(lambda: compiled(loss=losses.InfoNCE(), accumulate=2)),
        "add_loss": said(lambda: compiled(Adding(4, name="adding")).fit(X, Y, verbose=0)),
        "norm_accumulate": said(lambda: compiled(layers.BatchNormalization(), accumulate=2)),
        "module": said(lambda: compiled_module(two, "image")),
        "outside": said(outside),
        "optimizer_outside": said(optimizer_outside),
        "reduction": said(lambda: compiled(loss=unaveraged)),
        "call": said(lambda: compiled(loss=Sum())),
        "crossentropy": said(lambda: compiled(loss="crossentropy")),
        "parameter_server": said(parameter_server),
        "scalar": said(lambda: compiled(loss=scalar).fit(X, Y, batch_size=8, verbose=0)),
        "weighted_accumulate": said(
            lambda: compiled(
                loss=keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
                accumulate=2,
            ).fit(X, Y, sample_weight=Y[:, 0], batch_size=8, verbose=0)
        ),
        "train_on_batch": said(lambda: compiled().train_on_batch(X, Y)),
        "test_on_batch": said(lambda: compiled().test_on_batch(X, Y)),
        "predict_on_batch": said(lambda: compiled().predict_on_batch(X)),
        "plain_copy": said(lambda: in_scope(two)),
        "module_without": said(lambda: compiled_module(two, "text")),
        "allowed": said(lambda: compiled().fit(X, Y, batch_size=8, verbose=0)),
    }
    model = compiled(layers.BatchNormalization(name="norm"), optimizer=keras.optimizers.AdamW)
    found["synchronized"] = model.get_layer("norm").synchronized
    found["saved_as"] = keras.optimizers.serialize(model.optimizer)["class_name"]
    copy = training.plain_copy(model)
    found["copy"] = [
        type(copy).__name__, type(copy.weights[0].value).__name__,
        all(map(np.array_equal, copy.get_weights(), model.get_weights())),
    ]  # fmt: skip
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=["cpu:0"], auto_shard_dataset=False)
    )
    found["keras.distribution"] = said(compiled)
    print(json.dumps(found))


def compiled_module(strategy, modality):
    with strategy.scope():
        encoder = {"image": encoders.image, "text": encoders.text}[modality](
            f"mmzoo/concept128-{modality}/1"
        )
        encoder.get_layer("module").trainable = True
        inputs = keras.Input(encoder.inputs[0].shape[1:], dtype="uint8", name=modality)
        model = training.DistributedModel(inputs, layers.Dense(1)(encoder(inputs)["pooled"]))
        model.compile("sgd", "mse")


def in_scope(strategy):
    with strategy.scope():
        training.plain_copy(build())


if __name__ == "__main__":
    main()
