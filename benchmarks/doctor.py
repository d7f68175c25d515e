"""How often the doctor is right: every sickness planted in every family and kind, healthy adapters of all kinds, what
`--fix` mends, and on real adapters their labels in every order, seconds and memory.

    python benchmarks/doctor.py                                    # planted, healthy, mended
    python benchmarks/doctor.py --real runs/emodb/cells/*/adapter --corpus emodb --parts orders cost

prints the tables of docs/doctor.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine
from sicknesses import PLANTS, Plant
from small_adapters import FAMILIES, KINDS, TARGETS, WHOLE, Made, clips, encoder, make, plain_logits, rate_of, record
from transformers.utils import logging

from lorascope.examination.examine import Examination, examine
from lorascope.examination.examined import Examined
from lorascope.examination.labelled import Clips, read_clips
from lorascope.examination.mending import mend
from lorascope.examination.patient import read_patient
from lorascope.machine.environment import quiet

#: Share of right answers from which an adapter knows the clips: an order of labels can be told from .6 on.
SKILFUL = 0.75
#: Steps and rates at which a small adapter hears the clips' pitch; labelled plants start from it.
SKILLED = {"steps": 100, "targets": TARGETS[3]}
#: Stock WavLM reads its attention's weights past an adapter: what such a PiSSA was trained to can't be known.
UNMENDABLE = (("wavlm", "PiSSA without its conversion"),)
RATES = {"ia3": 1e-2, "bitfit": 1e-2, "full": 3e-3, "rslora": 5e-4}


def look(made: Made, given: Clips | None = None) -> Examination:
    examined = Examined(read_patient(made.folder), str(made.backbone), given)
    found = examine(examined)
    examined.close()
    return found


def copy(made: Made, name: str) -> Made:
    folder = made.folder.with_name(f"{made.folder.name}-{name.replace(' ', '-').replace('/', '-')}")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made.folder, folder)
    return Made(folder, made.backbone, made.kind, made.family, dict(made.settings), made.manifest)


def ground(root: Path, family: str, kind: str, skilled: bool) -> Made:
    """A healthy adapter to be made sick."""
    folder = root / f"{family}-{kind}{'-skilled' if skilled else ''}"
    bare = root / f"{family}-bare"
    if not bare.is_dir():
        encoder(family, bare)
        encoder(family, root / f"{family}-headed", head=True)
        clips(root / "clips")
    if not skilled:
        return make(folder, bare, kind, family, rate=3e-3)
    given = read_clips(None, None, root / "clips" / "manifest.csv")
    for times in (1.0, 2.0, 0.5, 4.0):
        made = make(folder, bare, kind, family, **SKILLED, rate=times * RATES.get(kind, 2e-3))
        record(made)
        made.manifest = root / "clips" / "manifest.csv"
        right = answers_right(made, given)
        if right >= SKILFUL:
            return made
    raise AssertionError(f"{family} {kind} learns the clips at none of these rates ({right:.3f} right)")


def answers_right(made: Made, given: Clips | None) -> float:
    """Share of right answers to labelled clips."""
    examined = Examined(read_patient(made.folder), str(made.backbone), given)
    right = float((examined.labelled.predicted == examined.labelled.gold).mean())
    examined.close()
    return right


def planted(one: Plant, made: Made, root: Path) -> tuple[Made, Examination]:
    """A copy with the sickness, examined."""
    sick = copy(made, one.name)
    if not one.bare:
        sick.backbone = root / f"{made.family}-headed"
    one.do(sick)
    return sick, look(sick, read_clips(None, None, sick.manifest) if one.labelled else None)


def sickness_table(
    root: Path, families: Sequence[str], kinds: Sequence[str], only: Sequence[str] | None = None
) -> tuple[int, int]:
    """Plant everything, or what has a code of `only`; returns how many were named, of how many."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for family, kind in itertools.product(families, kinds):
        for skilled in (False, True):
            plants = [
                one for one in PLANTS
                if kind in one.kinds and family in one.families and one.labelled == skilled
                and (only is None or one.code in only)
            ]  # fmt: skip
            if not plants:
                continue
            made = ground(root, family, kind, skilled)
            for one in plants:
                sick, found = planted(one, made, root)
                codes = {finding.code for finding in found.findings}
                others = {finding.code for finding in found.sick} - {one.code}
                counts[one.code][0] += one.code in codes
                counts[one.code][1] += 1
                counts[one.code][2] += bool(others)
                if one.code not in codes:
                    print(f"missed: {one.name} ({one.code}) in {family} {kind}: found {sorted(codes)}", flush=True)
                for folder in root.glob(f"{sick.folder.name}*"):
                    shutil.rmtree(folder)
        named, total = (sum(count[column] for count in counts.values()) for column in (0, 1))
        print(f"{family} {kind}: {named} of {total} named so far", flush=True)
    print("\n| code | planted | named | with another sickness beside |\n|---|---|---|---|")
    for code, (named, total, beside) in counts.items():
        print(f"| `{code}` | {total} | {named} | {beside} |")
    named, total = (sum(count[column] for count in counts.values()) for column in (0, 1))
    print(f"named: {named} of {total} ({named / total:.1%})", flush=True)
    return named, total


def healthy_table(root: Path, numbers: Sequence[int], families: Sequence[str]) -> int:
    """Healthy adapters of all kinds, ranks, targets and lengths of training; returns how many findings they got.

    The `number` decides all of an adapter, so that the two hundred can be examined in pieces.
    """
    found: dict[str, int] = defaultdict(int)
    remarks: dict[str, int] = defaultdict(int)
    changes: dict[str, list[float]] = defaultdict(list)
    for number in numbers:
        random = np.random.default_rng([0, number])
        family, kind = families[number % len(families)], KINDS[number // len(families) % len(KINDS)]
        made = make(
            root / f"healthy-{number}", root / f"{family}-bare", kind, family,
            steps=int(random.choice([2, 5, 10, 30, 80, 200])), rank=int(random.choice([1, 2, 4, 8, 16])),
            targets=TARGETS[random.integers(len(TARGETS))], rate=rate_of(kind), seed=number,
        )  # fmt: skip
        examined = Examined(read_patient(made.folder), str(made.backbone))
        examination = examine(examined)
        changes[kind].append(max(examined.change.values()))
        examined.close()
        for finding in examination.findings:
            (found if finding.level == "sick" else remarks)[finding.code] += 1
            if finding.level == "sick":
                print(f"cried: {finding.code} on {family} {kind} {made.settings}: {finding.message}", flush=True)
        shutil.rmtree(made.folder)
        if number % 20 == 19:
            print(f"{number + 1} healthy adapters: {sum(found.values())} findings so far", flush=True)
    print(f"\n{len(numbers)} healthy adapters: {sum(found.values())} findings {dict(found)}; remarks {dict(remarks)}")
    for kind, ratios in changes.items():
        highest = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios)[::-1][:3])
        print(f"{kind}: largest updates in parts of the weight's length: {highest} of {len(ratios)}", flush=True)
    return sum(found.values())


def mended_table(root: Path, families: Sequence[str], kinds: Sequence[str]) -> tuple[int, int]:
    """What `--fix` mends: loaded by transformers and PEFT alone, against the adapter before it was made sick."""
    well, total = 0, 0
    print("\n| sickness | family | kind | logits differ by | warnings | examined again |\n|---|---|---|---|---|---|")
    for family, kind in itertools.product(families, kinds):
        for one in PLANTS:
            if not one.mends or kind not in one.kinds:
                continue
            made = ground(root, family, kind, one.labelled)
            sick = copy(made, one.name)
            if not one.bare:
                sick.backbone = root / f"{family}-headed"
                shutil.rmtree(sick.folder)
                # the head that is lost is the backbone's own, which training left as it is
                make(sick.folder, sick.backbone, kind, family, keep_head=True)
            if one.code == "base_changed":
                one.do(sick)
            before, usual = plain_logits(sick)
            if one.code != "base_changed":
                one.do(sick)
            given = read_clips(None, None, sick.manifest) if one.labelled else None
            examined = Examined(read_patient(sick.folder), str(sick.backbone), given)
            out = sick.folder.with_name(f"{sick.folder.name}-mended")
            shutil.rmtree(out, ignore_errors=True)
            told = mend(examined, examine(examined), out)
            total += 1
            if not out.is_dir():
                # not to mend what cannot be known is right too
                well += told.startswith("not mended: ") and (family, one.name) in UNMENDABLE
                print(f"| {one.name} | {family} | {kind} | | | {told} |", flush=True)
                continue
            after, warned = plain_logits(Made(out, sick.backbone, kind, family, sick.settings))
            apart = float(np.abs(after - before).max() / np.abs(before).max())
            # some of PEFT's kinds are never loaded without one
            warned = [each for each in warned if each not in usual]
            healthy = told.endswith("healthy")
            well += healthy and apart < 1e-6 and not warned
            print(f"| {one.name} | {family} | {kind} | {apart:.1e} | {len(warned)} | {healthy} |", flush=True)
            for folder in (out, sick.folder):
                shutil.rmtree(folder)
    print(f"mended: {well} of {total}", flush=True)
    return well, total


def orders_table(adapters: Sequence[str], corpus: str, test_only: bool) -> None:
    """Every order of the labels of real adapters: found where it is another, not where it is the given one."""
    from lorascope.examination.checks.labels import misordered
    from lorascope.examination.finding import ALPHA

    given = read_clips(corpus, None, None)
    assert given is not None
    print("\n| adapter | clips | UAR | orders found | cried on its own order |\n|---|---|---|---|---|")
    for adapter in adapters:
        own = given
        metrics = Path(adapter).parent / "metrics.json"
        if test_only and metrics.is_file():
            tested = json.loads(metrics.read_text())["test_speakers"]
            rows = [row for row, speaker in enumerate(given.speakers) if speaker in tested]
            of_fold = [tuple(part[row] for row in rows) for part in (given.pieces, given.labels, given.speakers)]
            own = Clips(*of_fold, given.source, given.joined)  # pyright: ignore[reportArgumentType]
        examined = Examined(read_patient(Path(adapter)), None, own)
        labelled = examined.labelled
        logits, classes = labelled.logits, len(labelled.classes)
        uar = np.mean([(labelled.predicted == labelled.gold)[labelled.gold == c].mean() for c in set(labelled.gold)])
        found, cried = 0, False
        for order in itertools.permutations(range(classes)):
            labelled.logits = logits[:, order]
            best, p = misordered(labelled)
            told = p < ALPHA
            if order == tuple(range(classes)):
                cried = told
            else:
                found += told and tuple(best) == order
        orders = math.factorial(classes) - 1
        print(f"| {adapter} | {len(logits)} | {uar:.3f} | {found} of {orders} | {cried} |", flush=True)
        examined.close()


def cost_table(adapters: Sequence[str]) -> None:
    """Seconds of an examination without a corpus."""
    for adapter in adapters:
        start, cpu = time.perf_counter(), time.process_time()
        result = examine(Examined(read_patient(Path(adapter))))
        wall, own = time.perf_counter() - start, time.process_time() - cpu
        print(f"{adapter}: {wall:.1f} s, {own:.1f} s of CPU, {'healthy' if result.healthy else 'sick'}", flush=True)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["planted", "healthy", "mended"])
    parser.add_argument("--families", nargs="+", default=list(FAMILIES))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--codes", nargs="+", help="plant these alone")
    parser.add_argument(
        "--healthy", type=int, nargs=2, default=(0, 200), help="first number, and the one to end before"
    )
    parser.add_argument("--real", nargs="*", default=[])
    parser.add_argument("--corpus", default="emodb")
    parser.add_argument("--test-only", action="store_true", help="orders by the clips of the test speakers alone")
    chosen: Any = parser.parse_args(given)
    quiet()
    logging.disable_progress_bar()
    torch.set_num_threads(torch.get_num_threads())
    print(machine())
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for family in chosen.families:
            encoder(family, root / f"{family}-bare")
            encoder(family, root / f"{family}-headed", head=True)
        clips(root / "clips")
        if "planted" in chosen.parts:
            sickness_table(root, chosen.families, chosen.kinds, chosen.codes)
        if "healthy" in chosen.parts:
            healthy_table(root, range(*chosen.healthy), chosen.families)
        if "mended" in chosen.parts:
            mended_table(
                root, chosen.families, [kind for kind in chosen.kinds if kind not in WHOLE or kind != "bitfit"]
            )
    if "orders" in chosen.parts:
        orders_table(chosen.real, chosen.corpus, chosen.test_only)
    if "cost" in chosen.parts:
        cost_table(chosen.real)


if __name__ == "__main__":
    main()
