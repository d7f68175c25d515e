"""Every sickness of the doctor's, planted in `small_adapters`. The tests and `doctor.py` examine them."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from peft import get_peft_model
from peft.utils.save_and_load import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from small_adapters import CLASSES, FACTORED, FAMILIES, HEAD, PEFT_KINDS, WHOLE, Made, clips, encoder, make, record

from lorascope.models.weights.backbone import load_backbone


@dataclass(frozen=True)
class Plant:
    """A way of making an adapter sick: the code that must be named, the kinds that can have it, and what is done to
    a copy of a healthy one; `labelled` where only labelled clips tell it.
    """

    name: str
    code: str
    kinds: tuple[str, ...]
    do: Callable[[Made], None]
    labelled: bool = False
    mends: bool = False
    families: tuple[str, ...] = FAMILIES
    bare: bool = True


PLANTS: list[Plant] = []


def plant(name: str, code: str, kinds: tuple[str, ...], **more: Any) -> Callable[[Callable[[Made], None]], Any]:
    def note(do: Callable[[Made], None]) -> Any:
        PLANTS.append(Plant(name, code, kinds, do, **more))
        return do

    return note


def weights_of(made: Made) -> Path:
    return made.folder / ("model.safetensors" if made.kind in WHOLE else "adapter_model.safetensors")


def edit(made: Made, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor] | None]) -> None:
    tensors = load_file(weights_of(made))
    changed = change(tensors)
    kept = tensors if changed is None else changed
    save_file({name: tensor.contiguous() for name, tensor in kept.items()}, weights_of(made), {"format": "pt"})


def configure(made: Made, **changes: Any) -> dict[str, Any]:
    file = made.folder / ("config.json" if made.kind in WHOLE else "adapter_config.json")
    settings = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in settings.items() if value is not DROP}))
    return settings


DROP = object()


def untrained(made: Made) -> dict[str, torch.Tensor]:
    """The tensors of the same adapter before its first step."""
    other = made.folder.with_name(made.folder.name + "-start")
    again = make(other, made.backbone, made.kind, made.family, **made.settings | {"steps": 0}, allocate=False)
    found = load_file(weights_of(again))
    shutil.rmtree(other)
    return found


def scaled(made: Made, factor: float) -> Callable[[dict[str, torch.Tensor]], None]:
    """Multiply the adapter's update, not its head."""
    before = untrained(made) if made.kind in ("dora", *WHOLE) else {}

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if "lora_B" in name or "lora_E" in name:
                tensor.mul_(
                    factor if "lora_B" in name and made.kind != "adalora" else factor if "lora_E" in name else 1
                )
            elif "ia3_l" in name:
                tensor.copy_(1 + factor * (tensor - 1))
            elif (
                name in before
                and name.split(".")[0] not in HEAD
                and f".{name}".find(".classifier") < 0
                and ".projector." not in name
            ):
                tensor.copy_(before[name] + factor * (tensor - before[name]))

    return change


@plant("LFS pointer", "not_whole", (*PEFT_KINDS, *WHOLE))
def _lfs(made: Made) -> None:
    weights_of(made).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1234\n")


@plant("cut", "not_whole", (*PEFT_KINDS, *WHOLE))
def _cut(made: Made) -> None:
    held = weights_of(made).read_bytes()
    weights_of(made).write_bytes(held[: len(held) * 2 // 3])


@plant("no weights", "not_whole", (*PEFT_KINDS, *WHOLE))
def _no_weights(made: Made) -> None:
    weights_of(made).unlink()


@plant("no configuration", "not_whole", PEFT_KINDS)
def _no_config(made: Made) -> None:
    (made.folder / "adapter_config.json").unlink()


@plant("empty", "not_whole", (*PEFT_KINDS, *WHOLE))
def _empty(made: Made) -> None:
    weights_of(made).write_bytes(b"")


def _rename(name: str, kinds: tuple[str, ...], change: Callable[[str], str]) -> None:
    @plant(name, "keys_unknown", kinds, mends=True)
    def rename(made: Made) -> None:
        edit(made, lambda tensors: {change(key): tensor for key, tensor in tensors.items()})


def _inner(piece: str) -> Callable[[str], str]:
    return lambda name: name.replace(".layers.", f".layers.{piece}")


_rename("_orig_mod.", PEFT_KINDS, lambda name: name.replace("base_model.model.", "base_model.model._orig_mod."))
_rename("_orig_mod. before all", WHOLE, lambda name: f"_orig_mod.{name}")
_rename("module.", (*PEFT_KINDS, *WHOLE), lambda name: f"module.{name}")
_rename("FSDP", (*PEFT_KINDS, *WHOLE), _inner("_fsdp_wrapped_module."))
_rename("checkpoint wrapper", (*PEFT_KINDS, *WHOLE), _inner("_checkpoint_wrapped_module."))
_rename("prefix missing", PEFT_KINDS, lambda name: name.removeprefix("base_model.model."))
_rename("prefix doubled", PEFT_KINDS, lambda name: f"base_model.model.{name}")


def _as_emotion(name: str) -> str:
    """The name that a raw state dict gives a factor of an adapter called emotion."""
    if name.endswith(("lora_A.weight", "lora_B.weight")):
        return name.replace(".weight", ".emotion.weight")
    bare = ("lora_A", "lora_B", "lora_E", "lora_magnitude_vector")
    return f"{name}.emotion" if name.endswith(bare) else name


_rename("another adapter's name", FACTORED, _as_emotion)


@plant("a layer that is not there", "keys_unknown", PEFT_KINDS)
def _deeper(made: Made) -> None:
    edit(
        made,
        lambda tensors: (
            tensors | {n.replace("layers.2.", "layers.7."): t * 1.1 for n, t in tensors.items() if "layers.2." in n}
        ),
    )


@plant("a factor lost", "keys_missing", PEFT_KINDS)
def _lost(made: Made) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[next(n for n in tensors if "lora_B" in n or "ia3_l" in n)]

    edit(made, change)


@plant("a weight lost", "keys_missing", WHOLE)
def _weight_lost(made: Made) -> None:
    edit(made, lambda tensors: {n: t for n, t in tensors.items() if "layers.1" not in n or "layer_norm" not in n})


@plant("the head lost that the backbone has", "keys_missing", PEFT_KINDS, mends=True, bare=False)
def _head_lost(made: Made) -> None:
    edit(made, lambda tensors: {n: t for n, t in tensors.items() if ".projector." not in n and ".classifier." not in n})


@plant("rank", "shape", ("lora", "rslora", "dora"))
def _rank(made: Made) -> None:
    configure(made, r=made.settings["rank"] * 2, lora_alpha=made.settings["rank"] * 4)


@plant("a part of a factor", "shape", PEFT_KINDS)
def _part(made: Made) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = next(n for n in tensors if "lora_A" in n or "ia3_l" in n)
        tensors[name] = (
            tensors[name][..., : tensors[name].shape[-1] // 2]
            if "lora_A" in name
            else tensors[name].flatten()[:5, None]
        )

    edit(made, change)


@plant("no head", "head_missing", (*PEFT_KINDS, *WHOLE))
def _no_head(made: Made) -> None:
    edit(made, lambda tensors: {n: t for n, t in tensors.items() if "projector." not in n and "classifier." not in n})
    if made.kind in PEFT_KINDS:
        configure(made, modules_to_save=None)


@plant("half a head", "head_missing", PEFT_KINDS)
def _half_head(made: Made) -> None:
    edit(made, lambda tensors: {n: t for n, t in tensors.items() if "projector." not in n})
    configure(made, modules_to_save=["classifier"])


@plant("the head among the targets", "head_adapted", PEFT_KINDS)
def _head_adapted(made: Made) -> None:
    made.settings["modules_to_save"] = None
    opened: Any = load_backbone(str(made.backbone), CLASSES, 0, 16).model
    linears = [*(opened.linears[name] for name in made.settings["targets"]), "projector", "classifier"]
    config: Any = peft.PeftConfig.from_pretrained(str(made.folder))
    config.target_modules, config.modules_to_save, config.inference_mode = set(linears), None, False
    if made.kind == "adalora":
        config.rank_pattern = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped: Any = get_peft_model(opened, config)
    held = load_file(weights_of(made))
    fresh = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    for name, tensor in fresh.items():
        if "projector" in name or "classifier" in name:
            tensor = tensor + 0.1 * torch.randn_like(tensor)
            held[name] = tensor
    kept = {n: t for n, t in held.items() if n in fresh}
    save_file({n: t.detach().contiguous() for n, t in kept.items()}, weights_of(made), {"format": "pt"})
    configure(made, target_modules=sorted(linears), modules_to_save=None)


@plant("no names", "head_classes", WHOLE)
def _no_names(made: Made) -> None:
    configure(made, id2label={i: f"LABEL_{i}" for i in range(4)}, label2id={f"LABEL_{i}": i for i in range(4)})


@plant("a class more", "head_classes", WHOLE)
def _class_more(made: Made) -> None:
    named = [*CLASSES, "fear"]
    configure(made, id2label=dict(enumerate(named)), label2id={n: i for i, n in enumerate(named)})


@plant("a class more than the backbone", "head_classes", PEFT_KINDS, bare=False)
def _class_more_peft(made: Made) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in [n for n in tensors if ".classifier." in n]:
            tensors[name] = torch.cat([tensors[name], tensors[name][:1] * 0.5])

    edit(made, change)


@plant("most of the encoder saved", "everything_trained", ("lora", "rslora", "dora", "adalora", "ia3"))
def _everything(made: Made) -> None:
    opened: Any = load_backbone(str(made.backbone), CLASSES, 0, 16).model
    others = [linear for name, linear in opened.linears.items() if name not in made.settings["targets"]]

    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in opened.state_dict().items():
            if any(f".{other}." in name for other in others):
                tensors[f"base_model.model.{name}"] = tensor.clone()

    edit(made, change)
    configure(made, modules_to_save=[*HEAD, *others])


@plant("PiSSA without its conversion", "base_changed", ("lora",), mends=True)
def _pissa(made: Made) -> None:
    shutil.rmtree(made.folder)
    make(made.folder, made.backbone, "lora", made.family, **made.settings, init_lora_weights="pissa")


@plant("another encoder's fingerprint", "base_changed", PEFT_KINDS)
def _fingerprint(made: Made) -> None:
    record = {"method": "lora", "classes": CLASSES, "context": "trim", "backbone": str(made.backbone),
              "fingerprint": "0" * 64, "lorascope": "0.1.0"}  # fmt: skip
    (made.folder / "lorascope.json").write_text(json.dumps(record))


@plant("another width", "base_changed", PEFT_KINDS)
def _wide(made: Made) -> None:
    made.backbone = encoder(made.family, made.folder.with_name(made.folder.name + "-wide"), width=48)


@plant("another backbone", "base_changed", WHOLE)
def _other_base(made: Made) -> None:
    made.backbone = encoder(made.family, made.folder.with_name(made.folder.name + "-other"), seed=99)


@plant("never trained", "never_trained", (*PEFT_KINDS, *WHOLE))
def _never(made: Made) -> None:
    start = untrained(made)
    edit(made, lambda tensors: {n: start[n] if "classifier" not in n and n in start else t for n, t in tensors.items()})
    if made.kind == "adalora":
        configure(made, rank_pattern=None)


@plant("a layer never trained", "layer_never_trained", (*PEFT_KINDS, *WHOLE))
def _layer_never(made: Made) -> None:
    start = untrained(made)
    if made.kind == "adalora":

        def change(tensors: dict[str, torch.Tensor]) -> None:
            for name, tensor in tensors.items():
                if "layers.1." in name and "lora_E" in name:
                    tensor.zero_()

        made.settings["allocate"] = False
        shutil.rmtree(made.folder)
        make(made.folder, made.backbone, "adalora", made.family, **made.settings)
        edit(made, change)
        return
    edit(made, lambda tensors: {n: start[n] if "layers.1." in n else t for n, t in tensors.items()})


@plant("NaN", "not_finite", (*PEFT_KINDS, *WHOLE))
def _nan(made: Made) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        next(t for n, t in tensors.items() if "layers.1." in n and t.numel()).view(-1)[0] = float("nan")

    edit(made, change)


@plant("overflow in half precision", "not_finite", PEFT_KINDS)
def _overflow(made: Made) -> None:
    edit(
        made, lambda tensors: {n: (t * (1e6 if "lora_A" in n or "ia3" in n else 1)).half() for n, t in tensors.items()}
    )


@plant("factors of nothing", "no_effect", FACTORED)
def _nothing(made: Made) -> None:
    edit(made, scaled(made, 1e-9))


@plant("a change too small", "head_does_all", (*PEFT_KINDS, "full", "merged"))
def _idle(made: Made) -> None:
    edit(made, scaled(made, {"ia3": 1e-3, "adalora": 1e-1}.get(made.kind, 1e-4)))


@plant("factors far too large", "exploded", (*PEFT_KINDS, "full", "merged"))
def _exploded(made: Made) -> None:
    edit(made, scaled(made, 5e4))


@plant("factors 500 times too large", "exploded", ("lora", "rslora", "dora", "full", "merged"))
def _too_large(made: Made) -> None:
    edit(made, scaled(made, 500.0))


@plant("alpha 4096", "scale", FACTORED)
def _alpha(made: Made) -> None:
    configure(made, lora_alpha=4096)


@plant("no alpha", "scale", FACTORED)
def _no_alpha(made: Made) -> None:
    configure(made, lora_alpha=DROP)


@plant("a pattern that names nothing", "scale", ("lora", "rslora", "dora"))
def _pattern(made: Made) -> None:
    configure(made, rank_pattern={"query": 2})


@plant("a layer copied", "twins", (*PEFT_KINDS, "full"))
def _twins(made: Made) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in [n for n in tensors if "layers.0." in n]:
            other = name.replace("layers.0.", "layers.2.")
            if other in tensors and "rel_attn" not in name:
                tensors[other] = tensors[name].clone()

    if made.kind == "adalora":
        made.settings["allocate"] = False
        shutil.rmtree(made.folder)
        make(made.folder, made.backbone, "adalora", made.family, **made.settings)
    edit(made, change)


@plant("no allocation", "allocation_never_ran", ("adalora",))
def _no_allocation(made: Made) -> None:
    shutil.rmtree(made.folder)
    make(made.folder, made.backbone, "adalora", made.family, **made.settings, allocate=False)


@plant("a bias above all", "deaf_to_input", (*PEFT_KINDS, *WHOLE))
def _bias(made: Made) -> None:
    edit(
        made,
        lambda tensors: next(t for n, t in tensors.items() if n.endswith("classifier.bias"))[:1].add_(1e6) and None,
    )


@plant("a constant head", "deaf_to_input", (*PEFT_KINDS, *WHOLE))
def _constant(made: Made) -> None:
    edit(made, lambda tensors: {n: t * 0 if n.endswith("classifier.weight") else t for n, t in tensors.items()})


@plant("another feature extractor", "features", (*PEFT_KINDS, *WHOLE))
def _features(made: Made) -> None:
    changes = {"feature_size": 128} if made.family == "whisper" else {"sampling_rate": 8000}
    settings = {"feature_extractor_type": "x", "sampling_rate": 16000} | changes
    (made.folder / "preprocessor_config.json").write_text(json.dumps(settings))


@plant("factors that cancel", "merge_changes", ("lora", "rslora"))
def _cancel(made: Made) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name, a in tensors.items():
            if "lora_A" in name:
                b = tensors[name.replace("lora_A", "lora_B")]
                a[1] = a[0]
                b[:, 0], b[:, 1] = 1e6 + torch.rand(len(b)) / 8, -1e6 - torch.rand(len(b)) / 8

    edit(made, change)


# What only labelled clips tell -----------------------------------------------------------------------


#: How many times as long as the weight an update is that destroys: just short of what is called exploded.
DESTROYS = 2.5


def beside(made: Made, name: str) -> Path:
    return made.folder.with_name(f"{made.folder.name}-{name}")


@plant("rows of the classifier moved", "label_order", (*PEFT_KINDS, *WHOLE), labelled=True, mends=True)
def _order(made: Made) -> None:
    edit(made, lambda tensors: {n: t[[1, 2, 3, 0]] if ".classifier." in f".{n}" else t for n, t in tensors.items()})


@plant("labels of other clips", "chance", (*PEFT_KINDS, *WHOLE), labelled=True)
def _chance(made: Made) -> None:
    made.manifest = clips(beside(made, "shuffled"), wrong=1)


@plant("a score of the training", "not_what_was_scored", (*PEFT_KINDS, *WHOLE), labelled=True)
def _scored(made: Made) -> None:
    made.manifest = clips(beside(made, "harder"), wrong=0.35)
    (made.folder / "trainer_state.json").write_text(json.dumps({"log_history": [{"epoch": 1, "eval_accuracy": 0.995}]}))


@plant("an update that destroys", "worse_than_off", (*PEFT_KINDS, *WHOLE), labelled=True)
def _destroys(made: Made) -> None:
    """A head trained on the frozen encoder, and below it noise that is larger than the weights: what a training that
    diverged leaves. Less is no sickness in every family: at 0.9 of the weights' length WavLM's answers hardly suffer.
    """
    shutil.rmtree(made.folder)
    targets = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    settings = made.settings | {"targets": targets, "allocate": False, "steps": 200, "rate": 5e-3}
    make(made.folder, made.backbone, made.kind, made.family, **settings, head_only=True)
    if made.kind == "adalora":
        configure(made, target_r=configure(made)["init_r"])
    random = torch.Generator().manual_seed(3)
    spoil = _noise_whole if made.kind in WHOLE else _noise
    edit(made, lambda tensors: spoil(made, tensors, random))
    record(made)


def _noise(made: Made, tensors: dict[str, torch.Tensor], random: torch.Generator) -> None:
    """Factors at random whose product is `DESTROYS` times as long as the weight."""
    start = load_backbone(str(made.backbone)).model.state_dict()
    settings = json.loads((made.folder / "adapter_config.json").read_text())
    for name, tensor in tensors.items():
        if "ia3_l" in name:
            tensor.copy_(1 + 1.8 * (torch.rand(tensor.shape, generator=random) - 0.5).sign())
        elif "magnitude" in name:
            tensor.mul_(0.1 + 2.0 * torch.rand(tensor.shape, generator=random))
        elif "lora_B" in name:
            a = tensors[name.replace("lora_B", "lora_A")]
            scale = settings["lora_alpha"] / (len(a) ** 0.5 if made.kind == "rslora" else len(a))
            if (energies := tensors.get(name.replace("lora_B", "lora_E"))) is not None:
                energies.fill_(1.0)
            tensor.copy_(torch.randn(tensor.shape, generator=random))
            weight = start[name.removeprefix("base_model.model.").split(".lora_B")[0] + ".weight"]
            tensor.mul_(DESTROYS * weight.norm() / (scale * (tensor @ a).norm()))


def _noise_whole(made: Made, tensors: dict[str, torch.Tensor], random: torch.Generator) -> None:
    """What the blocks write, at random; in most matrices nothing, so that it is still this backbone's."""
    for name, tensor in tensors.items():
        noise = torch.randn(tensor.shape, generator=random)
        if ".layers." not in name:
            continue
        if made.kind == "bitfit" and name.endswith("bias"):
            tensor.add_(noise)
        elif made.kind != "bitfit" and tensor.dim() == 2 and ("out" in name or "fc2" in name):
            tensor.add_(noise * DESTROYS * tensor.norm() / noise.norm())


@plant("trained at another length", "context", (*PEFT_KINDS, *WHOLE), labelled=True, families=("whisper",))
def _length(made: Made) -> None:
    record(made, "full")
