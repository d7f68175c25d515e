"""What the model loses when a block is skipped (METHODS section 7; in the released code, not in the paper's text)."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ...models.interventions import Intervention
from ..answers import Answers
from ..measure import Part, Replay, Study

METRICS = ("accuracy", "uar", "loss", "confidence")
#: The setting in which nothing is skipped.
INTACT = ("none", -1)
WITH_INTERVAL = ("accuracy", "uar", "delta_accuracy", "delta_uar", "delta_loss")

COLUMNS = ["model", "layer", "mode", *METRICS, *(f"delta_{name}" for name in METRICS)]
COLUMNS += [f"{name}_{end}" for name in WITH_INTERVAL for end in ("low", "high")] + ["interval_of", "clips"]


class Erasure:
    """Accuracy, UAR, loss and confidence with blocks skipped (a skipped block's output is its input).

    Modes: `single` skips block l alone, `progressive` blocks 0 to l; `none`, layer -1, is the intact model. It is done
    to the trained model and to the frozen one where that has a head of its own.

    `compute` gives `erasure`: model, layer, mode, accuracy, uar, loss (cross-entropy, nats), confidence (mean of the
    largest probability, as in the released code), their changes against the intact model (delta_*, negative accuracy is
    a loss), and 95 % intervals, the changes' paired by clip, and what they speak of (`intervals.LeftOut`).

    Costs about `layers` forwards of the encoder a batch.
    """

    needs = frozenset({"head"})

    def __init__(self, study: Study) -> None:
        self._study = study
        self._answers: dict[str, Answers] = {}

    def parts(self, model: str) -> frozenset[str]:
        """The logits of the intact model."""
        return frozenset({"logits"}) if self.replays(model) else frozenset()

    def replays(self, model: str) -> frozenset[str]:
        """The own stream of the trained model, and of the frozen one with a head."""
        erased = model in ("trained", "frozen") and model not in self._study.headless
        return frozenset({"own"} if erased else ())

    def update(self, part: Part) -> None:
        """Keep the intact model's logits."""
        self._of(part.model).put(INTACT, part.tensor, part.batch)

    def replay(self, replay: Replay) -> None:
        """Run the model with each block skipped, and with all blocks up to it."""
        answers = self._of(replay.model)
        for layer in range(self._study.layers):
            single = replay.answer(Intervention(skipped=frozenset({layer})))
            up_to = replay.answer(Intervention(skipped=frozenset(range(layer + 1)))) if layer else single
            for mode, logits in (("single", single), ("progressive", up_to)):
                answers.put((mode, layer), logits, replay.batch)

    def compute(self) -> dict[str, pd.DataFrame]:
        """The table `erasure`."""
        return {"erasure": pd.DataFrame(self._rows(), columns=COLUMNS)}

    def _of(self, model: str) -> Answers:
        return self._answers.setdefault(model, Answers(self._study, f"model {model}, erasure"))

    def _rows(self) -> Iterator[dict[str, object]]:
        names = (*METRICS, *(f"delta_{name}" for name in METRICS))
        for model, answers in self._answers.items():
            for mode, layer in answers.settings:
                answer = answers.answer((mode, layer), INTACT)
                yield {"model": model, "layer": layer, "mode": mode, **answers.row(answer, names, WITH_INTERVAL)}
