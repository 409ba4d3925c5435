"""KerasHub, which brings the architectures."""


def keras_hub():
    """The module keras_hub, imported on first use.

    Raises:
        ImportError: If it is not installed.
    """
    try:
        import keras_hub
        import keras_hub.models
    except ImportError as error:
        raise ImportError(
            "Expected KerasHub, for the architecture. It is not installed. Run `pip install "
            '-e ".[pretrained]"` in a checkout of mmzoo.'
        ) from error
    return keras_hub
