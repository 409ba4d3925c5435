"""Keras archives, read with every layer of mmzoo known."""

import zipfile
from pathlib import Path

import keras


def load_keras(path, *, trust: bool = False) -> keras.Model:
    """Loads a `.keras` file.

    Args:
        path: Path of the file.
        trust: Whether to run the TF-Hub modules that the file names or holds. A module is a
            program: trust a file only if you trust who made it. Modules that ship with mmzoo
            need no trust.

    Returns:
        The model, not compiled.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no readable `.keras` archive, or holds what needs trust.
    """
    import mmzoo.encoders
    import mmzoo.fusion
    import mmzoo.hub.layer
    import mmzoo.losses
    import mmzoo.pretrained.text_ids
    import mmzoo.pretrained.text_layers
    import mmzoo.pretrained.whisper_log_mel
    import mmzoo.training.sample_dropout  # noqa: F401  what an archive may name

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected a .keras file. Received: {path}, no such file.")
    try:
        _check_archive(path)
        return keras.models.load_model(path, compile=False, safe_mode=not trust)
    except (ValueError, KeyError, OSError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Expected a Keras 3 archive (.keras). Received: {path}, which Keras can't "
            f"load: {error}"
        ) from error


def _check_archive(path):
    """Raises unless every member is whole, stays in the archive and grows within limits."""
    from mmzoo.keras_archive import check_keras_archive

    check_keras_archive(path)
