"""Examine adapters: every check in turn, causes before consequences."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LorascopeError
from ..models.weights.hub import adapter_folder
from .examined import Examined
from .finding import Finding, Inapplicable, Unavailable, all_checks
from .labelled import Clips
from .patient import patients, read_patient


@dataclass
class Examination:
    """What was found in one adapter. By code, `skipped` says why a check could not run, `explained` of which finding
    it would only tell a consequence, `inapplicable` that it is not for this kind; `error` why nothing was examined.
    """

    adapter: str
    findings: list[Finding] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    explained: dict[str, str] = field(default_factory=dict)
    inapplicable: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0
    mended: str | None = None

    @property
    def sick(self) -> list[Finding]:
        """Findings that are no remarks."""
        return [finding for finding in self.findings if finding.level == "sick"]

    @property
    def healthy(self) -> bool:
        """That it was examined, and nothing but remarks found."""
        return self.error is None and not self.sick

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        found = {
            "adapter": self.adapter,
            "healthy": self.healthy,
            "findings": [asdict(finding) | {"layers": list(finding.layers)} for finding in self.findings],
            "skipped": self.skipped,
            "seconds": round(self.seconds, 2),
        }
        return found | ({"error": self.error} if self.error else {}) | ({"mended": self.mended} if self.mended else {})


def examine(examined: Examined, codes: Sequence[str] | None = None) -> Examination:
    """Run every check, or those of `codes`, on one adapter."""
    start = time.perf_counter()
    result = Examination(str(examined.patient.folder))
    for check in all_checks():
        if codes is not None and check.code not in codes:
            continue
        sick = {finding.code for finding in result.sick}
        cause = next((code for code in check.after if code in sick), None)
        if cause is not None:
            result.explained[check.code] = cause
            continue
        try:
            result.findings += check.findings(examined)
        except Inapplicable as reason:
            result.inapplicable[check.code] = str(reason)
        except Unavailable as reason:
            result.skipped[check.code] = str(reason)
    result.seconds = time.perf_counter() - start
    return result


def examine_all(
    adapters: Sequence[str | Path],
    backbone: str | None = None,
    clips: Clips | None = None,
    labels: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
    mend_into: Path | None = None,
) -> Iterator[Examination]:
    """Examine adapters, and those in their subfolders, one after the other.

    Of several, one that cannot be examined is told as such, and the others go on; of one alone, `LorascopeError` is
    raised. With `mend_into` what can be mended is written there.
    """
    from .mending import mend, widened

    folders = [(folder, given) for given in adapters for folder in _found(given, len(adapters) > 1)]
    for number, (folder, given) in enumerate(folders, 1):
        say(f"[{number}/{len(folders)}] {folder}")
        if isinstance(folder, str):
            yield Examination(str(given), error=folder)
            continue
        examined = Examined(read_patient(folder), backbone, clips, tuple(labels))
        try:
            result = examine(examined)
            if mend_into is not None and (result.sick or widened(result.findings)):
                place = mend_into if len(folders) == 1 else mend_into / _name(folder, [each for each, _ in folders])
                result.mended = mend(examined, result, place)
        except LorascopeError as error:
            if len(folders) == 1:
                raise
            result = Examination(str(folder), error=" ".join(str(error).split()))
        examined.close()
        yield result


def _found(given: str | Path, several: bool) -> list[Path | str]:
    """The folders of an adapter; its refusal as text where it is one of several."""
    try:
        return list(patients(adapter_folder(given)))
    except LorascopeError as error:
        if several:
            return [" ".join(str(error).split())]
        raise


def _name(folder: Path, others: Sequence[Any]) -> str:
    """A name for what is mended of one of several folders."""
    places = [Path(each) for each in others]
    for depth in range(1, len(folder.parts) + 1):
        tail = folder.parts[-depth:]
        if sum(other.parts[-depth:] == tail for other in places) == 1:
            return "-".join(part.strip("/") for part in tail)
    return folder.name
