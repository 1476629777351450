"""Bring HELMET's published files to a data directory: one by one from the Hub, or out of the authors' archive.

A file appears under its name only when it is whole and its digest is right; the manifest, written last, says where each came from.
"""

import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import IO, Final

from harness.api import HarnessError, Json
from harness.files import file_digest, write_json
from harness.helmet_files.hub import Hub, NoAccessError, RemoteFile, mismatch
from harness.helmet_files.where import MANIFEST, Source, roots, sources
from harness.screen.progress import bar, say
from tasks.files import open_bytes
from tasks.helmet import DataError, Dataset
from tasks.helmet.catalog import HUB_PARQUET as FIVE_PARQUET
from tasks.helmet.catalog import File, files, megabytes
from tasks.helmet.judged import points_file
from tasks.helmet.longer import LONGER_FILES, LONGER_PARQUET
from tasks.helmet.request import locate

#: HELMET's files one by one, and the archive its authors publish.
FILES_REPO: Final = "allenai/helmet-plus"
ARCHIVE_REPO: Final = "princeton-nlp/HELMET"
#: Files of other repositories, in Parquet and as they are.
HUB_PARQUET: Final = {**FIVE_PARQUET, **LONGER_PARQUET}
_ELSEWHERE: Final = {*HUB_PARQUET, *LONGER_FILES}
_GET_ARCHIVE: Final = f"`hf download {ARCHIVE_REPO} data.tar.gz --repo-type dataset --local-dir .`"
_CHUNK: Final = 1 << 20


def fetch(
    datasets: Sequence[Dataset],
    lengths: Sequence[int],
    directory: Path,
    *,
    archive: Path | None = None,
    hub: Hub | None = None,
    copies: Collection[str] = (),
) -> dict[str, Source]:
    """Bring what ``datasets`` need at ``lengths`` to ``directory``, and nothing else; returns the manifest's new entries.

    HELMET's own files come one by one from the Hub, or from ``archive``, a copy of the authors' data.tar.gz; those of ICL from the Hub.
    The same call again goes on where it stopped. ``copies`` are files that are on disk elsewhere: nothing is done about them.
    """
    try:
        wanted = [file for file in files(datasets, lengths) if file.path not in copies]
    except DataError as error:
        raise HarnessError(str(error)) from None
    if not wanted:
        return {}
    with _locked(directory):
        before = sources(directory)
        there = {name: source for name, source in before.items() if has(directory, name, source.size)}
        missing = [file for file in wanted if file.path not in there]
        named = [name for name in dict.fromkeys(map(points_file, datasets)) if name is not None]
        points = [name for name in named if locate((directory, *roots()), name) is None]
        added: dict[str, Source] = {}
        if archive is not None:
            packed = [file for file in missing if file.path not in _ELSEWHERE]
            added.update(_unpack(archive, [file.path for file in packed], directory, extra=points))
            missing = [file for file in missing if file.path in _ELSEWHERE]
        if missing:
            source = hub or Hub()
            pins = {entry.repo: entry.commit for entry in there.values() if entry.commit}
            added.update(_download({**_plan(source, missing, pins), **_points(source, points, pins)}, directory, source))
        entries: dict[str, Json] = {name: asdict(source) for name, source in {**there, **added}.items()}
        write_json(directory / MANIFEST, {"format": 1, "files": entries})
    return added


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One fetch at a time."""
    import fcntl

    try:
        directory.mkdir(parents=True, exist_ok=True)
        with (directory / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HarnessError(f"another `harness data fetch` is writing to {directory}; wait for it to end") from None
            yield
    except OSError as error:
        raise HarnessError(
            f"cannot write to {error.filename or directory} ({error.strerror}); choose another directory with --output"
        ) from None


def has(directory: Path, name: str, size: int) -> bool:
    """Tell whether the file is in the directory, as long as it should be."""
    path = directory / name
    return path.is_file() and path.stat().st_size == size


def _plan(hub: Hub, wanted: Sequence[File], pins: Mapping[str, str]) -> dict[str, RemoteFile]:
    """Path on disk -> file on the Hub, each repository at the commit that earlier files came from (``pins``), or else at its newest."""
    plan: dict[str, RemoteFile] = {}
    own = [file.path for file in wanted if file.path not in _ELSEWHERE]
    if own:
        try:
            snapshot = hub.snapshot(FILES_REPO, pins.get(FILES_REPO, "main"))
        except NoAccessError as error:
            raise HarnessError(
                f"{error}. If you have been given access, log in with `hf auth login`; else get the authors' archive (11.3 GB) with "
                f"{_GET_ARCHIVE}, then `harness data fetch --archive data.tar.gz`"
            ) from None
        names = {path: snapshot.locate(path) for path in own}
        absent = [path for path, name in names.items() if name is None]
        if absent:
            raise HarnessError(
                f"{FILES_REPO} at {snapshot.commit[:12]} does not have {absent[0]}; take it from the authors' archive with "
                f"`harness data fetch --archive data.tar.gz` ({_GET_ARCHIVE} gets it, 11.3 GB)"
            )
        found = hub.files(snapshot, [str(name) for name in names.values()])
        plan.update(zip(own, found, strict=True))
    for path in (file.path for file in wanted if file.path in HUB_PARQUET):
        plan[path] = _parquet(hub, path, pins)
    for path in (file.path for file in wanted if file.path in LONGER_FILES):
        plan[path] = _whole(hub, path, pins)
    return plan


def _points(hub: Hub, names: Sequence[str], pins: Mapping[str, str]) -> dict[str, RemoteFile]:
    """Key points, which a judge alone needs: where the Hub does not give them, a line says where they are."""
    if not names:
        return {}
    try:
        snapshot = hub.snapshot(FILES_REPO, pins.get(FILES_REPO, "main"))
        found = {name: place for name in names if (place := snapshot.locate(name)) is not None}
        plan = dict(zip(found, hub.files(snapshot, list(found.values())), strict=True)) if found else {}
    except NoAccessError:
        plan = {}
    if absent := [name for name in names if name not in plan]:
        say(
            f"{' and '.join(absent)}, HELMET's key points, are not among the files that can be had one by one: a judge of summaries needs "
            f"them, and `harness data fetch --archive data.tar.gz` takes them from the authors' archive ({_GET_ARCHIVE} gets it, 11.3 GB)"
        )
    return plan


def _whole(hub: Hub, path: str, pins: Mapping[str, str]) -> RemoteFile:
    """A file that is taken as it is."""
    origin = LONGER_FILES[path]
    snapshot = hub.snapshot(origin.repo, pins.get(origin.repo, "main"))
    if origin.name not in snapshot.names:
        raise HarnessError(f"{origin.repo} at {snapshot.commit[:12]} does not have {origin.name}; place it at {path} in a data directory")
    return hub.files(snapshot, [origin.name])[0]


def _parquet(hub: Hub, path: str, pins: Mapping[str, str]) -> RemoteFile:
    origin = HUB_PARQUET[path]
    for revision in (pins[origin.repo],) if origin.repo in pins else ("refs/convert/parquet", "main"):
        try:
            snapshot = hub.snapshot(origin.repo, revision)
        except NoAccessError:
            continue
        name = snapshot.parquet(origin.config, origin.split, origin.part, origin.parts)
        if name is not None:
            return hub.files(snapshot, [name])[0]
    if origin.parts == 1:
        cut, which = f"no single Parquet file of its {origin.split} split any more", "one"
    else:
        cut, which = f"no longer {origin.parts} Parquet files of its {origin.split} split", f"part {origin.part + 1}"
    raise HarnessError(f"{origin.repo} has {cut}; place {which} at {path} in a data directory")


def _download(plan: Mapping[str, RemoteFile], directory: Path, hub: Hub) -> dict[str, Source]:
    size = sum(file.size for file in plan.values())
    free = shutil.disk_usage(directory).free
    if size > free:
        raise HarnessError(
            f"{directory} has {megabytes(free)} free and the files take {megabytes(size)}; choose another disk with --output"
        )
    say(f"fetching {_files(len(plan))}, {megabytes(size)}, into {directory}")
    got: dict[str, Source] = {}
    for path, file in plan.items():
        destination = directory / path
        if destination.is_file() and mismatch(file, destination) is None:
            sha256 = file.sha256 or file_digest(destination)
        else:
            with bar(f"{path} (MB)", round(file.size / 1e6)) as advance:
                sha256 = hub.download(file, destination, _in_megabytes(advance))
        got[path] = Source(file.size, sha256, file.repo, file.commit, file.path)
    return got


def _files(n: int) -> str:
    return "1 file" if n == 1 else f"{n} files"


def _in_megabytes(advance: Callable[[int], None]) -> Callable[[int], None]:
    """A bar that counts megabytes, told of bytes."""
    seen = shown = 0

    def step(size: int) -> None:
        nonlocal seen, shown
        seen += size
        if seen // 1_000_000 != shown:
            advance(seen // 1_000_000 - shown)
            shown = seen // 1_000_000

    return step


def _unpack(archive: Path, wanted: Sequence[str], directory: Path, extra: Sequence[str] = ()) -> dict[str, Source]:
    """Those of ``wanted`` out of a tar archive, read once from front to back, and of ``extra`` if they are there. Nothing else in it is
    written anywhere."""
    left = {*wanted, *extra}
    got: dict[str, Source] = {}
    if not left:
        return got
    say(f"unpacking {_files(len(left))} from {archive} into {directory}")
    try:
        with open_bytes(archive) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                path = _inside(archive, member).removeprefix("data/")
                if path not in left:
                    continue
                content = tar.extractfile(member) if member.isreg() else None
                if content is None:
                    raise HarnessError(f"{archive}: {member.name} is a link or folder and should be a file; this is not HELMET's archive")
                got[path] = Source(member.size, _copy(content, directory / path, member.size), archive.name, "", member.name)
                left.discard(path)
                if not left:
                    break
    except (tarfile.TarError, EOFError, zlib.error, LZMAError, TypeError, ValueError) as error:  # the last two from cut headers
        raise HarnessError(f"{archive} is no tar archive, or is cut short ({error}); get it again") from None
    except OSError as error:
        if error.filename is None:  # from the decompressor
            raise HarnessError(f"{archive} is no tar archive, or is cut short ({error}); get it again") from None
        raise HarnessError(f"{error.filename}: {error.strerror}") from None
    if lacking := sorted(left & set(wanted)):
        raise HarnessError(f"{archive} does not have {lacking[0]}; it is not HELMET's data.tar.gz, or another edition of it")
    return got


def _inside(archive: Path, member: tarfile.TarInfo) -> str:
    """The member's path, if it stays inside the directory that it is unpacked to."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise HarnessError(
            f"{archive}: {member.name!r} leads out of the directory; this is not HELMET's archive, and it is not to be trusted"
        )
    return path.as_posix()


def _copy(content: IO[bytes], destination: Path, size: int) -> str:
    """Write ``content`` to ``destination`` whole or not at all; returns its SHA-256."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(f".{destination.name}.part")
    digest = hashlib.sha256()
    try:
        with part.open("wb") as target:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
                target.write(chunk)
        if part.stat().st_size != size:
            raise EOFError(f"{destination.name} has {part.stat().st_size} of {size} bytes")
        os.replace(part, destination)
    finally:
        part.unlink(missing_ok=True)
    return digest.hexdigest()
