"""The adapter on its backbone: which of its tensors fit, and the model that comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LorascopeError
from ..models.adapters.conversion import is_converted, plain
from ..models.adapters.folder import HEAD, attach
from ..models.adapters.opening import Source, open_adapted
from ..models.adapters.tuned import TunedModel
from ..models.families.known import family_of, parts_of
from ..models.parts import EncoderParts
from ..models.weights.backbone import UNUSED, Backbone, load_backbone
from .finding import Unavailable, once
from .movement import movements
from .names import (
    Names,
    expected_tensors,
    is_factor,
    layer_of,
    match,
    refuse_other_family,
)
from .reading import Reading, first_line, is_of_head


@dataclass
class Placed(Reading):
    """A folder with its backbone, opened once."""

    @once
    def backbone(self) -> Backbone:
        """The backbone with a head of the adapter's size; it is what the user named, else what the folder names."""
        _ = self.whole_files
        name = self.backbone_name or self.recorded
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
    def recorded(self) -> str | None:
        """The backbone that the folder names."""
        if self.patient.record is not None:
            return self.patient.record.backbone
        return self.patient.config.get("base_model_name_or_path") if self.patient.kind == "peft" else None

    @property
    def has_off(self) -> bool:
        """Whether there is a backbone to switch back to."""
        return bool(self.backbone_name or self.recorded)

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

    @once
    def names(self) -> Names:
        """The adapter's names against those that PEFT would look for on this backbone."""
        model = self.backbone.model
        if self.foreign:
            return match(self.raw, {}, model, True)
        try:
            expected = expected_tensors(model, self.config)
        except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
            raise Unavailable(
                f"PEFT cannot put such an adapter on {self.backbone.name} ({first_line(error)})"
            ) from error
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
            raise Unavailable(f"it cannot be put on the backbone ({first_line(error)})") from error

    def _tuned(self) -> Any:
        checkpoint = self.checkpoint
        if not self.has_off:
            return TunedModel(checkpoint.model, []).eval()
        _ = self.weights
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
                changed.append((parameter, other))
        tuned = TunedModel(model, changed).eval()
        for parameter, other in changed:
            # the same numbers once, not twice, in memory
            other.data = parameter.data
        return tuned

    @property
    def converted(self) -> bool:
        """Whether the adapter is examined as the plain LoRA that it amounts to (PiSSA, AdaLoRA)."""
        return self.patient.kind == "peft" and is_converted(self.config)

    @property
    def scalable(self) -> bool:
        """Whether the update is one that can be scaled: a product of factors."""
        return self.patient.kind == "peft" and bool(self.parts.adapted())

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
        # a whole checkpoint has its own head or none
        if self.patient.kind == "peft" and self.backbone.has_head:
            has |= set(HEAD)
        if has != set(HEAD):
            raise Unavailable("no trained head, so there are no answers")
        return True

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
