"""Folders of files with one sub-folder a class, alone or in parts; hidden files are left out."""

from collections.abc import Sequence
from pathlib import Path

PARTS = {  # names of sub-folders that are parts of a data set
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


def files_below(folder: Path, extensions: Sequence[str]) -> list[Path]:
    """All files below a folder that end in one of `extensions`, in order of their names."""
    found = []
    for path in sorted(folder.iterdir()):
        if _is_hidden(path):
            continue
        if path.is_dir():
            found += files_below(path, extensions)
        elif path.suffix.lower() in extensions:
            found.append(path)
    return found


def sub_folders(folder: Path) -> list[Path]:
    """Those right below, in order of their names."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not _is_hidden(p))


def parts_of(folder: Path, below: Sequence[Path]) -> dict[str, Path]:
    """The folder of each part, "train" first; all of it where the folders `below` are no parts."""
    part_of_name = {name: part for part, names in PARTS.items() for name in names}
    found = {part_of_name.get(p.name.lower(), p.name): p for p in below}
    if "train" not in found or set(found) - set(PARTS) or len(found) < len(below):
        return {"train": folder}
    return {part: found[part] for part in PARTS if part in found}


def read_classes(
    folder: Path, extensions: Sequence[str], what: str, labelled: bool = True
) -> dict[str, dict[str, list[Path]]]:
    """The files of each class of each part.

    Args:
        folder: one sub-folder a class, or parts (`train`, `validation` or `val`, `test`) of such.
        extensions: of the files, such as (".wav",).
        what: they are, for the error.
        labelled: files that lie in no sub-folders are an error; else those of the one class "".

    Raises:
        ValueError: fewer than two classes, one without files, or one that training does not have.
    """
    parts = parts_of(folder, sub_folders(folder))
    names = [p.name for p in sub_folders(parts["train"])]
    if len(names) < 2:
        if labelled:
            raise ValueError(
                f"{parts['train']}: found {len(names)} sub-folder(s); needs one sub-folder a "
                f"class, at least two, with the {what} in them"
            )
        names = []
    found: dict[str, dict[str, list[Path]]] = {}
    for part, root in parts.items():
        found[part] = {}
        for path in sub_folders(root) if names else [root]:
            if names and path.name not in names:
                raise ValueError(f"{path}: a class that the training part does not have: {names}")
            files = files_below(path, extensions)
            if not files:
                raise ValueError(f"{path}: no {what}; known types: {', '.join(extensions)}")
            found[part][path.name if names else ""] = files
        if not found[part]:
            raise ValueError(f"{root}: no {what}; known types: {', '.join(extensions)}")
    return found


def _is_hidden(path: Path) -> bool:
    return path.name.startswith((".", "__"))  # .DS_Store, ._photo.jpg, __MACOSX
