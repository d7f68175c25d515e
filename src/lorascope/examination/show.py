"""An examination on the terminal: a mark for every check, then what was found and what to type next."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ..machine.terminal import console
from .examine import Examination
from .finding import all_checks
from .mending import MENDABLE

SICK, REMARK, WELL, SKIPPED, EXPLAINED = "✗", "•", "✓", "–", "·"
DOCUMENT = "docs/doctor.md"


def print_examinations(found: Sequence[Examination], command: str, codes: Sequence[str] | None = None) -> None:
    """Tables and findings; `command` is what was typed, to be typed again with `--fix`."""
    terminal = console()
    checks = [check for check in all_checks() if codes is None or check.code in codes]
    if len(found) == 1 and found[0].error is None:
        one = found[0]
        table = Table("", "check", "what is looked for", box=None, pad_edge=False, header_style="bold")
        for check in checks:
            table.add_row(mark(one, check.code), check.code, check.sentence)
        terminal.print(table)
        terminal.print(
            f"{SICK} sick  {REMARK} remark  {WELL} well  {SKIPPED} could not run  {EXPLAINED} follows from a cause"
        )
    else:
        table = Table("adapter", "", "found", box=None, pad_edge=False, header_style="bold")
        for one in found:
            verdict = "?" if one.error else WELL if one.healthy else SICK
            codes_found = ", ".join(
                dict.fromkeys(
                    f"{finding.code}{'' if finding.level == 'sick' else ' (remark)'}" for finding in one.findings
                )
            )
            table.add_row(one.adapter, verdict, (one.error and "could not be examined") or codes_found)
        terminal.print(table)
    for one in found:
        _print_one(terminal, one, command, len(found) > 1)


def mark(one: Examination, code: str) -> str:
    """The mark of a check in an examination."""
    levels = {finding.level for finding in one.findings if finding.code == code}
    if levels:
        return SICK if "sick" in levels else REMARK
    if code in one.inapplicable:
        return " "
    return SKIPPED if code in one.skipped else EXPLAINED if code in one.explained else WELL


def verdict(one: Examination) -> str:
    """An adapter's state in a few words."""
    if one.error:
        return f"could not be examined: {one.error}"
    remarks = len(one.findings) - len(one.sick)
    more = f", {remarks} remark{'s' if remarks > 1 else ''}" if remarks else ""
    if one.healthy:
        left = f" ({len(one.skipped)} checks could not run)" if one.skipped else ""
        return f"healthy{more}{left}"
    return f"sick: {', '.join(dict.fromkeys(finding.code for finding in one.sick))}{more}"


def _print_one(terminal: object, one: Examination, command: str, several: bool) -> None:
    out = getattr(terminal, "print")  # noqa: B009
    out("")
    out(f"{one.adapter}: {verdict(one)} ({one.seconds:.1f} s)", soft_wrap=True)
    for finding in one.findings:
        sign = SICK if finding.level == "sick" else REMARK
        out(f"{sign} {finding.code}: {finding.message}", soft_wrap=True)
        out(f"    mend: {finding.mend}", soft_wrap=True)
        if finding.level == "sick":
            out(f"    more: {DOCUMENT}#{finding.code}", soft_wrap=True)
    if one.mended:
        out(f"  --fix: {one.mended}", soft_wrap=True)
    elif any(finding.code in MENDABLE for finding in one.sick):
        out(f"  next: {command} --fix --out mended", soft_wrap=True)
    reasons: dict[str, list[str]] = {}
    for code, reason in one.skipped.items():
        reasons.setdefault(reason, []).append(code)
    if not several:
        for reason, codes in reasons.items():
            out(f"{SKIPPED} {', '.join(codes)}: {reason}", soft_wrap=True)
