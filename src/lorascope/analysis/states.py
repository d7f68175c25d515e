"""The models of an analysis as states of one: frozen, trained, and the random baselines, swapped in place.

All share the backbone's memory; only the adapter's factors and the head are exchanged, so a large encoder is held once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from ..models.parts import EncoderParts

#: The random baselines, in the order in which they are run.
BASELINES = ("gaussian", "peft-init", "norm-matched", "permuted")
#: Standard deviation of the released code's random factors and of the random head.
GAUSSIAN_STD = 0.02

Key = tuple[int, str]
Pair = tuple[Tensor, Tensor]


def random_factors(kind: str, trained: Mapping[Key, Pair], seed: int) -> dict[Key, Pair]:
    """A and B of a random baseline for every adapted layer, in the trained factors' shapes and dtypes, from `seed`.

    `gaussian` (released code): N(0, 0.02²). `peft-init`: A Kaiming uniform with a = √5 as PEFT draws it, B = 0.
    `norm-matched`: Gaussian scaled to each trained factor's Frobenius norm. `permuted`: each trained factor's entries
    shuffled.
    """
    generator = torch.Generator().manual_seed(seed)

    def gaussian(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)

    def matched(like: Tensor) -> Tensor:
        drawn = gaussian(like)
        return drawn * (like.norm() / drawn.norm())

    def permuted(like: Tensor) -> Tensor:
        order = torch.randperm(like.numel(), generator=generator).to(like.device)
        return like.flatten()[order].reshape(like.shape)

    def kaiming(like: Tensor) -> Tensor:
        # U(-b, b) with b = sqrt(6 / ((1 + a²) fan_in)) and a = sqrt(5)
        bound = 1 / math.sqrt(like.shape[1])
        return ((torch.rand(like.shape, generator=generator) * 2 - 1) * bound).to(like.device, like.dtype)

    draw: Callable[[Tensor], Tensor] = {
        "gaussian": lambda like: gaussian(like) * GAUSSIAN_STD,
        "norm-matched": matched,
        "permuted": permuted,
        "peft-init": kaiming,
    }[kind]
    second = torch.zeros_like if kind == "peft-init" else draw
    return {key: (draw(a), second(b)) for key, (a, b) in trained.items()}


class ModelStates:
    """The models of an analysis. `enter(name)` makes one of them current until the block ends.

    `names` are "frozen", "trained" and the baselines asked for (of adapters that are low-rank pairs; for others there
    are none). "gaussian" has a random head (as released), the other baselines the trained head; "frozen" has the head
    given as `frozen_head` (`projector.weight`, ... in the stock names), or none: then it is listed in `headless`.
    Without `has_head` the adapter has no trained head, and all are.
    """

    def __init__(
        self,
        parts: EncoderParts,
        frozen_head: Mapping[str, Tensor] | None,
        baselines: tuple[str, ...] = BASELINES,
        seed: int = 42,
        has_head: bool = True,
    ) -> None:
        self.parts = parts
        baselines = baselines if parts.adapted() else ()
        self.names = ("frozen", "trained", *baselines)
        without = self.names if not has_head else ("frozen",) if frozen_head is None else ()
        self.headless = frozenset(without)
        self._parameters = {key: parts.factors(*key)[:2] for key in parts.adapted()}
        trained = {key: (a.detach().clone(), b.detach().clone()) for key, (a, b) in self._parameters.items()}
        self._factors = {"trained": trained}
        for number, name in enumerate(baselines):
            self._factors[name] = random_factors(name, trained, seed + number)
        self._trained_head = [tensor.detach().clone() for tensor in self._head_parameters()]
        generator = torch.Generator().manual_seed(seed)
        self._gaussian_head = [
            torch.randn(t.shape, generator=generator).to(t) * GAUSSIAN_STD if t.dim() > 1 else torch.zeros_like(t)
            for t in self._trained_head
        ]
        if frozen_head is not None:
            with parts.adapter(on=False):
                for name, part in zip(("projector", "classifier"), parts.head(), strict=True):
                    part.load_state_dict({kind: frozen_head[f"{name}.{kind}"] for kind in ("weight", "bias")})
        # what the frozen head weighs depths with, exchanged with the trained head's (a parameter that no adapter holds)
        self._frozen_weights = None if frozen_head is None else frozen_head.get("layer_weights")

    @property
    def frozen_depth_weights(self) -> Tensor | None:
        """What each depth weighs in the frozen head's sum, [layers + 1]; None where it has no weights of its own."""
        return None if self._frozen_weights is None else self._frozen_weights.softmax(dim=0)

    def factors(self, name: str) -> Mapping[Key, Pair]:
        """A and B of every adapted layer in one model; none for "frozen"."""
        return self._factors.get(name, {})

    @contextmanager
    def enter(self, name: str) -> Iterator[EncoderParts]:
        """Make one model current; the trained one is restored on leaving."""
        if name == "frozen":
            with self.parts.adapter(on=False), self._weighing_depths():
                yield self.parts
            return
        try:
            self._put(self._factors[name], self._gaussian_head if name == "gaussian" else self._trained_head)
            yield self.parts
        finally:
            self._put(self._factors["trained"], self._trained_head)

    @contextmanager
    def _weighing_depths(self) -> Iterator[None]:
        """The frozen head's own weights of depths, until the block ends."""
        if self._frozen_weights is None:
            yield
            return
        parameter = self.parts.classifier.layer_weights
        before, parameter.data = parameter.data, self._frozen_weights.to(parameter)
        try:
            yield
        finally:
            parameter.data = before

    def _head_parameters(self) -> list[Tensor]:
        return [parameter for part in self.parts.head() for parameter in (part.weight, part.bias)]

    def _put(self, factors: Mapping[Key, Pair], head: list[Tensor]) -> None:
        # what a parameter holds is exchanged and not copied: on a GPU that is no work at all
        for key, pair in factors.items():
            for parameter, value in zip(self._parameters[key], pair, strict=True):
                parameter.data = value
        for parameter, value in zip(self._head_parameters(), head, strict=True):
            parameter.data = value
