"""What tf_keras makes of our modules, and a module that tf_keras itself wrote.

`keras2.py MODULE DATA OUT`: runs and fine-tunes the module at MODULE in `hub.KerasLayer` on
the arrays of DATA (.npz), writes OUT.npz, and a SavedModel of a Keras 2 model at OUT. A
process of its own: TensorFlow has one Keras.
"""

import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow_hub as hub
import tf_keras


def main(module, data, out):
    with np.load(data) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    tf_keras.utils.set_random_seed(1)
    frozen, layer = hub.KerasLayer(module), hub.KerasLayer(module, trainable=True)
    found = {
        "frozen": frozen(images, training=True),
        "answers": layer(images, training=False),
        "trained answers": layer(images, training=True),
        "names": [weight.name for weight in layer.trainable_weights],
        "frozen count": len(frozen.trainable_weights),
        "penalty": sum(layer.losses),
    }
    before = [weight.numpy() for weight in layer.weights]
    model = tf_keras.Sequential([tf_keras.Input(images.shape[1:]), layer])
    model.compile(optimizer=tf_keras.optimizers.SGD(0.05), loss="mse")
    fitted = model.fit(images, labels, batch_size=len(images), epochs=8, verbose=0)
    found["loss"] = fitted.history["loss"]
    found["changed"] = [
        np.abs(weight.numpy() - old).max()
        for weight, old in zip(layer.weights, before, strict=True)
    ]
    np.savez(out + ".npz", **{name: np.asarray(value) for name, value in found.items()})

    x = tf_keras.Input((8, 8, 3))
    y = tf_keras.layers.Conv2D(4, 3, 2, kernel_regularizer="l2", name="conv")(x)
    y = tf_keras.layers.BatchNormalization(name="norm")(y)
    y = tf_keras.layers.GlobalAveragePooling2D()(y)
    y = tf_keras.layers.Dense(5, name="dense")(tf_keras.layers.Dropout(0.3)(y))
    model = tf_keras.Model(x, y)
    model.save(out, save_format="tf")
    np.savez(out + "_answers.npz", answers=model(images), penalty=sum(model.losses))


if __name__ == "__main__":
    main(*sys.argv[1:])
