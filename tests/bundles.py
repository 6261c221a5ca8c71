"""Evidence that a run could have left behind, made up in memory, and bundles of it; for tests of publishing."""

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
from helpers import make_audits, make_round, score_table, tables
from hypothesis import strategies as st

from harness.digest import digest_bytes, digest_file
from harness.index import CallRecord
from harness.publish import bundle
from harness.publish.evidence import Evidence
from harness.publish.folder import write_site_list
from harness.publish.gallery import EMPTY
from harness.publish.manifest import plain_files
from harness.publish.provenance import published_provenance
from harness.publish.similarity import Similarity
from harness.publish.site import render_overview
from harness.records import Limits, Role, Verdict
from harness.scoring import NO_ANSWER, UNKNOWN


def digest_of(text):
    return digest_bytes(text.encode())


def hex_round(table, batch_size=None):
    """`make_round` with digests where a run has them."""
    round_ = make_round(table, batch_size)
    images = (replace(one, source=digest_of(one.source), clean=digest_of(one.clean)) for one in round_.images)
    attacks = (
        replace(
            one,
            submission=digest_of(one.submission),
            player=digest_of(one.player),
            units=tuple(tuple(map(digest_of, units)) for units in one.units),
        )
        for one in round_.attacks
    )
    defenses = (
        replace(one, submission=digest_of(one.submission), player=digest_of(one.player)) for one in round_.defenses
    )
    return replace(round_, store="", images=tuple(images), attacks=tuple(attacks), defenses=tuple(defenses))


def make_evidence(table, *, batch_size=None, seed=0, similarity=True, authors=("A. Author",)):
    """What `table` could have come of: a stand-in has the clean image's answers, and no image leaves its budget."""
    round_, audits = hex_round(table, batch_size), make_audits(table, seed)
    for place in np.ndindex(*table.valid.shape):
        attack, epsilon, image = place
        audits.digests[place] = digest_of(f"image {place}")
        audits.measures["linf"][place] = round_.budgets[epsilon][0] * table.valid[place]
        if not table.valid[place]:
            audits.digests[place] = round_.images[image].clean
            table.labels[attack, epsilon, :, image] = table.clean[:, image]
    found = make_similarity(round_, seed) if similarity and round_.attacks else None
    return Evidence(round_, table, audits, make_ledger(round_), make_provenance(round_, authors), found)


def make_similarity(round_, seed=0):
    changes = np.random.default_rng(seed).integers(-9, 9, (len(round_.images), len(round_.attacks), 5))
    names = tuple(attack.name for attack in round_.attacks)
    ids = tuple(image.id for image in round_.images)
    return Similarity(names, round_.epsilons[0], ids, np.einsum("mad,mbd->mab", changes, changes))


def make_ledger(round_):
    """The first call of each attack; the first of all failed."""
    return tuple(
        CallRecord(
            key=attack.units[0][0],
            role=Role.TARGETED_ATTACK if attack.targeted else Role.ATTACK,
            player=attack.player,
            label=f"{attack.name} batch 1",
            verdict=Verdict.OK if number else Verdict.EXIT,
            exit_code=0 if number else 7,
            seconds=1.25 + number,
            peak_memory=(5 + number) << 20,
            images=len(round_.images),
            faults={} if number else {"missing": 1},
            unknown_names=0,
            log="" if number else "the second last line\nthe last line",
            finished="2020-01-01T00:00:00+00:00",
        )
        for number, attack in enumerate(round_.attacks)
    )


def make_provenance(round_, authors=("A. Author",)):
    kinds = [("targeted_attack" if one.targeted else "attack", one) for one in round_.attacks]
    kinds += [("defense", one) for one in round_.defenses]
    return published_provenance({
        "began": "2020-01-01T00:00:00+00:00",
        "seconds": 1.5,
        "harness": "0.1.0",
        "machine": {"host": "secret", "system": "Linux-6.1-secret", "python": "3.11.0", "cores": 2, "memory": 1 << 30},
        "packages": {"numpy": "2.0.0"},
        "sandbox": "process",
        "slots": [{"cores": [0], "gpu": "GPU-secret"}],
        "limits": asdict(Limits()),
        "dataset": {"name": round_.dataset, "description": "", "source": "", "licence": "CC0"},
        "submissions": [
            {
                "name": one.name,
                "type": kind,
                "digest": one.submission,
                "container": "python:3",
                "authors": list(authors),
                "description": f"About {one.name}.",
                "url": "https://example.org/paper",
            }
            for kind, one in kinds
        ],
    })  # fmt: skip


@st.composite
def evidences(draw):
    """Any evidence of a small round, unknown and missing answers included."""
    table = draw(tables(labels=st.sampled_from([UNKNOWN, NO_ANSWER, 0, 1, 2, 3])))
    batch_size, similarity = draw(st.integers(1, 4)), draw(st.booleans())
    return make_evidence(table, batch_size=batch_size, seed=draw(st.integers(0, 9)), similarity=similarity)


def example(seed=0):
    """Two attacks and a targeted one, two defenses, one budget, four images, all answers there."""
    generator = np.random.default_rng(seed)
    labels, clean = generator.integers(1, 4, (3, 1, 2, 4)), generator.integers(1, 3, (2, 4))
    valid = np.ones((3, 1, 4), dtype=bool)
    valid[0, 0, 0] = False
    table = score_table(labels, valid=valid, clean=clean, true=[1, 1, 2, 2], target=[3, 3, 3, 3], untargeted=2)
    return make_evidence(table, seed=seed)


def write_site(folder, *all_evidence):
    """A site as `harness publish` writes it, of evidence without a store."""
    silent = [bundle.write_bundle(one, EMPTY, folder / one.round.tournament, lambda line: None) for one in all_evidence]
    render_overview(silent, folder)
    write_site_list(folder)
    return folder


def adapt(folder):
    """Makes the manifest of a bundle fit its files, as who cheats would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {
        name: {"sha256": digest_file(file), "bytes": file.stat().st_size} for name, file in plain_files(folder)
    }
    path.write_text(json.dumps(manifest, indent=1) + "\n")


def remember_drawings(monkeypatch, folder):
    """Figures are drawn once for each board and report: they are a function of these, and take seconds."""
    real = bundle.draw
    drawn = {}

    def draw(evidence, board, report, to):
        key = digest_of(json.dumps([board, report], sort_keys=True))
        if key not in drawn:
            drawn[key] = real(evidence, board, report, folder / key)
        shutil.copytree(folder / key, to, dirs_exist_ok=True)
        return drawn[key]

    monkeypatch.setattr(bundle, "draw", draw)


def same_arrays(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())


def differing(one, other):
    """The names of the parts in which two pieces of evidence differ."""
    found = [name for name in ("round", "ledger", "provenance") if getattr(one, name) != getattr(other, name)]
    for name in ("attacks", "untargeted", "defenses", "epsilons", "images"):
        found += [name] if getattr(one.table, name) != getattr(other.table, name) else []
    for name in ("labels", "valid", "clean", "true_labels", "target_classes"):
        found += [] if same_arrays(getattr(one.table, name), getattr(other.table, name)) else [name]
    for name, values in one.audits.measures.items():
        found += [] if same_arrays(values, other.audits.measures[name]) else [name]
    found += [] if same_arrays(one.audits.digests, other.audits.digests) else ["digests"]
    found += [] if same_arrays(one.audits.faults, other.audits.faults) else ["faults"]
    return found + _similarity(one.similarity, other.similarity)


def _similarity(one, other):
    if one is None or other is None:
        return [] if one is other else ["similarity"]
    names = [name for name in ("attacks", "epsilon", "images") if getattr(one, name) != getattr(other, name)]
    return names + ([] if same_arrays(one.products, other.products) else ["products"])
