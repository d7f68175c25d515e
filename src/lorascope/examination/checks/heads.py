"""The head: whether there is a trained one, and what its answers are called."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..examined import Examined, named_labels
from ..finding import Found, Unavailable, check
from ..names import is_factor, module_of

ORDER = 2
DRAWN = re.compile(r"LABEL_\d+")
SAVE = "train with modules_to_save=['projector', 'classifier']"


@check(
    "head_missing",
    "no trained head",
    ["whole_files"],
    ["head_adapted"],
    mend=f"{SAVE}, or give the backbone folder that holds the trained head (--backbone)",
)
def head_missing(examined: Examined) -> Iterator[Found]:
    """Projector and classifier, each in the adapter or in the backbone: what is in neither is drawn at random."""
    own = {name.split(".")[0] for name in examined.own_head}
    lacking = [part for part in ("projector", "classifier") if part not in own]
    if not lacking:
        return
    where = ["the adapter's file"]
    if examined.patient.kind == "peft":
        if examined.backbone.has_head:
            return
        where.append(f"the backbone {examined.backbone.name}")
    parts = " and ".join(lacking)
    evidence = {"lacking": lacking, "looked_in": where}
    if examined.foreign:
        yield Found(
            "trained for another task: there is no head for classes, and none is expected", evidence, level="remark",
            mend="nothing; what needs answers is left out",
        )  # fmt: skip
        return
    yield Found(
        f"no trained {parts}, neither in {' nor in '.join(where)}: it would be drawn at random with every loading, and "
        "answers mean nothing",
        evidence,
    )


@check("head_adapted", "low-rank factors on a random head", ["is_peft"], mend=SAVE)
def head_adapted(examined: Examined) -> Iterator[Found]:
    """The head among `target_modules`: PEFT keeps the change and not what was changed (peft#577)."""
    modules = {module_of(name).rsplit(".", 1)[-1] for name in examined.tidied if is_factor(name)}
    parts = sorted(modules & {"projector", "classifier"})
    if not parts:
        return
    try:
        if examined.backbone.has_head:
            return
    except Unavailable:
        # without a backbone there is none that would bring a trained head
        pass
    yield Found(
        f"{' and '.join(parts)} are among target_modules, so that only a low-rank change of a head is saved whose own "
        "weights were drawn at random and are lost: answers mean nothing",
        {"target_modules": sorted(examined.patient.config.get("target_modules") or []), "adapted": parts},
    )


@check(
    "head_classes",
    "numbers and names of classes disagree",
    ["whole_files"],
    ["head_missing", "head_adapted"],
    mend="write num_labels and id2label of the training into config.json, or name the classes with --labels",
)
def head_classes(examined: Examined) -> Iterator[Found]:
    """Rows of the classifier, `num_labels`, `id2label` and recorded names, wherever they are told."""
    told: dict[str, int] = {}
    last = examined.own_head.get("classifier.weight")
    if last is not None:
        told["classifier"] = last.shape[0]
    if examined.patient.record is not None:
        told["lorascope.json"] = len(examined.patient.record.classes)
    names = examined.patient.record.classes if examined.patient.record else ()
    if examined.patient.kind == "whole":
        settings = examined.patient.config
        names = names or named_labels(settings)
        told |= {"id2label": len(named_labels(settings))} if "id2label" in settings else {}
        told |= {"num_labels": settings["num_labels"]} if isinstance(settings.get("num_labels"), int) else {}
    else:
        try:
            head = examined.head_of_backbone
            labels = examined.backbone.labels
            names = names or labels
            if head:
                told |= {
                    "classifier of the backbone": len(head["classifier.weight"]),
                    "id2label of the backbone": len(labels),
                }
        except Unavailable:
            pass
    names = examined.labels or names
    if examined.labels:
        told["--labels"] = len(examined.labels)
    evidence = {**told, "names": list(names)}
    if len(set(told.values())) > 1:
        counts = ", ".join(f"{where} {count}" for where, count in told.items())
        yield Found(f"the numbers of classes disagree ({counts}): answers are counted under wrong names", evidence)
    elif told and names and all(DRAWN.fullmatch(name) for name in names):
        yield Found(
            f"the {len(names)} classes have no names but {names[0]} ...: which answer is which emotion is not recorded",
            evidence,
        )
    elif told and not names:
        yield Found("no class names are recorded: which answer is which is not known", evidence, level="remark",
                    mend="name them with --labels, in the order of the logits")  # fmt: skip
