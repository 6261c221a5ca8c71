"""`harness plan --cluster` is what somebody rents machines by: it tells what was measured in this very store, says what
was not, and refuses what no machine could play before anything is made."""

import re

import pytest
import yaml
from helpers import ANSWER, COPY, write_dataset, write_submission

from harness.cli import main


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    write_dataset(folder / "data", 6)
    for number in range(2):
        write_submission(folder / "players" / f"copy{number}", program=f"{COPY}# {number}\n")
    write_submission(folder / "players" / "one", "defense", ANSWER % 1)
    keys = {
        "dataset": "data",
        "submissions": "players/*",
        "sandbox": "process",
        "trust_submissions": True,
        "batch_size": 3,
        "limits": {"seconds": 100},
        "output": "out",
    }
    (folder / "t.yaml").write_text(yaml.safe_dump(keys))
    return folder


@pytest.fixture(scope="module")
def tried(place):
    """The same with a store that has seen half of the pictures."""
    assert main(["run", str(place / "t.yaml"), "--limit", "3", "--output", str(place / "tried")]) == 0
    return place


def plan(place, capfd, output, *arguments):
    capfd.readouterr()
    code = main(["plan", str(place / "t.yaml"), "--output", str(place / output), *arguments])
    found = capfd.readouterr()
    return code, found.out + found.err


def test_without_a_cluster_nothing_is_foretold(place, capfd):
    code, said = plan(place, capfd, "untried")
    assert code == 0
    assert "makespan" not in said


def test_machines_that_are_described_need_not_be_there(place, capfd):
    """Before anything is paid for, there is no cluster at the address that the round will be played at."""
    text = (place / "t.yaml").read_text()
    (place / "ray.yaml").write_text(f"{text}executor: ray\nray_address: localhost:1\n")
    arguments = ["plan", str(place / "ray.yaml"), "--output", str(place / "untried")]
    assert main([*arguments, "--cluster", "nodes=3,cpus=2"]) == 0
    assert "cluster: 3 machines, 6 calls side by side" in capfd.readouterr().out
    assert main(arguments) == 1
    assert "localhost:1: nobody answers there" in capfd.readouterr().err


def test_where_nothing_was_measured_there_are_only_limits(place, capfd):
    code, said = plan(place, capfd, "untried", "--cluster", "nodes=1,cpus=2,price=3.6")
    assert code == 0
    assert "cluster: 1 machines, 2 calls side by side" in said
    # Four calls of attacks and six of the defense, 100 s each, on two slots.
    assert "makespan: at most 8 min 20 s, if every call takes its whole limit" in said
    assert "cost: at most 0.50, if every call takes its whole limit, at 3.6 for a machine and hour" in said
    assert "nobody of their type was measured: copy0, copy1, one; run with --limit 10" in said
    assert "held up" not in said


def test_what_was_measured_is_told_with_its_cost(tried, capfd):
    code, said = plan(tried, capfd, "tried", "--cluster", "nodes=2,cpus=4,price=1000")
    assert code == 0
    assert "cluster: 2 machines, 8 calls side by side" in said
    assert re.search(r"makespan: about \d+ s \(\d+ s to \d+ s\)", said)
    assert re.search(r"cost: about \d\.\d\d \(.* to .*\), at 1000 for a machine and hour", said)
    assert re.search(r"calls: \d+; held up by .*(copy0|copy1|one)", said)
    assert "not measured" not in said


def test_one_that_was_not_measured_is_named(tried, capfd):
    late = tried / "players" / "late"
    write_submission(late, program=COPY + "# late\n")
    try:
        _, said = plan(tried, capfd, "tried", "--cluster", "nodes=2,cpus=4")
    finally:
        for path in (late / "run.sh", late / "metadata.json"):
            path.unlink()
        late.rmdir()
    assert "not measured, and taken for the median of their type: late" in said
    assert "makespan: about" in said


def test_a_gpu_that_nothing_was_measured_on_is_said(tried, capfd):
    _, said = plan(tried, capfd, "tried", "--cluster", "nodes=1,gpus=4,cpus=8")
    assert "8 calls side by side, 4 of them on a GPU" in said
    assert "measured without a GPU, and reckoned so on one: copy0, copy1, one" in said
    _, said = plan(tried, capfd, "tried", "--cluster", "nodes=1,gpus=4,cpus=8", "--nogpu")
    assert "measured without" not in said


def test_when_all_is_known_it_takes_no_time(tried, capfd):
    assert main(["run", str(tried / "t.yaml"), "--output", str(tried / "tried")]) == 0
    _, said = plan(tried, capfd, "tried", "--cluster", "nodes=1,cpus=1,price=1")
    assert "makespan: about 0 s (0 s to 0 s)" in said
    assert "cost: about 0.00" in said
    assert "calls: 0; held up by nothing" in said


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ("nodes", "--cluster: 'nodes' is no KEY=VALUE"),
        ("gpus=1", "--cluster: nodes: required key is missing"),
        ("nodes=1,cores=2", "--cluster: cores: unknown key"),
        ("nodes=1", "--cluster: without GPUs it is cores that calls wait for; add cpus=N"),
        (
            "nodes=1,cpus=2,memory=1 GiB",
            "limits.memory: a call asks for 4096 MiB, a machine of the cluster has 1024 MiB",
        ),
    ],
)
def test_a_cluster_that_cannot_be_is_refused_before_anything_is_made(place, capfd, cluster, words):
    code, said = plan(place, capfd, "nowhere", "--cluster", cluster)
    assert code == 1
    assert said.startswith(f"harness: {words}")
    assert len(said.splitlines()) == 1
    assert not (place / "nowhere").exists()
