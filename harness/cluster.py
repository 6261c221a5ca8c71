"""Machines that somebody may rent, as `harness plan --cluster` is told of them, and how many calls find room there."""

from typing import Any

from pydantic import Field

from harness.errors import UserError
from harness.records import Limits
from harness.schema import Bytes, Schema, validate
from harness.simulation import Room


class Cluster(Schema):
    """Machines that are all alike. gpus, cpus, memory: of each; gpu_memory: of each GPU; memory in bytes.

    price: for one machine and hour, in whatever it is paid with.
    """

    nodes: int = Field(ge=1, strict=False)
    gpus: int = Field(0, ge=0, strict=False)
    cpus: int | None = Field(None, ge=1, strict=False)
    memory: Bytes | None = Field(None, ge=1)
    gpu_memory: Bytes | None = Field(None, ge=1)
    price: float | None = Field(None, ge=0, allow_inf_nan=False, strict=False)


def read_cluster(text: str) -> Cluster:
    """`nodes=32,gpus=8,price=20` as a Cluster. Raises: UserError with a line for each fault."""
    data: dict[str, Any] = {}
    for part in text.split(","):
        key, given, value = part.partition("=")
        if not given or key.strip() in data:
            raise UserError(f"--cluster: {part!r} is no KEY=VALUE, or a key twice; say it as nodes=4,gpus=8,cpus=64")
        data[key.strip()] = value.strip()
    return validate(Cluster, data, "--cluster")


def make_room(cluster: Cluster, limits: Limits) -> Room:
    """How many calls a cluster plays side by side. Raises: UserError where one call does not fit any machine."""
    cores = limits.cpus or 1
    per_gpu = _fitting("limits.gpu_memory", limits.gpu_memory, "a GPU", cluster.gpu_memory) or 1
    gpus = cluster.gpus * per_gpu
    fits = [
        _fitting("limits.cpus", cores, "a machine", cluster.cpus),
        _fitting("limits.memory", limits.memory, "a machine", cluster.memory),
    ]
    if cluster.cpus is None and not gpus:
        raise UserError("--cluster: without GPUs it is cores that calls wait for; add cpus=N, those of one machine")
    slots = min(one for one in (*fits, gpus if cluster.cpus is None else None) if one is not None)
    return Room(cluster.nodes * slots, cluster.nodes * min(gpus, slots))


def _fitting(key: str, asked: int | None, where: str, has: int | None) -> int | None:
    """How many calls fit by one kind of resource; None where nothing is said of it."""
    if asked is None or has is None:
        return None
    if asked > has:
        amounts = [f"{one} cores" if "cpus" in key else f"{one >> 20} MiB" for one in (asked, has)]
        said = f"{key}: a call asks for {amounts[0]}, {where} of the cluster has {amounts[1]}"
        raise UserError(f"{said}; name a larger one or lower it")
    return has // asked
