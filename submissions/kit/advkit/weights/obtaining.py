"""From the registry to the stored file: which sources may be taken, the download, its check, the import."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from advkit.errors import KitError
from advkit.weights.checkpoints import NO_TENSORFLOW, has_tensorflow
from advkit.weights.fetch import Download, Patience, SilentError, UnavailableError
from advkit.weights.importing import import_file
from advkit.weights.progress import shown
from advkit.weights.registry import TF_CHECKPOINT, Model, Registry, Source


@dataclass(frozen=True)
class Choice:
    """Which sources are taken: of one kind, or of all; and what stands in for a digest that nobody published.

    `command` is the one that the choice was made with, up to the names, for what is said.
    """

    kind: str | None = None
    sha256: str | None = None
    accept_unknown: bool = False
    command: str = "harness weights fetch"

    def sources(self, model: Model) -> tuple[Source, ...]:
        """In the registry's order: with `sha256` the one that has it, or else those of which none is known."""
        of_kind = tuple(source for source in model.sources if self.kind in (None, source.kind))
        if self.sha256:
            has_it = tuple(source for source in of_kind if source.sha256 == self.sha256)
            return has_it or tuple(source for source in of_kind if source.sha256 is None)
        return tuple(source for source in of_kind if source.sha256 or self.accept_unknown)

    def refusal(self, model: Model) -> str:
        """Why `sources` has none, and the command that would have; of no meaning where it has some."""
        of_kind = [source for source in model.sources if self.kind in (None, source.kind)]
        if not of_kind:
            kinds = ", ".join(dict.fromkeys(source.kind for source in model.sources))
            return f"{model.name}: has no source {self.kind}; there is {kinds}"
        if self.sha256:
            return f"{model.name}: its sources have other digests than {self.sha256}; leave out --sha256"
        lacks = of_kind[0].kind == TF_CHECKPOINT and not has_tensorflow()
        first = f"{NO_TENSORFLOW}; then" if lacks else "to take what the host sends"
        command = f"{self.command} {model.name} --accept-unknown-checksum"
        return f"{model.name}: no sha256 is known of {of_kind[0].url}, so nothing vouches for it; {first}: {command}"


@dataclass
class Fetcher:
    """Fetches weights into a folder, and does not ask a host again that did not answer."""

    registry: Registry
    folder: Path
    patience: Patience = field(default_factory=Patience)
    say: Callable[[str], None] = print
    _silent: set[str] = field(default_factory=set)

    def fetch(self, model: Model, choice: Choice) -> Path:
        """The stored weights, from the first source that can be had.

        Raises KitError where no source may be taken or can be had, where a file has another size or digest than it
        should, which removes it, and as `import_file` does.
        """
        faults: list[str] = []
        sources = choice.sources(model)
        if not sources:
            raise KitError(choice.refusal(model))
        for source in sources:
            try:
                return self._fetch(model, source, choice)
            except UnavailableError as error:
                faults.append(str(error))
        raise KitError("\n".join(faults))

    def _fetch(self, model: Model, source: Source, choice: Choice) -> Path:
        if source.kind == TF_CHECKPOINT and not has_tensorflow():
            raise UnavailableError(f"{model.name}: {NO_TENSORFLOW}")
        download = Download(self.folder, model.name, source, self.patience)
        with download.locked():
            self.say(f"{model.name}: {source.url}")
            self._download(download)
            digest = download.check(choice.sha256)
            if choice.sha256 is None and source.sha256 is None:
                self.say(f"{model.name}: sha256 {digest}, which nothing vouches for; compare it with another copy's")
            try:
                path = import_file(self.registry, model, download.part, self.folder, kind=source.kind, origin=source)
            except KitError:
                download.remove()
                raise
            download.remove()
            return path

    def _download(self, download: Download) -> None:
        host = urlsplit(download.source.url).netloc
        if host in self._silent:
            raise SilentError(download.how_else("it did not answer before"))
        try:
            with shown(download.name) as report:
                download.run(report)
        except SilentError:
            self._silent.add(host)
            raise
