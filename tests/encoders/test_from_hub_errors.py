"""What an encoder of a module refuses, and what it says."""

import pytest
from hub import modules

from mmzoo import encoders
from mmzoo.hub import Contract, Input, Outputs, ResolveError

TEXT = Contract("text", Input("string", "string"), Outputs(512), True)
BUILDERS = {"image": encoders.image, "text": encoders.text, "audio": encoders.audio}


@pytest.fixture(scope="module")
def sentences(tmp_path_factory):
    return modules.sentence_encoder(tmp_path_factory.mktemp("text") / "m")


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_a_module_of_another_modality(sentences, modality):
    with pytest.raises(ValueError, match=f"for {modality}. Received: .*/m, which is for text"):
        BUILDERS[modality](sentences, contract=TEXT)
    with pytest.raises(ValueError, match=f"for {modality}. Received: mmzoo/concept128-text/1"):
        BUILDERS[modality]("mmzoo/concept128-text/1")
    yamnet = "https://tfhub.dev/google/yamnet/1"
    with pytest.raises(ValueError, match="for text. Received: .*yamnet/1, which is for audio"):
        encoders.text(yamnet)  # known to the catalogue, and not here


def test_a_module_that_does_not_say_what_it_takes(sentences):
    for build in (encoders.text, encoders.tokenizer):
        with pytest.raises(ValueError, match=r"says what it takes .*/m. Pass `contract=mmzoo.hub"):
            build(sentences)


@pytest.mark.parametrize(
    "handle, message",
    [
        ("mmzoo/whisper-tiny-en/1", "mmzoo hub build audio"),
        ("mmzoo/whisper-tiny-fr/1", "Expected one of mmzoo/.*Received: mmzoo/whisper-tiny-fr/1"),
        ("./nowhere", "which does not exist"),
        ("https://tfhub.dev/nobody/nothing/1", "offline mode is on.*To seed it"),
        ("https://tfhub.dev/google/yamnet/1", "offline mode is on.*To seed it"),
    ],
)
def test_a_module_that_is_not_here(handle, message):
    with pytest.raises(ResolveError, match=message):
        encoders.audio(handle)


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_another_sample_rate(rate):
    contract = Contract("audio", Input("waveform", "float32", sample_rate=rate), Outputs(4), True)
    message = f"waveforms at 16000 Hz. Received: ./m, at {rate} Hz. Resample"
    with pytest.raises(ValueError, match=message):
        encoders.audio("./m", contract=contract)


def test_token_ids_of_a_module_without_a_tokenizer(sentences):
    with pytest.raises(ValueError, match="tokenizer apart for `tokenized=True`.*takes string"):
        encoders.text(sentences, contract=TEXT, tokenized=True)
    with pytest.raises(ValueError, match="Expected a module with a tokenizer apart. Received"):
        encoders.tokenizer(sentences, contract=TEXT)


def test_seconds_are_for_waveforms(sentences):
    with pytest.raises(ValueError, match="`seconds` only for a module that takes waveforms"):
        encoders.text(sentences, contract=TEXT, seconds=1)


@pytest.mark.parametrize("modality", BUILDERS)
@pytest.mark.parametrize("options", [{"trainable": True}, {"contract": None, "embed": False}])
def test_options_of_a_module_without_one(modality, options):
    with pytest.raises(ValueError, match=r"`source='small'` takes no \['(trainable|contract)"):
        BUILDERS[modality](**options)


def test_token_ids_where_the_module_takes_more_than_them(caches):
    takes = Input("token_ids", "int32", preprocessor="./before")
    contract = Contract("text", takes, Outputs(6, "pooled_output", "sequence_output"), True)
    handle = modules.bert_encoder(caches / "bert")
    with pytest.raises(ValueError, match="expected inputs .*input_mask.* Received: int32"):
        encoders.text(handle, contract=contract, tokenized=True)


def test_a_place_that_the_module_does_not_have(sentences):
    contract = Contract("text", Input("string", "string"), Outputs(512, "pooled"), True)
    message = r"contract of .*/m to name one of its outputs \[''\]. Received: 'pooled'"
    with pytest.raises(ValueError, match=message):
        encoders.text(sentences, contract=contract)


def test_a_place_among_several(caches):
    contract = Contract("text", Input("string", "string"), Outputs(6, 1), True)
    message = r"\['input_mask', 'input_type_ids', 'input_word_ids'\]. Received: 1"
    with pytest.raises(ValueError, match=message):
        encoders.text(modules.bert_preprocessor(caches / "m"), contract=contract)
