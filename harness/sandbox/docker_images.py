"""Which container image a submission runs in: built, found or pulled, off the clock, and pinned by its id.

An image that was built is found again by the digest of its context in the store's own books, never by a name or
label in the engine: any Dockerfile can set those.
"""

import os
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound
from docker.utils import exclude_paths

from harness.digest import digest_files
from harness.errors import InfrastructureError, UserError
from harness.sandbox import Setting
from harness.submission import Submission

BUILD_ARGUMENTS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
"""Passed from the environment to the builds of the organiser's own images, where they are set."""

BUILD_SECONDS = 30 * 60
BUILD_MEMORY = 8 << 30
"""Most that the build of a participant's Dockerfile may take; the organiser's own have no limit."""

PIECE_BYTES = 2 << 20
"""Of an archive, that are in memory at one time."""

Network = str | None


class Images:
    """The images of one engine, as far as submissions need them."""

    def __init__(self, engine: docker.DockerClient, setting: Setting) -> None:
        self._engine = engine
        self._setting = setting

    def image_of(self, submission: Submission, use_gpu: bool) -> str:
        """The id of the image; what the organiser says of its name stands over what the submission brings.

        Raises: UserError where it is not to be had.
        """
        name = submission.container(use_gpu)
        if name in self._setting.images:
            return self._build(self._setting.images[name], name, name)
        if (submission.folder / "Dockerfile").exists():
            return self._build(submission.folder, f"submission {submission.name}", None)
        return self._find_or_pull(name, submission)

    def names(self, image: str) -> tuple[str, ...]:
        """What an image that was pulled, or pushed, is called in registries: each with its digest there."""
        return tuple(self._engine.images.get(image).attrs.get("RepoDigests") or ())

    def pack(self, image: str, archive: Path) -> None:
        """Writes it as `docker save` does."""
        with archive.open("wb") as file:
            for piece in self._engine.images.get(image).save(chunk_size=PIECE_BYTES):
                file.write(piece)

    def provide(self, image: str, names: Sequence[str], archive: Path | None) -> bool:
        """Whether the image of this id is here, after it was pulled by one of `names` or loaded, where it was not.

        An id is a digest of what is in the image: what has it is the same image, wherever it came from.
        """
        if self._has(image):
            return True
        for name in names:
            with suppress(APIError):  # a registry that this machine does not reach
                self._engine.images.pull(*_split_tag(name))
            if self._has(image):
                return True
        if archive is not None:
            with archive.open("rb") as file:
                self._engine.images.load(file)
        return self._has(image)

    def _has(self, image: str) -> bool:
        try:
            return str(self._engine.images.get(image).id) == image
        except ImageNotFound:
            return False

    def _build(self, folder: Path, title: str, tag: str | None, above: tuple[str, ...] = ()) -> str:
        """The image that `folder` builds. `tag` is None for a participant's: nobody else can name that image.

        above: the titles of the images that wait for this one.
        """
        if not (folder / "Dockerfile").is_file():
            raise UserError(f"{folder}: has no Dockerfile to build {title} from; mend 'images' in the tournament file")
        arguments = {key: os.environ[key] for key in BUILD_ARGUMENTS if tag and key in os.environ}
        context = _digest_context(folder, arguments | self._bases(folder, (*above, title)))
        known = self._setting.built.get(context)
        if known is None or not self._is_there(known, tag):
            self._setting.say(f"building the image of {title} from {folder} (off the clock)")
            known = self._send(folder, tag, arguments)
            self._setting.built[context] = known
        return known

    def _bases(self, folder: Path, above: tuple[str, ...]) -> dict[str, str]:
        """Those of the organiser's images that the Dockerfile of `folder` stands on, built first: name -> id."""
        named = _names_in(folder / "Dockerfile") & self._setting.images.keys()
        if circle := sorted(named.intersection(above)):
            chain = " > ".join([*above[above.index(circle[0]) :], circle[0]])
            raise UserError(f"{folder}: the images {chain} stand on each other; mend FROM and ARG in their Dockerfiles")
        return {name: self._build(self._setting.images[name], name, name, above) for name in sorted(named)}

    def _is_there(self, image: str, tag: str | None) -> bool:
        """Whether an earlier build's image is still there; then `tag` names it again, whatever it names by now."""
        try:
            found = self._engine.images.get(image)
        except ImageNotFound:
            return False
        if tag:
            found.tag(*_split_tag(tag))
        return str(found.id) == image

    def _send(self, folder: Path, tag: str | None, arguments: Mapping[str, str]) -> str:
        limits: Any = None if tag else {"memory": BUILD_MEMORY, "memswap": BUILD_MEMORY}
        network = os.environ.get("HARNESS_BUILD_NETWORK") if tag else None
        deadline = None if tag else time.monotonic() + BUILD_SECONDS
        stream = self._engine.api.build(
            path=str(folder), tag=tag, rm=True, forcerm=True, buildargs=dict(arguments), network_mode=network,
            container_limits=limits, decode=True, timeout=BUILD_SECONDS,
        )  # fmt: skip
        image, said = "", [""]
        try:
            for line in stream:
                image = _built_image(line) or image
                said = [*said[-20:], str(line.get("stream") or line.get("error") or "").strip()]
                if "error" in line:
                    raise UserError(f"{folder}: its Dockerfile does not build: {_end(said)}; mend it or leave it out")
                if deadline and time.monotonic() > deadline:
                    raise UserError(f"{folder}: its Dockerfile builds for more than {BUILD_SECONDS} s; leave it out")
        finally:
            stream.close()  # the engine gives up a build whose reader is gone
        if not image:
            raise InfrastructureError(f"the engine built {folder} and named no image: {_end(said)}")
        return image

    def _find_or_pull(self, name: str, submission: Submission) -> str:
        try:
            found = self._engine.images.get(name)
        except ImageNotFound:
            return self._pull(name, submission)
        if _canonical(name) not in {*(found.attrs["RepoTags"] or ()), *(found.attrs["RepoDigests"] or ())}:
            raise UserError(
                f"{submission.name}: its container {name} is the id of an image, not a name; "
                "give the name that the image is published under"
            )
        return str(found.id)

    def _pull(self, name: str, submission: Submission) -> str:
        self._setting.say(f"pulling the image {name} (off the clock)")
        try:
            return str(self._engine.images.pull(*_split_tag(name)).id)
        except APIError as error:
            raise UserError(
                f"{submission.name}: its container image {name} is neither here nor to be pulled "
                f"({error.explanation or error}); build or load it, or name its folder under 'images'"
            ) from None


def _built_image(line: Mapping[str, Any]) -> str | None:
    aux = line.get("aux")
    return str(aux["ID"]) if isinstance(aux, dict) and "ID" in aux else None


def _end(said: list[str]) -> str:
    return " | ".join([line for line in said if line][-3:])


def _names_in(dockerfile: Path) -> set[str]:
    """The words of the lines that can name a base image: not those of a comment, or of what is run."""
    lines = dockerfile.read_text(errors="replace").splitlines()
    joined = re.sub(r"\\\s*\n", " ", "\n".join(line for line in lines if not line.lstrip().startswith("#")))
    wanted = re.findall(r"^\s*(?:FROM|ARG|COPY)\s(.*)", joined, re.IGNORECASE | re.MULTILINE)
    return {word for line in wanted for word in re.split(r"[\s=\"']+", line)}


def _digest_context(folder: Path, about: Mapping[str, str]) -> str:
    """The digest of what a build sends to the engine: the folder without what `.dockerignore` names."""
    ignore = folder / ".dockerignore"
    lines = ignore.read_text().splitlines() if ignore.exists() else []
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    names = sorted(exclude_paths(str(folder), patterns))
    files = [(name, folder / name) for name in names if (folder / name).is_file()]
    return digest_files("context", dict(about), files)


def _split_tag(name: str) -> tuple[str, str]:
    """Pulling without a tag would fetch every tag there is."""
    if "@" in name:
        repository, _, digest = name.partition("@")
        return repository, digest
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, "latest")


def _canonical(name: str) -> str:
    """A name as the engine lists it: with its tag, without the default registry."""
    repository, tag = _split_tag(name)
    repository = repository.removeprefix("docker.io/").removeprefix("library/")
    return f"{repository}{'@' if '@' in name else ':'}{tag}"
