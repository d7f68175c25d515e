"""Ways of adapting an encoder, as an experiment names them: one small class of settings for each kind.

This module knows the settings and their words and nothing of what is done with them; torch is not imported here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeGuard, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from .optimiser import EncoderConfig, MethodConfig
from .optimiser import OptimiserConfig as OptimiserConfig
from .recipe import PAPER, Recipe
from .search import LINEARS as LINEARS
from .search import Linear, Search, in_order, rungs, words_of
from .section import Count as Count
from .section import Positive
from .section import Section as Section

#: AdaLoRA starts with so many times its final rank (Zhang et al. 2023, section 4).
ADALORA_START = 1.5


#: Heads of a frozen encoder that are no sequence of gradient steps: standardised logistic regressions.
SHALLOW_HEADS = ("logistic", "best_layer", "concatenated")
#: Feature sets of the classic baseline, in words.
SETS = {"egemaps": "eGeMAPS", "compare": "ComParE"}


def _as_tuple(values: Any) -> Any:
    return tuple(values) if isinstance(values, (list, tuple)) else (values,)


#: One or several candidates.
Several = Annotated[tuple[Positive, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class FrozenConfig(OptimiserConfig):
    """The baseline: encoder frozen, head trained. `head` says what head, on what of the encoder.

    `last`: the paper's, on the last layer. `layer_sum`: SUPERB's, on a learned weighting of all depths. Both are
    trained by AdamW. Standardised logistic regressions: `logistic` on the last layer, `best_layer` on the depth that is
    best on the validation speaker, `concatenated` on all depths side by side; of several `C` (inverse strength of their
    L2 penalty) too the best there is taken.
    """

    kind: Literal["frozen"] = "frozen"
    head: Literal["last", "layer_sum", "logistic", "best_layer", "concatenated"] = "last"
    C: Several = (0.01, 0.1, 1.0)

    @model_validator(mode="after")
    def _nothing_idle(self) -> FrozenConfig:
        steps = ("learning_rate", "epochs", "weight_decay", "max_grad_norm")
        for name in steps if self.head in SHALLOW_HEADS else ("C",):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"the head {self.head} has no {name}; take it out")
        return self

    @property
    def plain_words(self) -> str:
        """The method in words."""
        return "frozen" if self.head == "last" else f"frozen, {self.head.replace('_', ' ')}"


class ClassicConfig(MethodConfig):
    """No encoder at all: a support vector machine on openSMILE's functionals, standardised. Of several `C` the one
    that is best on the validation speaker is taken.
    """

    kind: Literal["classic"] = "classic"
    features: Literal["egemaps", "compare"] = "egemaps"
    kernel: Literal["linear", "rbf"] = "linear"
    C: Several = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)

    @property
    def plain_words(self) -> str:
        """The method in words."""
        return f"{SETS[self.features]}, {self.kernel} SVM"


class _OnLinears(EncoderConfig):
    """What changes linear layers of the blocks, and trains the head with them: `targets` in every block, or in
    those of `layers` (from 0).
    """

    title: ClassVar[str]
    targets: tuple[Linear, ...] = ("v_proj",)
    layers: tuple[Annotated[int, Field(ge=0, strict=True)], ...] | None = None

    @field_validator("targets")
    @classmethod
    def _in_order(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        return in_order(targets)

    @field_validator("layers")
    @classmethod
    def _once(cls, layers: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if layers == ():
            raise ValueError("name at least one layer, or take the key out for all of them")
        return None if layers is None else tuple(sorted(set(layers)))

    @property
    def plain_words(self) -> str:
        """The method in words."""
        where = "" if self.layers is None else f" layers {', '.join(map(str, self.layers))}"
        return f"{self.title} {self._size}{words_of(self.targets)}{where}"

    @property
    def _size(self) -> str:
        return ""


class _LowRank(_OnLinears):
    """What all kinds with factors A and B share; the update of a layer is `scale · B A`. Defaults: the paper's
    released hyper-parameters. With `search` every fold takes the best of several targets, ranks and learning rates, by
    successive halving.
    """

    rank: Count = 32
    alpha: Positive = 64
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1

    search: Search | None = None

    @model_validator(mode="after")
    def _affordable(self) -> _LowRank:
        if self.search is not None:
            rungs(len(candidates_of(self)), self.epochs)
        return self

    def settings(self) -> dict[str, Any]:
        """What decides a result, as plain data. Without a search there is no word of it: the key came later."""
        theirs = super().settings()
        return {name: theirs[name] for name in theirs if name != "search" or self.search is not None}

    @property
    def plain_words(self) -> str:
        """The method in words."""
        return super().plain_words if self.search is None else f"{self.title} searched"

    @property
    def _size(self) -> str:
        return f"r={self.rank} "

    def at_rank(self, rank: int) -> _LowRank:
        """The same method at another rank and the same scale, so that the scale is not another
        difference between ranks.
        """
        return self.model_copy(update={"rank": rank, "alpha": self.alpha * rank / self.rank})


class LoraConfig(_LowRank):
    """LoRA (Hu et al. 2021): scale `alpha / rank`."""

    title = "LoRA"
    kind: Literal["lora"] = "lora"


class RsLoraConfig(_LowRank):
    """rsLoRA (Kalajdzievski 2023): scale `alpha / sqrt(rank)`."""

    title = "rsLoRA"
    kind: Literal["rslora"] = "rslora"

    def at_rank(self, rank: int) -> _LowRank:
        """The same method at another rank and the same scale."""
        return self.model_copy(update={"rank": rank, "alpha": self.alpha * math.sqrt(rank / self.rank)})


class PissaConfig(_LowRank):
    """PiSSA (Meng et al. 2024): LoRA that starts from the weight's leading singular directions."""

    title = "PiSSA"
    kind: Literal["pissa"] = "pissa"


class AdaLoraConfig(_LowRank):
    """AdaLoRA (Zhang et al. 2023): starts with 1.5 times `rank` and ends with `rank` directions a layer on average.

    `orthogonality` weighs the regulariser that keeps directions apart.
    """

    title = "AdaLoRA"
    kind: Literal["adalora"] = "adalora"
    orthogonality: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5

    @field_validator("search")
    @classmethod
    def _late(cls, search: Search | None) -> Search | None:
        if search is not None:
            raise ValueError("AdaLoRA has its rank in the second half of a training alone; compare methods instead")
        return search

    @field_validator("average")
    @classmethod
    def _one_rank(cls, average: int) -> int:
        if average > 1:
            raise ValueError("AdaLoRA's directions are dropped one by one, and have no mean; take it out")
        return average

    @property
    def initial_rank(self) -> int:
        """Rank of every layer at the start."""
        return math.ceil(ADALORA_START * self.rank)


class DoraConfig(_LowRank):
    """DoRA (Liu et al. 2024): LoRA on the direction of each weight, and its length trained beside it."""

    title = "DoRA"
    kind: Literal["dora"] = "dora"


class Ia3Config(_OnLinears):
    """IA3 (Liu et al. 2022): one factor for each output of the attention projections and each input of fc2."""

    title = "IA3"
    kind: Literal["ia3"] = "ia3"
    targets: tuple[Linear, ...] = ("k_proj", "v_proj", "fc2")
    # a factor moves slowly at LoRA's rates; the paper's own
    learning_rate: tuple[Positive, ...] = (3e-3,)


class _WholeConfig(EncoderConfig):
    """What trains the encoder's own parameters, and is saved as a stock checkpoint."""

    @field_validator("head")
    @classmethod
    def _of_stock(cls, head: str) -> str:
        if head == "concatenated":
            raise ValueError("a stock checkpoint has no head on all depths side by side; use layer_sum, or an adapter")
        return head


class FullConfig(_WholeConfig):
    """Full fine-tuning: all of the encoder but its feature encoder and fixed positions."""

    kind: Literal["full"] = "full"

    @property
    def plain_words(self) -> str:
        """The method in words."""
        return "full fine-tuning"


class BitFitConfig(_WholeConfig):
    """BitFit (Ben Zaken et al. 2021): the encoder's biases alone."""

    kind: Literal["bitfit"] = "bitfit"
    # within the paper's range for biases
    learning_rate: tuple[Positive, ...] = (4e-4,)

    @property
    def plain_words(self) -> str:
        """The method in words."""
        return "BitFit"


Method = (
    FrozenConfig
    | ClassicConfig
    | LoraConfig
    | RsLoraConfig
    | PissaConfig
    | AdaLoraConfig
    | DoraConfig
    | Ia3Config
    | FullConfig
    | BitFitConfig
)
#: Settings by kind.
KINDS: dict[str, Any] = {method.model_fields["kind"].default: method for method in get_args(Method)}
#: Kinds whose update is a product of two factors on the frozen weight, so that every analysis applies.
LORA_KINDS = ("lora", "rslora", "pissa", "adalora")
#: Kinds that leave the encoder as it is.
UNADAPTED = ("frozen", "classic")
#: Methods that train the encoder's own parameters.
WHOLE = ("full", "bitfit")

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
Methods = dict[Name, Annotated[Method, Field(discriminator="kind")] | None]


def with_defaults(methods: Any) -> Any:
    """What a file gives under `methods`, with the two default methods, and each method's kind, which is its
    name where it gives none.
    """
    if not isinstance(methods, Mapping):
        return methods
    whole = {"frozen": {}, "lora": {}, **methods}
    return {
        name: {"kind": name, **settings} if isinstance(settings, Mapping) else settings
        for name, settings in whole.items()
    }


def is_shallow(method: Method) -> TypeGuard[FrozenConfig | ClassicConfig]:
    """Whether a method is fitted at once on fixed inputs, not trained step by step."""
    return isinstance(method, ClassicConfig) or (isinstance(method, FrozenConfig) and method.head in SHALLOW_HEADS)


def candidates_of(method: _LowRank) -> list[_LowRank]:
    """What a method with a `search` searches over, each with one learning rate and none: all ranks at its own scale, in
    all targets, at all rates.
    """
    search = method.search or Search()
    plain = method.model_copy(update={"search": None})
    return [
        plain.at_rank(rank).model_copy(update={"targets": targets, "learning_rate": (rate,)})
        for targets in search.targets or (method.targets,)
        for rank in search.rank or (method.rank,)
        for rate in method.learning_rate
    ]


def recipe_of(method: Method | OptimiserConfig) -> Recipe:
    """How an encoder is trained by a method; the paper's for one that leaves the encoder alone."""
    return method if isinstance(method, Recipe) else PAPER


def analysed_method(methods: Mapping[str, Method]) -> str | None:
    """Name of the method that is analysed unless the experiment says otherwise: the first LoRA, else the first
    that changes the encoder; a control only where there is nothing else.
    """
    changing = {name: method for name, method in methods.items() if method.kind not in UNADAPTED}
    by_rank = sorted(
        changing, key=lambda name: (changing[name].control is not None, methods[name].kind not in LORA_KINDS)
    )
    return next(iter(by_rank), None)


def controls_of(name: str, methods: Mapping[str, Method]) -> list[str]:
    """Names of the methods that are this one but for their control."""
    plain = methods[name].model_copy(update={"control": None})
    return [
        other
        for other, method in methods.items()
        if other != name and method.control and method.model_copy(update={"control": None}) == plain
    ]


def same_words(methods: Mapping[str, Method]) -> frozenset[str]:
    """Names of the methods that share their words with another one, so that a label must give the name too."""
    counts = Counter(method.words for method in methods.values())
    return frozenset(name for name, method in methods.items() if counts[method.words] > 1)
