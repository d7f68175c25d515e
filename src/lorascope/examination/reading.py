"""What a folder holds, without any backbone; a property that cannot be had raises `Unavailable` with the reason."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import PeftConfig
from torch import Tensor
from transformers import AutoConfig

from ..errors import LorascopeError
from ..models.adapters.folder import HEAD, head_tensors
from ..models.families.known import FAMILIES
from ..models.weights.backbone import UNUSED, Backbone, load_backbone
from ..models.weights.checkpoints import LOAD_ERRORS
from .finding import Inapplicable, Unavailable, once
from .labelled import Clips
from .names import (
    OTHER_TASKS,
    as_loaded,
    is_factor,
    reasons,
    tidy,
    without_wrappers,
)
from .patient import Patient


@dataclass
class Reading:
    """The folder under examination. `backbone_name` is what the user gave, `labels` the class names in the order of the
    logits where the user gave them, `given` labelled clips.
    """

    patient: Patient
    backbone_name: str | None = None
    given: Clips | None = None
    labels: tuple[str, ...] = ()
    remarks: list[str] = field(default_factory=list)

    @once
    def whole_files(self) -> bool:
        """That files can be read at all."""
        if self.patient.kind == "head":
            raise Inapplicable("a head on a frozen encoder alone, no adapter")
        if self.patient.damages:
            raise Unavailable("the files are not whole (not_whole)")
        return True

    @once
    def is_peft(self) -> bool:
        """That this is an adapter, and no whole checkpoint."""
        if self.whole_files and self.patient.kind != "peft":
            raise Inapplicable("a whole checkpoint, no adapter")
        return True

    @once
    def is_whole(self) -> bool:
        """That this is a whole checkpoint."""
        if self.whole_files and self.patient.kind != "whole":
            raise Inapplicable("an adapter, no whole checkpoint")
        return True

    @once
    def raw(self) -> dict[str, Tensor]:
        """A PEFT folder's tensors under the file's own names."""
        return dict(self.patient.tensors()) if self.is_peft else {}

    @once
    def config(self) -> Any:
        """PEFT's configuration, as PEFT reads it."""
        if not self.is_peft:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return PeftConfig.from_pretrained(str(self.patient.folder))
        except Exception as error:  # PEFT has many
            raise Unavailable(f"PEFT cannot read adapter_config.json ({first_line(error)})") from error

    @once
    def tidied(self) -> dict[str, Tensor]:
        """The adapter's own tensors under the names that PEFT would have given them, as far as that is known without
        the backbone; in float32.
        """
        found = {}
        for name, tensor in self.raw.items():
            own = tidy(name, tensor)
            if own is not None:
                found[own] = tensor.float()
        return found

    @once
    def own_head(self) -> dict[str, Tensor]:
        """Trained projector and classifier in the folder itself, by name; perhaps one of them, or none."""
        if self.patient.kind == "peft":
            return head_tensors(self.tidied)
        if self.patient.kind == "whole":
            return {
                name: tensor.float()
                for name, tensor in ((tail_of(name), tensor) for name, tensor in self.patient.tensors())
                if name.split(".")[0] in HEAD and name.count(".") == 1
            }
        return {}

    @once
    def foreign(self) -> bool:
        """Whether the adapter was made on a model of another task, which has no head for classes."""
        _ = self.whole_files
        if self.patient.kind == "whole":
            names = self.patient.config.get("architectures") or [""]
            return not str(names[0]).endswith("Classification") and not self.own_head
        made = (self.patient.config.get("auto_mapping") or {}).get("base_model_class")
        if made:
            return not str(made).endswith(("Classification", "Classifier")) and not self.own_head
        if self.patient.config.get("task_type") not in (None, "SEQ_CLS"):
            return not self.own_head
        other = ("lm_head", "proj_out", "decoder", "encoder_attn")
        return not self.own_head and any(set(name.split(".")) & set(other) for name in self.raw)

    @once
    def finite(self) -> bool:
        """That all of the adapter's numbers are numbers."""
        _ = self.whole_files
        if any(not bool(torch.isfinite(tensor.float()).all()) for _, tensor in self.patient.tensors()):
            raise Unavailable("it holds numbers that are none (not_finite)")
        return True

    @once
    def checkpoint(self) -> Backbone:
        """A whole checkpoint, loaded."""
        _ = self.is_whole
        try:
            return load_backbone(str(self.patient.folder))
        except LorascopeError as error:
            raise Unavailable(f"it cannot be loaded ({error})") from error

    @once
    def whole_names(self) -> tuple[dict[str, str], list[str], int]:
        """Of a whole checkpoint: names that would fit as others, names that nothing takes, and how many there are."""
        expected = self.expected_whole
        renamed, strays = {}, []
        for name in self.patient.shapes:
            if as_loaded(name, expected) is not None:
                continue
            own = as_loaded(without_wrappers(name), expected)
            if own is not None:
                renamed[name] = own
            elif not set(name.split(".")) & OTHER_TASKS:
                strays.append(name)
        return renamed, strays, len(self.patient.shapes)

    @once
    def whole_missing(self) -> list[str]:
        """Encoder weights that a whole checkpoint lacks, under any name."""
        expected = self.expected_whole
        there = {as_loaded(without_wrappers(name), expected) for name in self.patient.shapes}
        return [name for name in expected if name not in there and not is_of_head(name) and not name.endswith(UNUSED)]

    @once
    def expected_whole(self) -> frozenset[str]:
        """Names of a whole checkpoint's weights, by its configuration."""
        _ = self.is_whole
        try:
            config = AutoConfig.from_pretrained(str(self.patient.folder))
            family = FAMILIES[config.model_type]
            with torch.device("meta"):
                made: Any = family.classifier
                return frozenset(made(config).state_dict())
        except (*LOAD_ERRORS, AttributeError) as error:
            raise Unavailable(f"its config.json makes no model that can be read ({first_line(error)})") from error

    def why_renamed(self, renamed: dict[str, str]) -> str:
        """What is wrong with names that would fit as others."""
        found = Counter(reason for name, own in renamed.items() for reason in reasons(name, own))
        if self.patient.kind == "whole":
            found = Counter({word: count for word, count in found.items() if not word.startswith("base_model.")})
        return ", ".join(word for word, _ in found.most_common()) or "other modules before them"


def named_labels(config: dict[str, Any]) -> tuple[str, ...]:
    """The class names of a `config.json`, in order."""
    labels = config.get("id2label") or {}
    try:
        return tuple(str(labels[key]) for key in sorted(labels, key=int))
    except (TypeError, ValueError):
        return ()


def is_of_head(name: str) -> bool:
    """Whether a tensor's name is of projector or classifier, saved whole."""
    return any(f".{part}." in f".{name}" for part in HEAD) and not is_factor(name)


def tail_of(name: str) -> str:
    """The last two pieces of a name."""
    return ".".join(name.split(".")[-2:])


def first_line(error: Exception) -> str:
    """The first line of an error."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(":.") if lines else type(error).__name__
