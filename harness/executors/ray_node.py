"""What runs on the machines of a Ray cluster: a look at each, and calls.

What goes wrong comes back as a value with the machine's name, so that the driver knows where it was. A process of Ray
plays one call after the other; what it needs for that it makes once.
"""

import fcntl
import os
import pickle
import platform
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import ray

from harness import machine
from harness.calls import Arena
from harness.dataset import LabelSpace
from harness.depot import CodeLostError, Depot
from harness.errors import InfrastructureError, StoreDamagedError, UserError
from harness.executors.cores import own_folder, take_cores
from harness.executors.marks import MARKS, make_mark, sweep_marks
from harness.executors.ray_room import Report
from harness.objects import OWNER, folder_of, open_objects
from harness.records import Call, Outcome, Slot
from harness.sandbox import Sandbox, Setting, open_sandbox
from harness.trees import remove_tree
from harness.weights import Weights, rewritten

VARIABLE = "HARNESS_NODE_FOLDER"
DEFAULT_FOLDER = "~/.cache/adversarial-harness/node"

LOOK_SECONDS = 0.2
"""How soon a call that Ray cancels notices it."""

Made = TypeVar("Made")


class ImageMissingError(InfrastructureError):
    """This machine has not what the call runs in, and no registry gave it; an archive would do."""


@dataclass(frozen=True)
class Kit:
    """What a machine needs of one player besides its calls.

    code: name of its folder in a depot. tree: what that is made from (see `Depot.share_code`), "" where it is there.
    images: names of its container image in registries.
    """

    code: str
    tree: str
    images: tuple[str, ...]
    weights: tuple[Weights, ...]


@dataclass(frozen=True)
class Orders:
    """What is the same for all calls of a run.

    token: a random name of this run. store: the identity of the store. home: the store's folder, where this machine is
    the driver's own. objects: their place. probe: an object. environment: what all players run in, where that is not
    an image. kits: by player.
    """

    token: str
    store: str
    home: Path | None
    objects: str
    probe: str
    sandbox: str
    environment: str | None
    runtime: str | None
    seccomp: str | None
    image_size: tuple[int, int]
    labels: LabelSpace
    kits: Mapping[str, Kit]


@dataclass(frozen=True)
class Reply:
    """What came of a call, and on which machine."""

    node: str
    host: str
    result: Outcome | Exception


def look(packed: bytes) -> Report:
    """Whether this machine can play what `packed`, pickled `Orders`, needs; leftovers of earlier runs are removed."""
    host = platform.node()
    orders: Orders = pickle.loads(packed)
    try:
        node = _node(orders)
        node.sandbox.check()
        if orders.environment and not node.sandbox.provide(orders.environment, (), None):
            return Report(host, "it has other packages than the driver; install the same, or use --sandbox docker")
        swept, answer = node.sweep(), node.answer(orders.probe)
    except (UserError, InfrastructureError, OSError) as error:
        return Report(host, str(error))
    return Report(host, None, answer, swept, machine.gpu_memory())


def play(orders: Orders, call: Call, archive: str) -> Reply:
    """One call. archive: the object that holds the image of its container, "" where none was asked for."""
    node, host = ray.get_runtime_context().get_node_id(), platform.node()
    try:
        return Reply(node, host, _aside(lambda stop: _node(orders).play(call, archive, stop)))
    except CodeLostError as error:  # which only the driver can make anew in its own store
        return Reply(node, host, error if orders.home else InfrastructureError(f"{host}: {error}"))
    except (ImageMissingError, StoreDamagedError) as error:
        return Reply(node, host, error)
    except RewrittenError as error:
        return Reply(node, host, UserError(str(error)) if orders.home else error)
    except (UserError, InfrastructureError, OSError) as error:
        return Reply(node, host, InfrastructureError(f"{host}: {error}"))


class RewrittenError(InfrastructureError):
    """The weights of a submission are not what they were when it was taken in."""


def _aside(act: Callable[[threading.Event], Made]) -> Made:
    """`act` in a thread of its own. Ray stops a task by an exception anywhere in its main thread; that sets the event,
    and `act` ends by itself, its clean-up included."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(act, stop)
        try:
            while not wait([ended], LOOK_SECONDS).done:
                pass
        finally:
            stop.set()
    return ended.result()


class Node:
    """This process on its machine: a depot that it shares with others, and a sandbox of its own."""

    def __init__(self, orders: Orders) -> None:
        """Raises: UserError, InfrastructureError or OSError where something is missing here."""
        _check_folder(orders.objects)
        machine.keep_freed_memory()
        self._orders = orders
        folder = orders.home or node_folder() / orders.store
        self._depot = Depot(folder, open_objects(orders.objects, folder / "objects"))
        self._id = ray.get_runtime_context().get_node_id()
        self._places = _places(self._id)
        self._mark = make_mark(folder / MARKS)
        self.sandbox = self._open(Path(self._mark.name).name)
        self._swept = 0
        self._sweep()  # this process may stand in for one that was lost, whose call would go on beside the others

    def _open(self, mark: str) -> Sandbox:
        orders = self._orders
        setting = Setting(mark, {}, runtime=orders.runtime, seccomp=orders.seccomp)
        return open_sandbox(orders.sandbox, setting)

    def sweep(self) -> int:
        """Clears away what the dead left here; how many things it was since this was last asked."""
        self._sweep()
        found, self._swept = self._swept, 0
        return found

    def _sweep(self) -> None:
        def sweep(mark: str) -> int:
            with closing(self._open(mark)) as sandbox:
                return sandbox.sweep()

        self._swept += sweep_marks(self._depot.path / MARKS, sweep) + self._depot.sweep()

    def answer(self, probe: str) -> str:
        """An object made of one that is read. Raises: InfrastructureError where objects do not travel both ways."""
        return self._depot.objects.add(self._depot.objects.read(probe) + self._id.encode())

    def play(self, call: Call, archive: str, stop: threading.Event) -> Outcome:
        kit, limits = self._orders.kits[call.unit.player], call.unit.limits
        self._provide(call.unit.container, kit, archive)
        here = replace(call, code=self._take_code(kit))
        weights = [one.within(here.code) for one in kit.weights]
        count = limits.cpus or 1
        orders = self._orders
        with (
            take_cores(self._cores_folder, machine.usable_cores(), count, self._places, stop) as cores,
            ThreadPoolExecutor(count, "pixels") as pixels,
            self._unchanged(here.code, weights),
        ):
            arena = Arena(self.sandbox, self._depot, orders.image_size, orders.labels, pixels)
            return arena.play(here, Slot(0, cores, _own_gpu()), stop)

    @property
    def _cores_folder(self) -> Path:
        """The same for all who play on this machine of the cluster, in whatever store."""
        return own_folder(Path("/tmp") / f"harness-cores-{os.geteuid()}") / self._id

    def _take_code(self, kit: Kit) -> Path:
        return self._depot.take_code(kit.tree, kit.code)

    @contextmanager
    def _unchanged(self, code: Path, weights: list[Weights]) -> Iterator[None]:
        """Looks at code and weights before and after; a copy that was spoilt here is made anew by the next call."""
        with self._depot.unharmed(code):
            self._look(code, weights)
            yield
        self._look(code, weights)

    def _look(self, code: Path, weights: list[Weights]) -> None:
        if changed := rewritten(weights):
            if self._orders.home is None:
                remove_tree(code)
            names = ", ".join(changed)
            raise RewrittenError(f"the weights {names} were rewritten during the run; run again, and it plays the new")

    def _provide(self, runtime: str, kit: Kit, archive: str) -> None:
        """Has the image here, once for all processes of this machine. Raises: ImageMissingError."""
        if self.sandbox.provide(runtime, (), None):
            return
        with (self._depot.path / "images.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if self.sandbox.provide(runtime, kit.images, None):
                return
            if not archive:
                raise ImageMissingError(f"the image {runtime} is not here")
            with self._depot.work_folder() as folder:
                self._depot.objects.link(archive, folder / "image.tar")
                if not self.sandbox.provide(runtime, (), folder / "image.tar"):
                    raise InfrastructureError(f"the image {runtime} is not what its archive {archive} gives")


def _check_folder(objects: str) -> None:
    """Raises: UserError where the place of the objects is a folder that this machine has not, or has of its own."""
    folder = folder_of(objects)
    if folder is not None and not (folder / OWNER).exists():
        raise UserError(f"it does not see the objects in {folder}; name a place that all machines reach: --objects")


def machines() -> list[dict[str, Any]]:
    """Those of the cluster that are alive, as Ray knows them."""
    api: Any = ray
    return [one for one in api.nodes() if one["Alive"]]


def _places(node: str) -> int:
    """For how many cores Ray gives out this machine."""
    return max(int(one["Resources"].get("CPU", 1)) for one in machines() if one["NodeID"] == node)


def _own_gpu() -> str | None:
    """The GPU that Ray gave this task."""
    ids = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    return str(ids[0]) if ids else None


def node_folder() -> Path:
    """Where a machine keeps what it needs again: $HARNESS_NODE_FOLDER, else its own in DEFAULT_FOLDER: machines may
    share their users' homes, and locks do not always hold between machines."""
    return Path(os.environ.get(VARIABLE) or f"{DEFAULT_FOLDER}/{platform.node()}").expanduser()


_known: dict[str, Node] = {}


def _node(orders: Orders) -> Node:
    """Made once in the life of a process, which plays for one run."""
    if orders.token not in _known:
        _known[orders.token] = Node(orders)
    return _known[orders.token]
