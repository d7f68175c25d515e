"""Read Whisper encoders from CTranslate2's `model.bin`, tensors only; no code of that library is needed."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from ..errors import LorascopeError

#: CTranslate2's numbering of element types (its DataType enumeration).
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


@dataclass(frozen=True)
class EncoderWeights:
    """A Whisper encoder as plain arrays under Hugging Face's names, float32, with the sizes that a config needs."""

    state: dict[str, np.ndarray]
    width: int
    layers: int
    heads: int
    ffn: int
    mels: int
    positions: int


def read_tensors(data: bytes, source: str) -> dict[str, np.ndarray]:
    """All tensors of a binary model file (format version 6), by name.

    Layout: version u32, spec name (u16 length with the closing zero, characters), revision u32, number of tensors u32; for each tensor its name, rank
    u8, dimensions u32, element type u8, number of bytes u32, bytes. Raises `LorascopeError` where the file is something else.
    """
    position = 0

    def take(form: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from("<" + form, data, position)
        position += struct.calcsize("<" + form)
        return value

    def text() -> str:
        nonlocal position
        length = take("H")
        value = data[position : position + length - 1].decode()
        position += length
        return value

    try:
        version, spec = take("I"), text()
        if version != 6 or spec != "WhisperSpec":
            raise LorascopeError(
                f"{source}: format {version} of {spec!r}, expected format 6 of 'WhisperSpec'; convert it anew"
            )
        take("I")
        tensors = {}
        for _ in range(take("I")):
            name = text()
            shape = [take("I") for _ in range(take("B"))]
            kind, size = take("B"), take("I")
            if kind not in _DTYPES:
                raise LorascopeError(
                    f"{source}: tensor {name} has element type {kind}, which cannot be read here; use float16 or float32"
                )
            tensors[name] = np.frombuffer(data[position : position + size], dtype=_DTYPES[kind]).reshape(shape)
            position += size
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise LorascopeError(f"{source}: not a CTranslate2 model file ({error}); download it again") from error
    return tensors


def encoder_from_tensors(tensors: dict[str, np.ndarray], source: str) -> EncoderWeights:
    """Whisper's encoder from CTranslate2's tensors: q, k and v are taken out of one fused matrix.

    Raises `LorascopeError` where the weights are quantised or k has a bias, which Whisper has not.
    """

    def get(name: str) -> np.ndarray:
        if name not in tensors:
            raise LorascopeError(f"{source}: no tensor {name}; this is not a Whisper encoder")
        array = tensors[name]
        if array.dtype.kind != "f" and not name.endswith("num_heads"):
            raise LorascopeError(f"{source}: {name} is quantised ({array.dtype}); use a float16 or float32 conversion")
        return array.astype(np.float32)

    width, mels, _ = (
        tensors["encoder/conv1/weight"].shape
        if "encoder/conv1/weight" in tensors
        else get("encoder/conv1/weight").shape
    )
    layers = sum(name.endswith("self_attention/linear_0/weight") for name in tensors if name.startswith("encoder/"))
    state = {"embed_positions.weight": get("encoder/position_encodings/encodings")}
    for conv in ("conv1", "conv2"):
        state |= {f"{conv}.{part}": get(f"encoder/{conv}/{part}") for part in ("weight", "bias")}
    norms = {"weight": "gamma", "bias": "beta"}
    state |= {f"layer_norm.{ours}": get(f"encoder/layer_norm/{theirs}") for ours, theirs in norms.items()}
    for layer in range(layers):
        ours, theirs = f"layers.{layer}", f"encoder/layer_{layer}"
        for part, name in norms.items():
            state[f"{ours}.self_attn_layer_norm.{part}"] = get(f"{theirs}/self_attention/layer_norm/{name}")
            state[f"{ours}.final_layer_norm.{part}"] = get(f"{theirs}/ffn/layer_norm/{name}")
        for part in ("weight", "bias"):
            q, k, v = np.split(get(f"{theirs}/self_attention/linear_0/{part}"), 3)
            state |= {f"{ours}.self_attn.q_proj.{part}": q, f"{ours}.self_attn.v_proj.{part}": v}
            if part == "weight":
                state[f"{ours}.self_attn.k_proj.{part}"] = k
            elif np.any(k):
                raise LorascopeError(
                    f"{source}: layer {layer} has a bias on k, which Whisper has not; this is another architecture"
                )
            state[f"{ours}.self_attn.out_proj.{part}"] = get(f"{theirs}/self_attention/linear_1/{part}")
            state[f"{ours}.fc1.{part}"] = get(f"{theirs}/ffn/linear_0/{part}")
            state[f"{ours}.fc2.{part}"] = get(f"{theirs}/ffn/linear_1/{part}")
    return EncoderWeights(
        state=state,
        width=width,
        layers=layers,
        heads=int(get("encoder/num_heads")),
        ffn=state["layers.0.fc1.weight"].shape[0],
        mels=mels,
        positions=state["embed_positions.weight"].shape[0],
    )
