"""What stands for a container image where there is none."""

import importlib.metadata
import site
import sys
from collections.abc import Sequence

from harness.digest import digest_local, digest_value

OWN_DISTRIBUTION = "adversarial-harness"


def environment_digest(folders: Sequence[str] = ()) -> str:
    """Stands for the container's digest: the Python version and every installed distribution.

    Installed is what lies in `folders`, by default those of this Python's packages: the path of this process is
    longer where a library (Ray) or the caller put something on it that no submission will find. Of a distribution
    that is installed from this machine, the files count too: they change under one version. Only the harness itself
    does not, which no submission uses.
    """
    found = list(importlib.metadata.distributions(path=list(folders or site.getsitepackages())))
    installed = {f"{item.name}=={item.version}" for item in found}
    local = {digest_local(item) for item in found if item.name != OWN_DISTRIBUTION}
    return "process:" + digest_value("environment", [sys.version, sorted(installed), sorted(filter(None, local))])
