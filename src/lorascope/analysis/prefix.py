"""What all models of an analysis compute alike, run once a batch: everything below the first adapted block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from ..models.parts import EncoderParts


class SharedPrefix:
    """The blocks below the first one that an adapter touches, and the stem before all blocks.

    Within `shared`, the first forward since `forget` runs them and keeps what they give; later ones are given the same.
    `depth` is the number of those blocks. Where the models differ in more than an adapter's layers (changed weights,
    adapted layers outside the blocks) nothing is shared and `depth` is 0. What a block's own modules give is not seen
    again in a later forward: `kept` is where the caller keeps it, by name and layer. `alike` is the number of blocks
    whose input is the same in all models: the shared ones, and the one above them.
    """

    def __init__(self, parts: EncoderParts) -> None:
        first = _first_adapted(parts)
        self.depth = first or 0
        self.alike = 0 if first is None else first + 1
        self.kept: dict[tuple[str, int], Tensor] = {}
        self._modules: list[tuple[Any, bool]] = []
        if first is not None:
            self._modules = [*parts.stem(), *((block, True) for block in parts.blocks[:first])]
        self._outputs: dict[int, Any] = {}

    @property
    def filled(self) -> bool:
        """Whether a forward since `forget` has run, so that the next one repeats it."""
        return bool(self._outputs)

    def forget(self) -> None:
        """Let go of what was kept: another batch comes."""
        self._outputs.clear()
        self.kept.clear()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Run the shared modules once, and repeat what they gave."""
        before = [module.__dict__.get("forward") for module, _ in self._modules]
        for number, (module, read) in enumerate(self._modules):
            module.forward = self._repeating(number, module.forward, read)
        try:
            yield
        finally:
            for (module, _), forward in zip(self._modules, before, strict=True):
                if forward is None:
                    del module.forward
                else:
                    module.forward = forward

    def _repeating(self, number: int, forward: Callable[..., Any], read: bool) -> Callable[..., Any]:
        def repeated(*inputs: Any, **named: Any) -> Any:
            if number in self._outputs:
                return self._outputs[number]
            output = forward(*inputs, **named)
            # what only a module reads that is itself repeated need not be kept
            self._outputs[number] = output if read else output.new_zeros(1)
            return output

        return repeated


def _first_adapted(parts: EncoderParts) -> int | None:
    """The first block with a layer of an adapter in it; None where models differ elsewhere, or not at all."""
    if not isinstance(parts.peft, PeftModel):
        return None
    inside = {id(module): layer for layer, block in enumerate(parts.blocks) for module in block.modules()}
    head = {id(parts.classifier.projector), id(parts.classifier.classifier)}
    touched = [inside.get(id(module)) for module in _exchanged(parts.peft) if id(module) not in head]
    layers = [layer for layer in touched if layer is not None]
    return min(layers) if layers and len(layers) == len(touched) else None


def _exchanged(model: nn.Module) -> list[nn.Module]:
    """Modules that compute something else with the adapter on: its layers, and those that it has trained copies of
    (`modules_to_save`).
    """
    return [module for module in model.modules() if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper))]
