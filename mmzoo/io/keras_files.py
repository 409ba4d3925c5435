"""Keras files, read with every layer of mmzoo known, and refused with the way out."""

import json
import re
import shutil
import tempfile
import types
import zipfile
import zlib
from pathlib import Path

import keras

from mmzoo.io.own_modules import import_own

WEIGHTS = "model.weights.h5"
HDF5 = b"\x89HDF\r\n\x1a\n"
KERAS_2 = (
    "It was written by Keras 2 (tf.keras). Load it with tf_keras (`pip install tf_keras`), build "
    "the same model in Keras 3 with `keras.layers`, give that its weights "
    "(`new.set_weights(old.get_weights())`), and save it as .keras."
)
CODE = "build the model in Python, call its `load_weights` with this file, and save it as .keras"


def load_keras(path, *, trust: bool = False) -> keras.Model:
    """Loads a `.keras` file, or a whole model in an `.h5` file.

    Args:
        path: Path of the file.
        trust: Whether to run the TF-Hub modules and the Python lambdas that the file names or
            holds. They are programs: trust a file only if you trust who made it. Modules that
            ship with mmzoo need no trust.

    Returns:
        The model, not compiled.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no readable Keras file, names a class that is not known, or holds
            what needs trust. It says what it is, and what to do.
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
    if path.is_dir():
        raise FileNotFoundError(
            f"Expected a .keras file. Received: {path}, a folder{_kind_of_folder(path)}"
        )
    if not path.is_file():
        kind = "a link that leads to no file" if path.is_symlink() else "no such file"
        raise FileNotFoundError(f"Expected a .keras file. Received: {path}, {kind}.")
    check_kind(path)
    try:
        if _begins(path, HDF5):
            return _load_hdf5(path, trust)
        _check_archive(path)
        return keras.models.load_model(path, compile=False, safe_mode=not trust)
    except (
        ValueError, KeyError, OSError, TypeError, AttributeError, RuntimeError, EOFError,
        zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        more = f" {KERAS_2}" if _is_keras_2(path) and not _has_way_out(error) else ""
        raise ValueError(
            f"Expected a Keras 3 archive (.keras). Received: {path}, which Keras can't "
            f"load: {explain(error)}{more}"
        ) from error


def import_modules(names) -> None:
    """Imports a user's own layers, functions and losses, and makes them known to Keras.

    Classes and functions that a module defines and does not register are known by their names,
    as Keras saves them.

    Args:
        names: See `import_own`.

    Raises:
        ImportError: If one is not there, or fails while it is imported.
    """
    known = keras.saving.get_custom_objects()
    for module in import_own(names):
        for key, value in vars(module).items():
            ours = getattr(value, "__module__", None) == module.__name__
            if ours and not key.startswith("_") and isinstance(value, type | types.FunctionType):
                known.setdefault(key, value)


def check_kind(path: Path) -> None:
    """Raises ValueError at a file of another kind, or of weights alone, with the way out."""
    with path.open("rb") as file:
        head = file.read(4096)
    said = ""
    if not head:
        said = "which is empty. Save the model again."
    elif head[4:8] == b"TFL3":
        said = "a TFLite file, which is what `mmzoo export` writes. Give it the Keras model."
    elif head.startswith(b"GGUF"):
        said = "a GGUF file. Give it a Keras model."
    elif path.suffix == ".onnx":
        said = "an ONNX file, which is what `mmzoo export` writes. Give it the Keras model."
    elif path.suffix == ".pb":
        said = "a file of a SavedModel. Give it the Keras model that it was made from."
    elif path.suffix in (".pt", ".pth", ".safetensors"):
        said = "weights of PyTorch. Build the model in Keras, give it these weights, and save it."
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "config.json" not in names:
                said = _kind_of_archive(names)
            elif "metadata.json" not in names or not any(n.endswith((WEIGHTS, ".json"))
                                                         for n in names):  # fmt: skip
                said = f"a zip archive without {WEIGHTS}: no Keras archive. Save the model again."
    elif head.startswith(b"PK\x03\x04"):
        said = "which Keras can't load: an archive that is cut short or damaged. Copy it again."
    if said:
        raise ValueError(f"Expected a Keras 3 archive (.keras). Received: {path}, {said}")


def _begins(path, magic):
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _kind_of_archive(names):
    if any(name.endswith("data.pkl") for name in names):
        return "weights of PyTorch. Build the model in Keras, give it these weights, and save it."
    if any(name.endswith(".npy") for name in names):
        return "an .npz file of arrays. Samples go to --samples; the model is a .keras file."
    return "a zip archive without config.json, as every Keras archive has it: no Keras archive."


def _is_keras_2(path):
    """Whether a whole model was saved by Keras 2; False of what can't be read at all."""
    import h5py

    try:
        if _begins(path, HDF5):
            with h5py.File(path, "r") as file:
                version = file.attrs.get("keras_version", "")
                version = version.decode() if isinstance(version, bytes) else version
        else:
            with zipfile.ZipFile(path) as archive:
                version = json.loads(archive.read("metadata.json"))["keras_version"]
    except (OSError, KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile):
        return False
    return str(version).startswith("2.")


def _kind_of_folder(path):
    if (path / "saved_model.pb").is_file():
        keras_2 = (path / "keras_metadata.pb").is_file()
        return f" that holds a SavedModel. {KERAS_2}" if keras_2 else (
            " that holds a SavedModel, which no longer has Keras layers. Export the Keras model "
            "that it was made from; or wrap it: keras.Sequential([keras.Input(...), "
            "mmzoo.hub.HubLayer(folder)]), saved as .keras and exported with --trust."
        )  # fmt: skip
    found = sorted(path.glob("*.keras"))[:3]
    return f". It holds {', '.join(each.name for each in found)}: name that." if found else (
        ". Name a file in it."
    )  # fmt: skip


def _load_hdf5(path, trust):
    import h5py

    with h5py.File(path, "r") as file:
        whole = "model_config" in file.attrs
    if not whole:
        raise ValueError(f"it holds weights and no model: {CODE}.")
    if path.suffix in (".h5", ".hdf5"):
        return keras.models.load_model(path, compile=False, safe_mode=not trust)
    with tempfile.TemporaryDirectory() as folder:  # Keras goes by the ending
        named = shutil.copy(path, Path(folder) / "model.h5")
        return keras.models.load_model(named, compile=False, safe_mode=not trust)


def _has_way_out(error):
    return explain(error) != _last_reason(str(error))


def explain(error: Exception) -> str:
    """What Keras says of a file, in a sentence or two, with the way out where there is one."""
    text = str(error)
    if isinstance(error, zipfile.BadZipFile):
        return f"it is no zip archive, or one that is cut short ({text}). Copy or save it again."
    if isinstance(error, OSError):
        return f"it is cut short or damaged ({_last_reason(text)}). Copy or save it again."
    unknown = re.findall(
        r"Could not locate (class|function) '([^']+)'|Unknown (\w+): '([^']+)'", text
    )
    if unknown:
        kind, name = [part for part in unknown[-1] if part][:2]
        name = name.rpartition(">")[2]  # without the package
        return (
            f"the {kind} {name!r} is not known. Import the Python module that defines it: "
            "--import MODULE, or --import FILE.py (in Python, decorate it by "
            "@keras.saving.register_keras_serializable() and import it before)."
        )
    if "is a Python lambda" in text or ("`Lambda`" in text and "safe_mode" in text):
        return (
            "a Lambda layer holds a program, which Keras' safe mode does not allow. Where you "
            "trust who made the file, pass --trust (in Python, trust=True)."
        )
    return _last_reason(text)


def _last_reason(text):
    """The innermost reason of what Keras wraps into pages of configuration."""
    last = text.rpartition("Exception encountered: ")[2].strip()
    last = re.sub(r"\s+(Full object )?config: ?=?\{.*", "", last, flags=re.DOTALL)
    return " ".join(last.split())[:600]


def _check_archive(path):
    """Raises unless every member is whole, stays in the archive and grows within limits."""
    from mmzoo.io.keras_archive import check_keras_archive

    check_keras_archive(path)
