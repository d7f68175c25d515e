"""A Whisper encoder as plain arrays, whatever file it was read from, and the check that it is whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import LorascopeError


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

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape that every array must have for these sizes, by name; Whisper's k has no bias."""
        d, f = self.width, self.ffn
        shapes: dict[str, tuple[int, ...]] = {
            "conv1.weight": (d, self.mels, 3),
            "conv1.bias": (d,),
            "conv2.weight": (d, d, 3),
            "conv2.bias": (d,),
            "embed_positions.weight": (self.positions, d),
            "layer_norm.weight": (d,),
            "layer_norm.bias": (d,),
        }
        block: dict[str, tuple[int, ...]] = {f"self_attn.{name}_proj.weight": (d, d) for name in ("q", "k", "v", "out")}
        block |= {f"self_attn.{name}_proj.bias": (d,) for name in ("q", "v", "out")}
        block |= {
            f"{norm}.{part}": (d,)
            for norm in ("self_attn_layer_norm", "final_layer_norm")
            for part in ("weight", "bias")
        }
        block |= {"fc1.weight": (f, d), "fc1.bias": (f,), "fc2.weight": (d, f), "fc2.bias": (d,)}
        return shapes | {
            f"layers.{layer}.{name}": shape for layer in range(self.layers) for name, shape in block.items()
        }

    def check(self, source: str, way_out: str) -> None:
        """Raise `LorascopeError` with `source` and `way_out` where a size is impossible, or an array is missing,
        too much, of another shape or not finite.
        """
        if min(self.width, self.layers, self.heads, self.ffn, self.mels, self.positions) < 1:
            raise LorascopeError(f"{source}: no Whisper encoder: a size is not positive; {way_out}")
        if self.layers > len(self.state):
            raise LorascopeError(f"{source}: {self.layers} layers, but only {len(self.state)} tensors; {way_out}")
        if self.width % self.heads:
            raise LorascopeError(f"{source}: {self.heads} heads do not divide the width {self.width}; {way_out}")
        shapes = self.shapes()
        if surplus := sorted(self.state.keys() - shapes.keys()):
            raise LorascopeError(
                f"{source}: Whisper's encoder has no {surplus[0]} ({len(surplus)} such tensors); this is "
                f"another architecture: {way_out}"
            )
        for name, shape in shapes.items():
            if name not in self.state:
                raise LorascopeError(f"{source}: no tensor for {name}; {way_out}")
            array = self.state[name]
            if array.shape != shape:
                raise LorascopeError(
                    f"{source}: {name} has shape {list(array.shape)}, expected {list(shape)}; {way_out}"
                )
            if not np.isfinite(array).all():
                raise LorascopeError(f"{source}: {name} holds values that are not finite; {way_out}")
