"""Find the decoder that belongs to a Whisper encoder, where its encoder was found: a folder, the hub, the wheels."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import WhisperDecoder
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from ...errors import LorascopeError
from ..transcriber import Transcriber
from .backbone import Backbone
from .checkpoints import LOAD_ERRORS
from .ctranslate2 import dequantised, read_tensors
from .wheels import wheel_bytes, wheel_file

VOCABULARY = "tokenizer.json"


def read_decoder(backbone: Backbone) -> Transcriber:
    """The decoder of a backbone in float32, with its vocabulary. Raises `LorascopeError`, which says why, where it has
    none.
    """
    if backbone.model.config.model_type != "whisper":
        raise LorascopeError(f"{backbone.name} is no Whisper, so it has no decoder")
    name, origin = backbone.name, backbone.origin
    if origin == "openai-whisper file":
        raise LorascopeError(f"{name} holds no vocabulary; give the same model as a Hugging Face or CTranslate2 folder")
    if origin == "wheel":
        data, settings, vocabulary = wheel_bytes(name), wheel_file(name, "config.json"), wheel_file(name, VOCABULARY)
        if data is None or settings is None or vocabulary is None:
            raise LorascopeError(f"the wheels of {name} hold no decoder")
        return _converted(data, settings, vocabulary, f"wheel of {name}")
    if origin == "CTranslate2 folder":
        folder = Path(name).expanduser()
        if not (folder / VOCABULARY).is_file():
            raise LorascopeError(f"{folder} has no {VOCABULARY}; copy that of the model it was converted from")
        settings = (folder / "config.json").read_bytes() if (folder / "config.json").is_file() else b"{}"
        data = np.memmap(folder / "model.bin", np.uint8, "r").data
        return _converted(data, settings, (folder / VOCABULARY).read_bytes(), str(folder / "model.bin"))
    return _from_pretrained(name, local=origin != "hub")


def _from_pretrained(name: str, local: bool) -> Transcriber:
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loader: Any = WhisperForConditionalGeneration
            model, info = loader.from_pretrained(
                name, output_loading_info=True, dtype=torch.float32, local_files_only=local
            )
            lost = [key for key in info["missing_keys"] if key.startswith("model.decoder.")]
            if lost:
                raise LorascopeError(f"{name} holds no decoder ({len(lost)} of its weights are missing)")
            vocabulary = cached_file(
                name, VOCABULARY, local_files_only=local, _raise_exceptions_for_missing_entries=False
            )
            if vocabulary is None:
                raise LorascopeError(f"{name} has no {VOCABULARY}; save its tokenizer there with save_pretrained")
            tokens = Tokenizer.from_file(str(vocabulary))
            settings = model.generation_config or GenerationConfig()
    except LOAD_ERRORS as error:
        raise LorascopeError(f"{name}: its decoder cannot be read ({str(error).splitlines()[0]})") from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    first = getattr(settings, "begin_suppress_tokens", None) or ()
    return Transcriber(model.model.decoder, tokens, getattr(settings, "suppress_tokens", None) or (), first)


def _converted(data: bytes | bytearray | memoryview, settings: bytes, vocabulary: bytes, source: str) -> Transcriber:
    """A decoder of CTranslate2's tensors, with what its config.json says."""
    told = json.loads(settings)
    tokens = Tokenizer.from_str(vocabulary.decode())
    decoder = decoder_from_tensors(read_tensors(data, source), source)
    return Transcriber(decoder, tokens, told.get("suppress_ids") or (), told.get("suppress_ids_begin") or ())


def decoder_from_tensors(tensors: dict[str, np.ndarray], source: str) -> WhisperDecoder:
    """Whisper's decoder from CTranslate2's tensors, dequantised: q, k and v of its own tokens, and k and v of the
    encoder's output, are taken out of fused matrices.

    Raises `LorascopeError` where a tensor is missing.
    """

    def get(name: str) -> np.ndarray:
        return np.atleast_1d(dequantised(tensors, name, source))

    layers = sum(name.startswith("decoder/") and name.endswith("self_attention/linear_0/weight") for name in tensors)
    heads = tensors.get("decoder/num_heads")
    if not layers or heads is None:
        raise LorascopeError(f"{source}: no decoder in it")
    state = {"embed_tokens.weight": get("decoder/embeddings/weight")}
    state["embed_positions.weight"] = get("decoder/position_encodings/encodings")
    norms = {"weight": "gamma", "bias": "beta"}
    state |= {f"layer_norm.{ours}": get(f"decoder/layer_norm/{theirs}") for ours, theirs in norms.items()}
    for layer in range(layers):
        ours, theirs = f"layers.{layer}", f"decoder/layer_{layer}"
        places = {
            "self_attn_layer_norm": "self_attention",
            "encoder_attn_layer_norm": "attention",
            "final_layer_norm": "ffn",
        }
        for norm, place in places.items():
            state |= {f"{ours}.{norm}.{part}": get(f"{theirs}/{place}/layer_norm/{norms[part]}") for part in norms}
        for part in ("weight", "bias"):
            own = np.array_split(get(f"{theirs}/self_attention/linear_0/{part}"), 3)
            keys, values = np.array_split(get(f"{theirs}/attention/linear_1/{part}"), 2)
            parts = {
                "self_attn.q_proj": own[0],
                "self_attn.k_proj": own[1],
                "self_attn.v_proj": own[2],
                "self_attn.out_proj": get(f"{theirs}/self_attention/linear_1/{part}"),
                "encoder_attn.q_proj": get(f"{theirs}/attention/linear_0/{part}"),
                "encoder_attn.k_proj": keys,
                "encoder_attn.v_proj": values,
                "encoder_attn.out_proj": get(f"{theirs}/attention/linear_2/{part}"),
                "fc1": get(f"{theirs}/ffn/linear_0/{part}"),
                "fc2": get(f"{theirs}/ffn/linear_1/{part}"),
            }
            # Whisper's k has no bias
            state |= {f"{ours}.{n}.{part}": a for n, a in parts.items() if part == "weight" or "k_proj" not in n}
    vocabulary, width = state["embed_tokens.weight"].shape
    config = WhisperConfig(
        vocab_size=vocabulary,
        d_model=width,
        encoder_layers=1,
        decoder_layers=layers,
        decoder_attention_heads=int(heads.item()),
        decoder_ffn_dim=len(state["layers.0.fc1.weight"]),
        max_target_positions=len(state["embed_positions.weight"]),
        pad_token_id=0,
    )
    config._attn_implementation = "sdpa"
    decoder = WhisperDecoder(config)
    decoder.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in state.items()})
    return decoder
