"""Fetch single files of Hub datasets: pinned to a commit, resumed where a transfer was cut, and checked against the Hub's digests.

``huggingface_hub`` resolves, lists and authenticates; the transfer itself is ours, because its own starts a cut file afresh.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.api import HarnessError
from harness.files import file_digest
from tasks.files import open_bytes

#: Transfers tried in a row without a single new byte.
_ATTEMPTS: Final = 4
_CHUNK: Final = 1 << 20
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RemoteFile:
    """One file at one commit."""

    repo: str
    commit: str
    path: str
    size: int
    sha256: str | None
    """Of the content, for files in large-file storage."""
    git: str
    """Git's object id: for other files the SHA-1 of the content behind a header."""


@dataclass(frozen=True)
class Snapshot:
    """A Hub dataset at one commit."""

    repo: str
    commit: str
    names: tuple[str, ...]

    def locate(self, path: str) -> str | None:
        """Find the file called ``path``, with whatever other folders the repository has before or between those of the path."""
        return min((name for name in self.names if _leads_to(name, path)), key=len, default=None)

    def parquet(self, config: str, split: str, part: int = 0, parts: int = 1) -> str | None:
        """Find the Parquet file of a split, or a part of it, as the Hub's converter or ``push_to_hub`` names it; None if not so cut."""
        named = re.compile(rf"(?:{re.escape(config)}/|data/|)(?:{split}/\d+|{split}-\d+-of-\d+[^/]*|[^/]*-{split})\.parquet")
        found = [name for name in self.names if named.fullmatch(name)]
        return sorted(found)[part] if len(found) == parts else None


def _leads_to(name: str, path: str) -> bool:
    """Whether ``name`` ends with the file of ``path`` and has its folders in that order."""
    *folders, file = path.split("/")
    *outer, last = name.split("/")
    left = iter(outer)
    return last == file and all(folder in left for folder in folders)


class Hub:
    """The Hugging Face Hub, or whatever speaks like it at ``endpoint``."""

    def __init__(self, endpoint: str | None = None, *, pause: float = 1.0) -> None:
        from huggingface_hub import HfApi

        self._api = HfApi(endpoint=endpoint)
        self._pause = pause

    def snapshot(self, repo: str, revision: str) -> Snapshot:
        """Resolve ``revision`` (a branch or commit) of a dataset to its commit."""
        with _explained(repo):
            info = self._api.dataset_info(repo, revision=revision)
        if info.sha is None or not _COMMIT.fullmatch(info.sha):
            raise HarnessError(f"{repo}: the Hub names no commit for {revision}; try again later")
        return Snapshot(repo, info.sha, tuple(sibling.rfilename for sibling in info.siblings or ()))

    def files(self, snapshot: Snapshot, names: Sequence[str]) -> list[RemoteFile]:
        """Look up size and digests of ``names``, which the snapshot has."""
        from huggingface_hub.hf_api import RepoFile

        with _explained(snapshot.repo):
            found = self._api.get_paths_info(snapshot.repo, list(names), revision=snapshot.commit, repo_type="dataset")
        entries = {entry.path: entry for entry in found if isinstance(entry, RepoFile)}
        if absent := [name for name in names if name not in entries]:
            raise HarnessError(
                f"{snapshot.repo} at {snapshot.commit[:12]}: the Hub lists {absent[0]} but knows nothing of it; try again later"
            )
        return [
            RemoteFile(snapshot.repo, snapshot.commit, name, entry.size, entry.lfs.sha256 if entry.lfs else None, entry.blob_id)
            for name, entry in ((name, entries[name]) for name in names)
        ]

    def download(self, file: RemoteFile, destination: Path, advance: Callable[[int], None] = lambda _: None) -> str:
        """Bring ``file`` to ``destination``, whole and checked, or not at all; returns its SHA-256.

        What a cut transfer left (a hidden file beside the destination) is gone on from, by this call or a later one.
        ``advance(n)`` is told of every n bytes that are there.

        Raises:
            HarnessError: the Hub does not deliver, or what it delivered is not what its digest says.
        """
        destination.parent.mkdir(parents=True, exist_ok=True)
        part = destination.with_name(f".{destination.name}.{(file.sha256 or file.git)[:12]}.part")
        for stale in destination.parent.glob(f".{destination.name}.*.part"):
            if stale != part:
                stale.unlink()  # of another revision
        advance(min(_size(part), file.size))
        failures = 0
        while _size(part) != file.size:
            before = _size(part)
            try:
                self._transfer(file, part, advance)
            except NoAccessError:
                raise
            except HarnessError:
                failures = failures + 1 if _size(part) <= before else 0
                if failures >= _ATTEMPTS:
                    raise
                time.sleep(self._pause)
            else:
                failures = failures + 1 if _size(part) <= before else 0
                if failures >= _ATTEMPTS:
                    raise HarnessError(f"{file.repo}: {file.path} ends after {_size(part)} of {file.size} bytes; try again later")
        problem = mismatch(file, part)
        if problem:
            part.unlink()
            raise HarnessError(f"{file.repo}: {file.path} {problem}; it was thrown away: run the same command again")
        os.replace(part, destination)
        return file.sha256 or file_digest(destination)

    def _transfer(self, file: RemoteFile, part: Path, advance: Callable[[int], None]) -> None:
        """Append to ``part`` what is missing, as far as the connection carries."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        done = _size(part)
        if done > file.size:
            part.unlink()
            done = 0
        url = hf_hub_url(file.repo, file.path, repo_type="dataset", revision=file.commit, endpoint=self._api.endpoint)
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if done:
            headers["Range"] = f"bytes={done}-"
        with (
            _explained(file.repo),
            get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=60) as response,
        ):
            hf_raise_for_status(response)
            resumed = done > 0 and response.status_code == 206
            if done and not resumed:
                advance(-done)
            with part.open("ab" if resumed else "wb") as target:
                for chunk in response.iter_bytes():
                    target.write(chunk)
                    advance(len(chunk))


def mismatch(file: RemoteFile, path: Path) -> str | None:
    """Say what is wrong with the copy of ``file`` at ``path``; None if it is the same."""
    if _size(path) != file.size:
        return f"has {_size(path)} bytes instead of {file.size}"
    found, expected = (file_digest(path), file.sha256) if file.sha256 else (_git_digest(path), file.git)
    return None if found == expected else f"has the digest {found[:12]} instead of {expected[:12]}"


def _git_digest(path: Path) -> str:
    """Git's object id of a file."""
    digest = hashlib.sha1(b"blob %d\0" % _size(path), usedforsecurity=False)
    with open_bytes(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@contextmanager
def _explained(repo: str) -> Iterator[None]:
    """Turns what goes wrong on the way to the Hub into one line."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403, 404):
            raise NoAccessError(f"the Hub does not show {repo} (HTTP {status}): it is not public, or not there") from None
        raise HarnessError(
            f"the Hub answered HTTP {status} for {repo}; run the same command again later: it goes on where it stopped"
        ) from None
    except (httpx2.HTTPError, ConnectionError) as error:
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise HarnessError(
            f"the transfer of {repo} failed ({reason}); run the same command again when the network is there: it goes on where it stopped"
        ) from None


class NoAccessError(HarnessError):
    """A repository or revision that this user cannot see."""
