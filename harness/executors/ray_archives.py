"""Container images that machines of a cluster ask for: each is brought to the objects once, when the first one asks."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from harness.depot import Depot
from harness.sandbox import Sandbox


class Archives:
    """Images of the driver's engine as objects. They are written aside, one at a time: they are large."""

    def __init__(self, sandbox: Sandbox, depot: Depot, say: Callable[[str], None]) -> None:
        self._sandbox, self._depot, self._say = sandbox, depot, say
        self._pool = ThreadPoolExecutor(1, "archives")
        self._made: dict[str, Future[str]] = {}

    def ask(self, runtime: str) -> None:
        """Begins to write one, where nobody asked for it yet, or where that failed."""
        made = self._made.get(runtime)
        if made is None or (made.done() and made.exception()):
            self._say(f"bringing the image {runtime.split()[0]} to the objects, for machines that have it not")
            self._made[runtime] = self._pool.submit(self._make, runtime)

    def _make(self, runtime: str) -> str:
        with self._depot.work_folder() as folder:
            self._sandbox.pack(runtime, folder / "image.tar")
            return self._depot.objects.add_file(folder / "image.tar")

    def is_awaited(self, runtime: str) -> bool:
        return runtime in self._made and not self._made[runtime].done()

    def find(self, runtime: str) -> str:
        """The object that holds it, "" where there is none."""
        made = self._made.get(runtime)
        return made.result() if made is not None and made.done() and not made.exception() else ""

    def failure(self, runtime: str) -> BaseException | None:
        """What kept it from being written."""
        made = self._made.get(runtime)
        return made.exception() if made is not None and made.done() else None

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
