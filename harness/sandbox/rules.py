"""What a sandbox is to withstand: a literal table of attempts, each with the rule that stands against it.

Every attempt is a program of its own in the folder `attempts`. It does no lasting harm where it succeeds: what it
takes is bounded, and what it changes is its own.
"""

from dataclasses import dataclass
from pathlib import Path

from harness.records import Verdict

PROGRAMS = Path(__file__).parent / "attempts"

GOT_OUT, NOT_TRIED = 10, 20
"""Exit codes by which an attempt says that it got out, or that it could not be made here; see attempts/report.py."""

RESOURCES, REACHING_OUT = "resources", "reaching out"

NETWORK = "the network is the caller's"
FILES = "it reads and writes what the caller may"
PROCESSES = "it sees the caller's processes, and is the same user"
RIGHTS = "it has the caller's rights"
KERNEL = "nothing stands between it and the kernel"
CORES = "it may choose other cores again"
SHARED = "the memory of the machine is not divided"


@dataclass(frozen=True)
class Attempt:
    """One hostile program. rule: what stands against it, in plain words.

    ends: verdicts by which the sandbox may end it. unpromised: why a sandbox that does not isolate promises
    nothing here, empty where it does. seconds: the wall-time limit. program: where it is not called like the attempt.
    wanted: the secret that it looks for. calls: how often it is called.
    """

    name: str
    group: str
    rule: str
    unpromised: str = ""
    ends: tuple[Verdict, ...] = ()
    seconds: float = 60.0
    program: str = ""
    wanted: str = ""
    calls: int = 1

    @property
    def path(self) -> Path:
        return PROGRAMS / f"{self.program or self.name}.py"

    @property
    def words(self) -> str:
        """Its name for a person."""
        return self.name.replace("_", " ")

    def description(self) -> str:
        """What it attempts, in the words of its own docstring."""
        return self.path.read_text().split('"""')[1].split("\n")[0].strip()


def _resource(name: str, rule: str, *ends: Verdict, unpromised: str = "", seconds: float = 60.0) -> Attempt:
    return Attempt(name, RESOURCES, rule, unpromised, ends, seconds)


def _reach(name: str, rule: str, unpromised: str = "", program: str = "", wanted: str = "", calls: int = 1) -> Attempt:
    return Attempt(name, REACHING_OUT, rule, unpromised, (), 60.0, program, wanted, calls)


TIMEOUT, EXIT, BAD_OUTPUT, MEMORY = Verdict.TIMEOUT, Verdict.EXIT, Verdict.BAD_OUTPUT, Verdict.OUT_OF_MEMORY

ATTEMPTS = (
    _resource("fork_bomb", "no more processes than limits.pids", EXIT, MEMORY),
    _resource("memory_slow", "no more memory than limits.memory", MEMORY),
    _resource("memory_sudden", "no more memory than limits.memory, also at once", MEMORY),
    _resource("cpu_spin", "over when its time is", TIMEOUT, seconds=2.0),
    _resource("sleeper", "over when its time is, also where it does nothing", TIMEOUT, seconds=2.0),
    _resource("ignores_signals", "over when its time is, whatever it ignores", TIMEOUT, seconds=2.0),
    _resource("daemon", "what it starts ends with it"),
    _resource("fill_temporary", "temporary files are bounded", MEMORY, BAD_OUTPUT),
    _resource("fill_shared_memory", "files in memory count as memory", MEMORY, unpromised=SHARED),
    _resource("output_one_file", "no more on the disk than limits.output", BAD_OUTPUT),
    _resource("output_many_files", "no more on the disk than limits.output, empty files counted", BAD_OUTPUT),
    _resource("output_sparse", "no file larger than limits.output"),
    _resource("output_deleted", "deleted files count while they are open", BAD_OUTPUT),
    _resource("output_mapped", "deleted files count while they are mapped", BAD_OUTPUT),
    _resource("stdout_flood", "what it prints is cut"),
    _resource("open_files", "a bounded number of open files"),
    _resource("core_dump", "a crash writes no memory to the disk"),
    _resource("other_cores", "the cores of its slot and no others", unpromised=CORES),
    _resource("priority", "served like everybody else", unpromised=RIGHTS),
    _resource("raise_limits", "its limits stay", unpromised=RIGHTS),
    _reach("descriptors", "it inherits no open file"),
    _reach("terminal", "it has no terminal"),
    _reach("network_loopback", "nothing of the host's can be reached", NETWORK),
    _reach("network_address", "nothing in the world can be reached", NETWORK),
    _reach("network_name", "no name is known", NETWORK),
    _reach("network_metadata", "no credentials of a cloud machine", NETWORK),
    _reach("network_interfaces", "no interface but its own loopback", NETWORK),
    _reach("abstract_socket", "no socket of the host", NETWORK),
    _reach("engine_socket", "no socket of the engine", FILES),
    _reach("mounts", "it cannot mount", RIGHTS),
    _reach("namespaces", "no namespaces of its own", RIGHTS),
    _reach("keyrings", "they are closed to it", KERNEL),
    _reach("kernel_calls", "no system call for owners of the machine", KERNEL),
    _reach("kernel_files", "no switch and no memory of the kernel", RIGHTS),
    _reach("devices", "no device of the host", RIGHTS),
    _reach("make_devices", "no device of its own making", RIGHTS),
    _reach("setuid", "no program makes it root", RIGHTS),
    _reach("user", "it is not root", RIGHTS, program="privileges"),
    _reach("capabilities", "none, and none to be had", RIGHTS, program="privileges"),
    _reach("no_new_privileges", "no program gets it any", RIGHTS, program="privileges"),
    _reach("call_filter", "system calls are filtered", KERNEL, program="privileges"),
    _reach("ptrace", "no hold on the harness", PROCESSES),
    _reach("see_processes", "no process but its own", PROCESSES),
    _reach("environment", "nothing of the caller's environment"),
    _reach("environment_of_others", "nothing of anybody's environment", PROCESSES),
    _reach("labels", "no label and no target to be found", FILES, program="search", wanted="labels"),
    _reach("rival_files", "no other submission to be found", FILES, program="search", wanted="code"),
    _reach("rival_output", "no other player's output to be found", FILES, program="search", wanted="rival"),
    _reach("next_call", "nothing is left for its own next call", calls=2),
    _reach("write_code", "what was handed in stays as it is"),
    _reach("write_inputs", "its input cannot be changed", FILES),
    _reach("write_root", "no folder of the root file system can be written to", FILES),
)
