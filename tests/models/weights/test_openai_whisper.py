"""openai-whisper's files, made here under its own names, and held to its forward pass written out in float64."""

import os

import pytest
import torch
from torch.nn.functional import conv1d, gelu, layer_norm

from lorascope.errors import LorascopeError
from lorascope.models.weights.backbone import load_backbone
from lorascope.models.weights.openai_whisper import huggingface_name

from ...tiny import CLASSES, mels

LINEARS = {
    "attn.query": (1, 1),
    "attn.key": (1, 1),
    "attn.value": (1, 1),
    "attn.out": (1, 1),
    "mlp.0": (4, 1),
    "mlp.2": (1, 4),
}


def checkpoint(dtype=torch.float32, bins=80, width=16, heads=2, layers=2, positions=60):
    """A random checkpoint as openai-whisper saves it; one tensor stands for the decoder."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return (0.3 * torch.randn(*shape, generator=generator)).to(dtype)

    state = {
        "decoder.token_embedding.weight": random(9, width),
        "encoder.positional_embedding": random(positions, width),
        "encoder.conv1.weight": random(width, bins, 3),
        "encoder.conv2.weight": random(width, width, 3),
    }
    state |= {f"encoder.{name}.bias": random(width) for name in ("conv1", "conv2", "ln_post")}
    state["encoder.ln_post.weight"] = 1 + random(width)
    for block in (f"encoder.blocks.{layer}" for layer in range(layers)):
        for name, (rows, columns) in LINEARS.items():
            state[f"{block}.{name}.weight"] = random(rows * width, columns * width)
            if name != "attn.key":
                state[f"{block}.{name}.bias"] = random(rows * width)
        for name in ("attn_ln", "mlp_ln"):
            state |= {f"{block}.{name}.weight": 1 + random(width), f"{block}.{name}.bias": random(width)}
    dims = {"n_mels": bins, "n_audio_ctx": positions, "n_audio_state": width, "n_audio_head": heads}
    dims |= {"n_audio_layer": layers, "n_vocab": 9, "n_text_ctx": 8, "n_text_state": width}
    return {"dims": dims | {"n_text_head": heads, "n_text_layer": 0}, "model_state_dict": state}


def forward(saved, features):
    """Whisper's encoder (Radford et al. 2022) in float64 from openai-whisper's tensors: features
    [clips, mels, 2 * frames] to [clips, frames, width].
    """
    w = {name.removeprefix("encoder."): tensor.double() for name, tensor in saved["model_state_dict"].items()}
    heads = saved["dims"]["n_audio_head"]

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", torch.zeros(()))

    def norm(x, name):
        return layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    x = gelu(conv1d(features.double(), w["conv1.weight"], w["conv1.bias"], padding=1))
    x = gelu(conv1d(x, w["conv2.weight"], w["conv2.bias"], padding=1, stride=2)).mT + w["positional_embedding"]
    for layer in range(saved["dims"]["n_audio_layer"]):
        block = f"blocks.{layer}"
        y = norm(x, f"{block}.attn_ln")
        q, k, v = (
            linear(y, f"{block}.attn.{part}").unflatten(-1, (heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        mixed = torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1) @ v
        x = x + linear(mixed.transpose(1, 2).flatten(2), f"{block}.attn.out")
        x = x + linear(gelu(linear(norm(x, f"{block}.mlp_ln"), f"{block}.mlp.0")), f"{block}.mlp.2")
    return norm(x, "ln_post")


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_encoder_computes_what_openais_does(tmp_path, dtype, bins):
    saved = checkpoint(dtype, bins)
    torch.save(saved, tmp_path / "whisper.pt")
    backbone = load_backbone(str(tmp_path / "whisper.pt"), CLASSES)
    assert backbone.origin == "openai-whisper file" and not backbone.has_head
    assert (backbone.layers, backbone.width, backbone.model.config.num_mel_bins) == (2, 16, bins)
    assert all(parameter.dtype == torch.float32 for parameter in backbone.model.parameters())
    features = mels(frames=60, bins=bins)
    expected = forward(saved, features)
    with torch.no_grad():
        found = backbone.model.encode(features)
    # float16 files hold rounded weights, and are then computed with in float32 all the same
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_files_from_before_the_zip_format_are_read(tmp_path):
    saved = checkpoint()
    torch.save(saved, tmp_path / "new.pt")
    torch.save(saved, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert load_backbone(str(tmp_path / "old.pt")).fingerprint == load_backbone(str(tmp_path / "new.pt")).fingerprint


def test_names_that_are_not_openais_are_left_alone():
    assert huggingface_name("encoder.blocks.11.attn.key.weight") == "layers.11.self_attn.k_proj.weight"
    assert huggingface_name("encoder.blocks.0.adapter.weight") == "blocks.0.adapter.weight"


# what is refused


def refusal(path):
    with pytest.raises(LorascopeError) as caught:
        load_backbone(str(path))
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


@pytest.fixture
def refused(tmp_path):
    """Save something as a .pt file and give the message with which it is refused, which always
    tells how to save it rightly.
    """

    def save(content):
        torch.save(content, tmp_path / "whisper.pt")
        message = refusal(tmp_path / "whisper.pt")
        assert "save it anew with torch.save({'dims': vars(model.dims)" in message
        return message

    return save


class Command:
    """An object whose unpickling runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("is_zip", [True, False])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, is_zip):
    path, trace = tmp_path / "whisper.pt", tmp_path / "trace"
    saved = checkpoint() | {"more": Command(f"touch {trace}")}
    torch.save(saved, path, _use_new_zipfile_serialization=is_zip)
    message = refusal(path)
    assert not trace.exists()
    assert "code would have to be run" in message if is_zip else "plain tensors" in message
    assert "save it anew with torch.save" in message


def test_dims_as_an_object_are_refused(refused):
    assert "Plain), whose code" in refused(checkpoint() | {"dims": Plain()})


class Plain:
    """Any object of a class that the reader's machine may not have."""


def test_a_missing_file_is_told(tmp_path):
    message = refusal(tmp_path / "whisper.pt")
    assert "no such file; give an openai-whisper .pt file, a folder" in message


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.9])
def test_a_file_that_was_cut_off_is_told(tmp_path, kept):
    path = tmp_path / "whisper.pt"
    torch.save(checkpoint(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert "not a whole PyTorch file of plain tensors" in refusal(path)


def test_a_file_of_another_kind_is_told(tmp_path):
    path = tmp_path / "whisper.pt"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "not a whole PyTorch file" in refusal(path)


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"dims": {}, "model_state_dict": [1]}, torch.zeros(2)])
def test_another_content_is_told(refused, content):
    assert "no 'dims' and 'model_state_dict' in it" in refused(content)


@pytest.mark.parametrize("value", [None, 2.5, "2"])
def test_a_missing_or_wrong_size_in_dims_is_told(refused, value):
    saved = checkpoint()
    saved["dims"]["n_audio_head"] = value
    assert "dims has no whole number n_audio_head" in refused(saved)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n_audio_head": 3}, "3 heads do not divide the width 16"),
        ({"n_audio_head": 0}, "a size is not positive"),
        ({"n_audio_layer": 10**9}, "1000000000 layers, but only"),
        ({"n_audio_layer": 1}, "Whisper's encoder has no layers.1."),
        ({"n_mels": 128}, "conv1.weight has shape [16, 80, 3], expected [16, 128, 3]"),
        ({"n_audio_ctx": 1500}, "embed_positions.weight has shape [60, 16], expected [1500, 16]"),
    ],
)
def test_dims_that_do_not_fit_the_tensors_are_told(refused, changes, told):
    saved = checkpoint()
    saved["dims"] |= changes
    assert told in refused(saved)


@pytest.mark.parametrize(
    ("name", "tensor", "told"),
    [
        ("encoder.blocks.1.mlp.0.weight", None, "no tensor for layers.1.fc1.weight"),
        (
            "encoder.blocks.1.mlp.0.weight",
            torch.zeros(64, 15),
            "layers.1.fc1.weight has shape [64, 15], expected [64, 16]",
        ),
        ("encoder.blocks.1.attn.key.bias", torch.zeros(16), "Whisper's encoder has no layers.1.self_attn.k_proj.bias"),
        ("encoder.blocks.0.adapter.weight", torch.zeros(16, 16), "Whisper's encoder has no blocks.0.adapter.weight"),
        ("encoder.ln_post.bias", torch.full((16,), float("nan")), "layer_norm.bias holds values that are not finite"),
        (
            "encoder.ln_post.bias",
            torch.zeros(16, dtype=torch.int64),
            "encoder.ln_post.bias is no tensor of floating-point",
        ),
    ],
)
def test_tensors_that_are_missing_or_wrong_are_told(refused, name, tensor, told):
    saved = checkpoint()
    if tensor is None:
        del saved["model_state_dict"][name]
    else:
        saved["model_state_dict"][name] = tensor
    assert told in refused(saved)
