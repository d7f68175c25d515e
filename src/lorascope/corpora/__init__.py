"""Corpora as tables of clips: a reader a file, label maps, folds by speaker. No torch here."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..by_name import modules_in
from ..errors import LorascopeError
from ..machine.requirements import require

require("numpy", "pandas", "pyarrow", "soundfile", "soxr")

from .corpus import DEFAULT_CLASSES, EMOTION, About, Corpus, Published, Recordings, corpus_from, relabelled
from .folds.folds import Fold, make_folds
from .labels import suggestion
from .readers.files import ANY_SUFFIX, files_below

__all__ = ["CORPORA", "PUBLISHED", "READERS", "About", "Corpus", "Fold", "Published", "load_corpus", "make_folds"]

#: Readers that can't be called as their file is, whose name would be that of another package's.
_CALLED = {"manifest": "csv", "audformat_database": "audformat"}
_MODULES = {_CALLED.get(file, file): module for file, module in modules_in(f"{__name__}.readers", "ABOUT")}
#: Every reader by name: a function of the corpus' folder and the reader's own options.
READERS: dict[str, Callable[..., Recordings]] = {name: module.read for name, module in _MODULES.items()}
#: One line about each reader of ours, by its name.
CORPORA: dict[str, About] = {name: module.ABOUT for name, module in _MODULES.items()}
#: What the authors of a fixed corpus count, by reader; IEMOCAP's own counts are by session (`iemocap.PUBLISHED`).
PUBLISHED: dict[str, Published] = {
    name: module.PUBLISHED
    for name, module in _MODULES.items()
    if isinstance(getattr(module, "PUBLISHED", None), Published)
}


def load_corpus(
    name: str,
    root: str | Path | None = None,
    classes: Sequence[str] = DEFAULT_CLASSES,
    label_map: Mapping[str, str | None] | None = None,
    exclude: Sequence[str] = (),
    task: str = EMOTION,
    speakers_needed: bool = True,
    **options: Any,
) -> Corpus:
    """Read a corpus by its reader's name and map it to the experiment's classes.

    `task` is emotion, or any other word: then the labels are the column of that name (gender, text) or whatever a
    manifest gives, and the classes all that occur unless some are given. Without `root` the corpus is looked for in
    `$LORASCOPE_CORPORA/<name>`. Unless `speakers_needed`, as where nothing is trained, one speaker or none that is
    known will do. `options` are the reader's own. Raises
    `LorascopeError` as the reader and `corpus_from` do, and for an unknown reader or option.
    """
    reader = READERS.get(name)
    if reader is None:
        raise LorascopeError(f"corpus.reader: unknown reader {name!r}{suggestion(name, list(READERS))}")
    known = [option for option in inspect.signature(reader).parameters if option != "root"]
    for option in options:
        if option not in known:
            told = suggestion(option, known) if known else " (it has none)"
            raise LorascopeError(f"corpus.options.{option}: the reader {name} has no such option{told}")
    if "root" in inspect.signature(reader).parameters:
        options["root"] = root_of(name, root, options)
    elif root is not None:
        raise LorascopeError(f"corpus.root: {root}: the reader {name} reads no folder; take corpus.root out")
    try:
        found = reader(**options)
    except LorascopeError as error:
        raise told_deeper(reader, options.get("root"), error, options) from error
    about = CORPORA.get(name)
    found = relabelled(found, task, own_labels=about is None or about.clips is None)
    chosen = () if task != EMOTION and classes is DEFAULT_CLASSES else classes
    return corpus_from(name, found, chosen, label_map, exclude, task, speakers_needed)


def told_deeper(
    reader: Callable[..., Recordings],
    root: Path | None,
    error: LorascopeError,
    options: Mapping[str, Any] | None = None,
) -> LorascopeError:
    """A reader's error, or one that names the folder below `root` where the same reader finds its corpus.

    Tried are the folder that holds all sounds and those between it and `root`: an archive often unpacks into a folder
    of its own.
    """
    if root is None or not root.is_dir():
        return error
    folders = [str(path.parent) for path in files_below(root) if path.suffix.lower() in ANY_SUFFIX]
    common = Path(os.path.commonpath(folders)) if folders else root
    between = [folder for folder in (*reversed(common.parents), common) if folder.is_relative_to(root)]
    for folder in between[1:]:
        try:
            reader(**{**(options or {}), "root": folder})
        except LorascopeError:
            continue
        return LorascopeError(
            f"{root}: the corpus lies deeper, in {folder}; give that folder with corpus.root "
            "(on the command line --root)"
        )
    return error


def root_of(name: str, root: str | Path | None, options: Mapping[str, Any]) -> Path | None:
    if root is not None:
        # absolute, so that a clip's path holds wherever the run is read from
        path = Path(root).expanduser().absolute()
        if not path.exists():
            raise LorascopeError(f"corpus.root: {path}: no such file or folder; give the corpus' folder")
        return path
    if options.get("source") == "hub":
        return None
    shared = os.environ.get("LORASCOPE_CORPORA")
    if shared and (Path(shared) / name).exists():
        return (Path(shared) / name).absolute()
    looked = f"{Path(shared) / name} is not there" if shared else "LORASCOPE_CORPORA is not set"
    raise LorascopeError(
        f"corpus.root: where is {name}? {looked}; give its folder with corpus.root (on the command line --root)"
    )
