import pytest
import torch

from lorascope.models.classifier import Head, masked_mean
from lorascope.models.families.whisper import WhisperClassifier, context_length

from ..tiny import mels, tiny_whisper


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    stock = tiny_whisper()
    stock.save_pretrained(folder)
    return stock, WhisperClassifier.from_pretrained(folder).eval()


def test_full_context_gives_the_stock_logits(pair):
    stock, ours = pair
    features = mels(frames=1500)
    assert torch.equal(ours(features).logits, stock(features).logits)


def test_short_context_uses_the_first_positions_only(pair):
    _, ours = pair
    features = mels(frames=60)
    short = ours.encode(features)
    table = ours.encoder.embed_positions.weight
    with torch.no_grad():
        kept = table[60:].clone()
        table[60:] = 7.0
        assert torch.equal(ours.encode(features), short)
        table[60:] = kept


def test_context_is_restored_after_an_error(pair):
    _, ours = pair
    with pytest.raises(RuntimeError), context_length(ours.encoder, 10):
        raise RuntimeError
    assert ours.encoder.config.max_source_positions == ours.encoder.embed_positions.num_embeddings == 1500


def test_pooling_ignores_what_lies_after_the_valid_frames():
    hidden = torch.randn(2, 5, 3)
    changed = hidden.clone()
    changed[0, 3:] = 99.0
    valid = torch.tensor([3, 5])
    assert torch.allclose(masked_mean(changed, valid), masked_mean(hidden, valid))
    assert torch.allclose(masked_mean(hidden, valid)[1], hidden[1].mean(0))


def test_the_head_on_pooled_outputs_equals_the_whole_model(pair):
    _, ours = pair
    head = Head(32, 16, 4)
    for name in ("projector", "classifier"):
        getattr(head, name).load_state_dict(getattr(ours, name).state_dict())
    features, valid = mels(frames=80), torch.tensor([50, 80])
    with torch.no_grad():
        whole = ours(features, valid=valid).logits
        assert torch.allclose(head(masked_mean(ours.encode(features), valid)).logits, whole, atol=1e-5)
