"""All that checks ask for, opened once: the folder, the backbone, the adapter on it, its passes, its labelled clips.

Each property raises `Unavailable`, with the reason, where it cannot be had.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from peft import PeftConfig
from torch import Tensor, nn
from transformers import AutoConfig

from ..errors import LorascopeError
from ..models.adapters.conversion import is_converted, plain
from ..models.adapters.folder import HEAD, attach, head_tensors
from ..models.adapters.opening import Source, open_adapted
from ..models.adapters.tuned import TunedModel
from ..models.families.known import FAMILIES, family_of, parts_of
from ..models.parts import EncoderParts
from ..models.weights.backbone import UNUSED, Backbone, load_backbone
from ..models.weights.checkpoints import LOAD_ERRORS
from .finding import Inapplicable, Unavailable, once
from .labelled import Clips, Labelled
from .merging import Merged, merged
from .movement import movements
from .names import (
    OTHER_TASKS,
    Names,
    as_loaded,
    expected_tensors,
    is_factor,
    layer_of,
    match,
    reasons,
    refuse_other_family,
    tidy,
    without_wrappers,
)
from .passes import Heard, batch_of, hear
from .patient import Patient
from .signals import own_signals

#: How many times its own length a signal is padded to.
PADDED = 3


@dataclass
class Examined:
    """One adapter under examination. `backbone_name` is what the user gave, `labels` the class names in the order of
    the logits where the user gave them, `given` labelled clips.
    """

    patient: Patient
    backbone_name: str | None = None
    given: Clips | None = None
    labels: tuple[str, ...] = ()
    remarks: list[str] = field(default_factory=list)

    # The folder ----------------------------------------------------------------------------------------------------

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
            raise Unavailable(f"PEFT cannot read adapter_config.json ({_first(error)})") from error

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

    # The backbone --------------------------------------------------------------------------------------------------

    @once
    def backbone(self) -> Backbone:
        """The backbone with a head of the adapter's size; it is what the user named, else what the folder names."""
        _ = self.whole_files
        name = self.backbone_name or self._recorded
        if name is None:
            raise Unavailable("no backbone is given or recorded; name it with --backbone")
        try:
            found = load_backbone(name)
        except LorascopeError as error:
            if self.backbone_name:
                raise
            raise Unavailable(f"its recorded backbone cannot be had ({error}); name it with --backbone") from error
        self._fit_head(found)
        if self.patient.kind == "peft":
            refused = [own for own in self.tidied if is_factor(own)]
            own = {name for name, _ in found.model.named_modules()}
            if refused and not any(
                name.split(".layers.")[0].removeprefix("base_model.model.") in own for name in refused
            ):
                refuse_other_family(self.patient.folder, refused, family_of(found.model).title, found.name)
        return found

    @property
    def _recorded(self) -> str | None:
        if self.patient.record is not None:
            return self.patient.record.backbone
        return self.patient.config.get("base_model_name_or_path") if self.patient.kind == "peft" else None

    def _fit_head(self, backbone: Backbone) -> None:
        """Give the backbone a head of the adapter's size, which the adapter's own then replaces."""
        model: Any = backbone.model
        head = self.own_head
        first, last = head.get("projector.weight"), head.get("classifier.weight")
        if first is None and last is None:
            return
        inner = first.shape[0] if first is not None else last.shape[1]  # pyright: ignore[reportOptionalMemberAccess]
        classes = last.shape[0] if last is not None else model.classifier.out_features
        before = (model.projector.out_features, model.classifier.out_features)
        if before != (inner, classes):
            if before[0] != inner:
                model.projector = nn.Linear(model.projector.in_features, inner)
            model.classifier = nn.Linear(inner, classes)
            model.config.classifier_proj_size = inner
            model.config.num_labels = classes

    @once
    def weights(self) -> dict[str, Tensor]:
        """The backbone's weights by name, before anything is put onto it."""
        if "model" in self.__dict__:
            raise AssertionError("weights are asked for before the adapter is put on")
        return {name: tensor.detach() for name, tensor in self.backbone.model.state_dict().items()}

    @once
    def head_of_backbone(self) -> dict[str, Tensor]:
        """A trained head that the backbone brings, cloned; empty where it has none."""
        if not self.backbone.has_head:
            return {}
        return {name: tensor.clone() for name, tensor in self.weights.items() if name.split(".")[0] in HEAD}

    # The adapter ---------------------------------------------------------------------------------------------------

    @once
    def own_head(self) -> dict[str, Tensor]:
        """Trained projector and classifier in the folder itself, by name; perhaps one of them, or none."""
        if self.patient.kind == "peft":
            return head_tensors(self.tidied)
        if self.patient.kind == "whole":
            return {
                name: tensor.float()
                for name, tensor in ((_tail(name), tensor) for name, tensor in self.patient.tensors())
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
    def names(self) -> Names:
        """The adapter's names against those that PEFT would look for on this backbone."""
        model = self.backbone.model
        if self.foreign:
            return match(self.raw, {}, model, True)
        try:
            expected = expected_tensors(model, self.config)
        except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
            raise Unavailable(f"PEFT cannot put such an adapter on {self.backbone.name} ({_first(error)})") from error
        return match(self.raw, expected, model, False)

    @once
    def fitting(self) -> dict[str, Tensor]:
        """The adapter's tensors under the names that PEFT looks for, renamed where they had others, in float32."""
        return {own: self.raw[name].float() for own, name in self.names.fits.items()}

    @once
    def wrong_shapes(self) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
        """Found and expected shape of every tensor where they differ; AdaLoRA's ranks may be smaller than at first."""
        pruned = str(self.patient.config.get("peft_type")) == "ADALORA"
        wrong = {}
        for name, expected in self.names.expected.items():
            if name not in self.fitting or is_of_head(name):
                continue
            found = tuple(self.fitting[name].shape)
            if found == expected:
                continue
            side = 1 if ".lora_B" in name else 0
            if pruned and len(found) == len(expected) and found[1 - side :][:1] == expected[1 - side :][:1]:
                continue
            wrong[name] = (found, expected)
        return wrong

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
            raise Unavailable(f"its config.json makes no model that can be read ({_first(error)})") from error

    def why_renamed(self, renamed: dict[str, str]) -> str:
        """What is wrong with names that would fit as others."""
        found = Counter(reason for name, own in renamed.items() for reason in reasons(name, own))
        if self.patient.kind == "whole":
            found = Counter({word: count for word, count in found.items() if not word.startswith("base_model.")})
        return ", ".join(word for word, _ in found.most_common()) or "other modules before them"

    @once
    def model(self) -> Any:
        """The adapter on its backbone, in eval mode."""
        _ = self.finite
        return self._adapter() if self.patient.kind == "peft" else self._tuned()

    def _adapter(self) -> Any:
        names, backbone = self.names, self.backbone
        _ = self.weights, self.head_of_backbone
        if self.wrong_shapes:
            raise Unavailable("its factors don't fit the backbone (shape)")
        if not names.fits:
            raise Unavailable("none of its tensors fits the backbone (keys_unknown)")
        try:
            if names.foreign:
                tensors = dict(self.tidied)
                source = Source(self.patient.folder, self.patient.record, {}, self.config, tensors)
                return open_adapted(backbone, source).model
            config, tensors = self.config, dict(self.fitting)
            for name in names.missing:
                held = self.weights.get(name.removeprefix("base_model.model."))
                if held is not None:
                    tensors[name] = held.clone()
            if is_converted(config):
                converted = plain(config, tensors, self.weights)
                assert converted is not None
                config, tensors = converted
            return attach(backbone.model, config, tensors)
        except (LorascopeError, RuntimeError, ValueError, KeyError) as error:
            raise Unavailable(f"it cannot be put on the backbone ({_first(error)})") from error

    def _tuned(self) -> Any:
        checkpoint = self.checkpoint
        if not self.has_off:
            return TunedModel(checkpoint.model, []).eval()
        model: Any = self.backbone.model
        after = dict(checkpoint.model.named_parameters())
        changed = []
        for name, parameter in model.named_parameters():
            if name.endswith(UNUSED):
                continue
            other = after.get(name)
            if other is None or other.shape != parameter.shape:
                raise Unavailable(f"a checkpoint of another architecture than {self.backbone.name} ({name} differs)")
            if not torch.equal(other, parameter):
                changed.append((parameter, other.detach()))
        return TunedModel(model, changed).eval()

    @once
    def movements(self) -> dict[str, float]:
        """How far training moved each adapted module (`movements`); of a whole checkpoint, each layer."""
        _ = self.whole_files
        if self.patient.kind == "peft":
            try:
                found, weights = self.fitting, self.weights
            except Unavailable:
                found, weights = self.tidied, {}
            return movements(self.patient.config, found, weights)
        _ = self.off
        moved: dict[str, float] = {}
        after = self.checkpoint.model.state_dict()
        for name, before in self.weights.items():
            layer = layer_of(name)
            if layer is not None and name in after and after[name].shape == before.shape:
                place = f"{name.split('.layers.')[0]}.layers.{layer}"
                moved[place] = max(moved.get(place, 0.0), float((after[name] - before).abs().max()))
        return moved

    @once
    def change(self) -> dict[str, float]:
        """‖ΔW‖ / ‖W‖ (Frobenius) of every adapted matrix."""
        if self.patient.kind == "peft":
            return {name: moved / max(self.merged.weight[name], 1e-12) for name, moved in self.merged.moved.items()}
        after = self.checkpoint.model.state_dict()
        return {
            name: float((after[name] - before).norm() / before.norm().clamp_min(1e-12))
            for name, before in self.weights.items()
            if layer_of(name) is not None and before.dim() == 2 and name in after
        }

    @property
    def converted(self) -> bool:
        """Whether the adapter is examined as the plain LoRA that it amounts to (PiSSA, AdaLoRA)."""
        return self.patient.kind == "peft" and is_converted(self.config)

    @property
    def scalable(self) -> bool:
        """Whether the update is one that can be scaled: a product of factors."""
        return self.patient.kind == "peft" and bool(self.parts.adapted())

    @property
    def has_names(self) -> bool:
        """Whether the classes have names."""
        try:
            return bool(self.class_names)
        except Unavailable:
            return False

    @property
    def has_off(self) -> bool:
        """Whether there is a backbone to switch back to."""
        return bool(self.backbone_name or self._recorded)

    @once
    def parts(self) -> EncoderParts:
        """The encoder's parts with the adapter on it."""
        return parts_of(self.model)

    @once
    def off(self) -> bool:
        """That the adapter can be switched off."""
        if self.patient.kind == "whole" and not self.has_off:
            raise Unavailable("no backbone to compare it with; name it with --backbone")
        return True

    @once
    def answers(self) -> bool:
        """That there is a trained head, so that answers mean something."""
        _ = self.model
        has = {name.split(".")[0] for name in self.own_head}
        if self.off and self.has_off and self.backbone.has_head:
            has |= set(HEAD)
        if has != set(HEAD):
            raise Unavailable("no trained head, so there are no answers")
        return True

    # What is heard -------------------------------------------------------------------------------------------------

    @once
    def settings(self) -> Any:
        """What the encoder takes of a clip."""
        return self.checkpoint.features if self.patient.kind == "whole" else self.backbone.features

    @once
    def signals(self) -> dict[str, Any]:
        """Features of the doctor's own signals by name, all of one length."""
        return {name: self.settings.extract(samples) for name, samples in own_signals().items()}

    def _heard(self, stretch: int, on: bool) -> Heard:
        return hear(self.parts, batch_of(list(self.signals.values()), stretch), on)

    @once
    def heard(self) -> Heard:
        """The own signals with the adapter on, at their own length."""
        return self._heard(1, True)

    @once
    def heard_off(self) -> Heard:
        """The same with the adapter off, and the adapter's head."""
        _ = self.off
        return self._heard(1, False)

    @once
    def rounding(self) -> float:
        """Largest difference of the pooled stream that computing the same in another order makes."""
        batch = batch_of(list(self.signals.values()))
        again = hear(self.parts, batch.flip(0)[:-1].contiguous(), False).pooled[::-1]
        there = self.heard_off.pooled[1:]
        return max(float(np.abs(again - there).max()), float(np.abs(there).max()) * float(np.finfo(np.float32).eps))

    @once
    def heard_padded(self) -> tuple[Heard, Heard]:
        """The own signals padded to three times their length, with the adapter on and off."""
        _ = self.off
        return self._heard(PADDED, True), self._heard(PADDED, False)

    @once
    def merged(self) -> Merged:
        """The adapter merged into the weights, in float32 and in the dtype that it is stored in, and what is heard."""
        _ = self.is_peft
        kinds = {tensor.dtype for name, tensor in self.raw.items() if is_factor(name)}
        batch = batch_of(list(self.signals.values()))
        try:
            return merged(self.parts, batch, next((each for each in kinds if each != torch.float32), None))
        except (NotImplementedError, ValueError, RuntimeError) as error:
            raise Unavailable(f"PEFT cannot merge it ({_first(error)})") from error

    # Labels --------------------------------------------------------------------------------------------------------

    @once
    def class_names(self) -> tuple[str, ...]:
        """The names of the answers in the order of the logits, as the folder or backbone gives them."""
        if self.labels:
            return self.labels
        if self.patient.record is not None:
            return self.patient.record.classes
        if self.patient.kind == "whole":
            return named_labels(self.patient.config)
        return self.backbone.labels

    @once
    def labelled(self) -> Labelled:
        """Answers to labelled clips."""
        if self.given is None:
            raise Unavailable("no labelled clips; give some with --corpus or --manifest")
        _ = self.answers
        if not self.class_names:
            raise Unavailable("no class names; give them with --labels in the order of the logits")
        record = self.patient.record
        context = record.context if record else "full" if self.parts.classifier.has_window else "trim"
        return Labelled.of(self, self.given, context)

    def close(self) -> None:
        """Let go of the models."""
        for name in ("model", "parts", "backbone", "checkpoint", "weights", "raw", "fitting", "tidied"):
            self.__dict__.pop(name, None)


def named_labels(config: dict[str, Any]) -> tuple[str, ...]:
    """The class names of a `config.json`, in order."""
    labels = config.get("id2label") or {}
    try:
        return tuple(str(labels[key]) for key in sorted(labels, key=int))
    except (TypeError, ValueError):
        return ()


def spread(logits: np.ndarray) -> float:
    """Standard deviation of logits [clips, classes] over clips, without what all classes share; mean over classes."""
    centred = logits - logits.mean(axis=1, keepdims=True)
    return float(np.sqrt(centred.var(axis=0).mean()))


def in_words(items: Sequence[Any], most: int = 4) -> str:
    """A few of a list, in words."""
    return ", ".join(map(str, items[:most])) + (f" and {len(items) - most} more" if len(items) > most else "")


def is_of_head(name: str) -> bool:
    """Whether a tensor's name is of projector or classifier, saved whole."""
    return any(f".{part}." in f".{name}" for part in HEAD) and not is_factor(name)


def _tail(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(":.") if lines else type(error).__name__
