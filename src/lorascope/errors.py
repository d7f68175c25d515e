"""The one error that a user is meant to read: what is wrong, where, and the way out."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

#: Keys of a configuration, as patterns, by what verbs without one have in their place.
_OPTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "analyze": (
        (r" \(on the command line --root\)", ""),
        (r"`?corpus\.(exclude|label_map)\b((?:\.[^\s:`]+)?)`?", r"\1\2 in a file for --corpus-config"),
        (r"\bcorpus\.options\.", "--option "),
        (r"\bcorpus\.classes\b", "--labels"),
        (r"\bcorpus\.root\b", "--root"),
        (r"\bcorpus\.task\b", "--task"),
        (r"\bcorpus\.reader\b", "--corpus"),
        (r"\banalysis\.(?=\w+:)", "--set "),
    ),
    "check": (
        (r" \(on the command line --root\)", ""),
        (r"`?(corpus\.(?:exclude|label_map|options\.\w+))\b`?(?! in a run)", r"\1 in a run"),
        (r"\bcorpus\.root\b", "--root"),
        (r"\bcorpus\.task\b", "--task"),
    ),
    "predict": (
        (r"; mend the (?:file|path), or leave the clip out with `corpus.exclude`", "; leave it out"),
        (r"; give the corpus' folder with corpus\.root \(on the command line --root\)", "; give sound files"),
    ),
    "doctor": (
        (r" \(on the command line --root\)", ""),
        # a table of one's own says all that options of a reader would
        (r"`?(corpus\.(?:exclude|label_map|options\.\w+))\b`?(?! in a run)", r"\1 in a run, here by --manifest"),
        (r"\bcorpus\.root\b", "--root"),
        (r"\bcorpus\.task\b", "--task"),
    ),
}


class LorascopeError(Exception):
    """Bad input or a bad environment, told in one line that names the file, line or key and the way out.

    The command line prints the message alone and exits with code 2; `--debug` shows the traceback.
    """


def in_options_of(verb: str, text: str) -> str:
    """A message whose keys of a configuration are the options that a verb without one has in their place.

    >>> in_options_of("analyze", "x.wav: cannot be read; leave the clip out with `corpus.exclude`")
    'x.wav: cannot be read; leave the clip out with exclude in a file for --corpus-config'
    >>> in_options_of("check", "no manifest; give it with corpus.root (on the command line --root)")
    'no manifest; give it with --root'
    """
    for pattern, option in _OPTIONS[verb]:
        text = re.sub(pattern, option, text)
    return text


@contextlib.contextmanager
def told_to(verb: str) -> Iterator[None]:
    """Errors in the block name a verb's own options (`in_options_of`)."""
    try:
        yield
    except LorascopeError as error:
        raise LorascopeError(in_options_of(verb, str(error))) from error
