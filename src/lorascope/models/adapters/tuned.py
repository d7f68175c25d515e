"""A model whose own weights were changed (full fine-tuning, BitFit, what remains beside a recovered LoRA), offering
what a `PeftModel` offers to the analyses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from peft import PeftModel
from torch import Tensor, nn


class TunedModel(nn.Module):
    """`inner` with the tuned values of some of its parameters in place; `disable_adapter` puts the
    original ones back for a while.

    `inner` is a `SpeechClassifier`, or a `PeftModel` around one, whose adapter is then switched together with the
    weights. `changed` pairs parameters of `inner` with their tuned values. Values are exchanged, never copied: the
    model is held once, and the changed parameters twice.
    """

    def __init__(self, inner: Any, changed: Sequence[tuple[nn.Parameter, Tensor]]) -> None:
        super().__init__()
        self.inner = inner
        self._parameters_changed = [parameter for parameter, _ in changed]
        self._others = [tensor.detach().clone().to(parameter) for parameter, tensor in changed]
        self._exchange()

    def get_base_model(self) -> Any:
        """The classifier within."""
        return self.inner.get_base_model() if isinstance(self.inner, PeftModel) else self.inner

    @property
    def active_adapter(self) -> Any:
        """The name of the adapter within, where there is one."""
        return self.inner.active_adapter if isinstance(self.inner, PeftModel) else "default"

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """Run with the original weights and head; what is written to them meanwhile stays with them."""
        self._exchange()
        try:
            with self.inner.disable_adapter() if isinstance(self.inner, PeftModel) else nullcontext():
                yield
        finally:
            self._exchange()

    def changes(self, parameter: nn.Parameter) -> bool:
        """Whether this parameter of the model within has a tuned value."""
        return any(parameter is each for each in self._parameters_changed)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """What the model within gives."""
        return self.inner(*inputs, **named)

    def _exchange(self) -> None:
        for index, parameter in enumerate(self._parameters_changed):
            parameter.data, self._others[index] = self._others[index], parameter.data

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # the values that are not in use are no parameters, but go where the model goes
        self._others = [fn(tensor) for tensor in self._others]
        return super()._apply(fn, recurse)
