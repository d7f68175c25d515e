"""Read Whisper encoders from the `.pt` files of openai-whisper, `{"dims": {...}, "model_state_dict": {...}}`.

Only tensors and plain values are taken (`torch.load(weights_only=True)`): a file that would
have to run code is refused.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ...errors import LorascopeError
from .arrays import EncoderWeights
from .checkpoints import load_plain

_WAY_OUT = (
    "download it again, or save it anew with torch.save({'dims': vars(model.dims), 'model_state_dict': "
    "model.state_dict()}, path)"
)
#: openai-whisper's names inside a block and Hugging Face's.
_BLOCK = {
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}
_DIMS = ("n_mels", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer")


def read_checkpoint(path: Path) -> EncoderWeights:
    """The encoder of an openai-whisper checkpoint in float32.

    Raises `LorascopeError` where the file is missing, damaged, needs code to be run, or its tensors are not those of
    the Whisper encoder that `dims` describes.
    """
    if not path.is_file():
        raise LorascopeError(
            f"backbone {path}: no such file; give an openai-whisper .pt file, a folder, a hub id "
            "(openai/whisper-base) or a short name"
        )
    loaded = load_plain(path, _WAY_OUT)
    dims, tensors = (loaded.get(key) if isinstance(loaded, dict) else None for key in ("dims", "model_state_dict"))
    if not isinstance(dims, dict) or not isinstance(tensors, dict):
        raise LorascopeError(f"{path}: no 'dims' and 'model_state_dict' in it, so not openai-whisper's; {_WAY_OUT}")
    for key in _DIMS:
        if not isinstance(dims.get(key), int):
            raise LorascopeError(f"{path}: dims has no whole number {key}; {_WAY_OUT}")
    state = {}
    for name, tensor in tensors.items():
        if not str(name).startswith("encoder."):
            continue  # the decoder
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            raise LorascopeError(f"{path}: {name} is no tensor of floating-point numbers; {_WAY_OUT}")
        state[huggingface_name(str(name))] = tensor.detach().float().numpy()
    first = state.get("layers.0.fc1.weight")
    weights = EncoderWeights(
        state=state,
        width=dims["n_audio_state"],
        layers=dims["n_audio_layer"],
        heads=dims["n_audio_head"],
        ffn=len(first) if first is not None and first.ndim else 4 * dims["n_audio_state"],
        mels=dims["n_mels"],
        positions=dims["n_audio_ctx"],
    )
    weights.check(str(path), _WAY_OUT)
    return weights


def huggingface_name(name: str) -> str:
    """Hugging Face's name for an encoder tensor of openai-whisper; a name that it does not know is left as
    it is, without `encoder.`.

    >>> huggingface_name("encoder.blocks.3.attn.query.weight")
    'layers.3.self_attn.q_proj.weight'
    """
    name = name.removeprefix("encoder.")
    if name == "positional_embedding":
        return "embed_positions.weight"
    if name.startswith("ln_post."):
        return name.replace("ln_post.", "layer_norm.")
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)\.(weight|bias)", name)
    if block and block[2] in _BLOCK:
        return f"layers.{block[1]}.{_BLOCK[block[2]]}.{block[3]}"
    return name
