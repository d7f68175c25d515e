"""Read Whisper encoders from CTranslate2's `model.bin`, tensors only; no code of that library is needed.

Every precision that its converter writes is read: float32, float16, bfloat16, int16, int8 and int8 mixed
with any of the float types.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

from ...errors import LorascopeError
from .arrays import EncoderWeights

#: CTranslate2's numbering of element types (its DataType enumeration); bfloat16 is the upper half of a float32.
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16, 5: np.uint16}
_BFLOAT16 = 5
_WAY_OUT = "convert it anew with ct2-transformers-converter"


def is_converted_folder(folder: Path) -> bool:
    """Whether this is a folder of CTranslate2: a `model.bin`, and no `config.json` with Hugging Face's `model_type`."""
    if not (folder / "model.bin").is_file():
        return False
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True  # early conversions have no config.json, and the encoder's sizes stand in model.bin
    return not (isinstance(config, dict) and "model_type" in config)


def read_converted_folder(folder: Path) -> EncoderWeights:
    """The encoder of a CTranslate2 folder, dequantised to float32. Raises `LorascopeError` where `model.bin` is
    damaged or holds something else.
    """
    path = folder / "model.bin"
    try:
        data = np.memmap(path, np.uint8, "r").data  # the decoder's bytes are never read
    except (OSError, ValueError) as error:
        raise LorascopeError(f"{path}: cannot be read ({error}); {_WAY_OUT}") from error
    return encoder_from_tensors(read_tensors(data, str(path)), str(path))


def read_tensors(data: bytes | bytearray | memoryview, source: str) -> dict[str, np.ndarray]:
    """All tensors of a binary model file (format version 6), by name; bfloat16 as float32, quantised
    ones as they are stored.

    Layout: version u32, spec name (u16 length with the closing zero, characters), revision u32, number of tensors u32;
    for each tensor its name, rank u8, dimensions u32, element type u8, number of bytes u32, bytes; then number of
    aliases u32 and for each its name and the tensor's that it stands for (equal tensors are stored once). Raises
    `LorascopeError` where the file is something else.
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
        if position + length > len(data):
            raise ValueError("a name reaches over the end")
        value = bytes(data[position : position + length - 1]).decode()
        position += length
        return value

    try:
        version, spec = take("I"), text()
        if version != 6 or spec != "WhisperSpec":
            raise LorascopeError(
                f"{source}: format {version} of {spec!r}, expected format 6 of 'WhisperSpec'; {_WAY_OUT}"
            )
        take("I")
        tensors = {}
        for _ in range(take("I")):
            name = text()
            shape = [take("I") for _ in range(take("B"))]
            kind, size = take("B"), take("I")
            if kind not in _DTYPES:
                raise LorascopeError(
                    f"{source}: tensor {name} has element type {kind}, which cannot be read here; "
                    "use float16 or float32"
                )
            array = np.frombuffer(data[position : position + size], dtype=_DTYPES[kind]).reshape(shape)
            tensors[name] = (array.astype(np.uint32) << 16).view(np.float32) if kind == _BFLOAT16 else array
            position += size
        for _ in range(take("I")):
            alias, stored = text(), text()
            for suffix in ("", "_scale"):  # an alias of a quantised tensor shares its scale
                if stored + suffix in tensors:
                    tensors[alias + suffix] = tensors[stored + suffix]
                elif not suffix:
                    raise LorascopeError(f"{source}: {alias} stands for {stored}, which is not there; {_WAY_OUT}")
    except (struct.error, UnicodeDecodeError, ValueError) as error:
        raise LorascopeError(f"{source}: not a whole CTranslate2 model file ({error}); {_WAY_OUT}") from error
    return tensors


def dequantised(tensors: dict[str, np.ndarray], name: str, source: str) -> np.ndarray:
    """One tensor in float32: stored integers are divided by their scale (int8: one for each row of the first
    axis, int16: one for all).

    Raises `LorascopeError` where there is no such tensor, or it is of integers without a usable scale.
    """
    if name not in tensors:
        raise LorascopeError(f"{source}: no tensor {name}; this is not a Whisper encoder: {_WAY_OUT}")
    array = tensors[name]
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    scale = tensors.get(f"{name}_scale")
    rows = array.shape[:1]
    if scale is None or scale.dtype.kind != "f" or scale.shape not in ((), (1,), rows) or not np.all(scale > 0):
        raise LorascopeError(f"{source}: {name} is quantised ({array.dtype}) without its scale; {_WAY_OUT}")
    factors = scale.astype(np.float32)
    if scale.shape == rows:
        factors = factors.reshape(-1, *[1] * (array.ndim - 1))
    return array.astype(np.float32) / factors


def encoder_from_tensors(tensors: dict[str, np.ndarray], source: str) -> EncoderWeights:
    """Whisper's encoder from CTranslate2's tensors, dequantised: q, k and v are taken out of one fused matrix.

    Raises `LorascopeError` where a tensor is missing or of a wrong size, or k has a bias, which Whisper has not.
    """

    def get(name: str) -> np.ndarray:
        return dequantised(tensors, name, source)

    heads = tensors.get("encoder/num_heads")
    if heads is None or heads.size != 1:
        raise LorascopeError(f"{source}: no tensor encoder/num_heads; {_WAY_OUT}")
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
            q, k, v = np.array_split(np.atleast_1d(get(f"{theirs}/self_attention/linear_0/{part}")), 3)
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
    weights = EncoderWeights(
        state=state,
        width=_size(state, "conv1.weight", 0),
        layers=layers,
        heads=int(heads.item()),
        ffn=_size(state, "layers.0.fc1.weight", 0),
        mels=_size(state, "conv1.weight", 1),
        positions=_size(state, "embed_positions.weight", 0),
    )
    weights.check(source, _WAY_OUT)
    return weights


def _size(state: dict[str, np.ndarray], name: str, axis: int) -> int:
    shape = state[name].shape if name in state else ()
    return shape[axis] if axis < len(shape) else 0
