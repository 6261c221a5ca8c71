"""Tournaments to publish: a tiny one that is really played, and a made-up one in which every word is hostile."""

from contextlib import closing
from dataclasses import replace

import numpy as np
from browser import MARK
from builders import first_pixel_dataset, play_file, rule_defense, write_attack, write_submission, write_tournament
from helpers import ANSWER, COPY, make_audits, make_round, score_table

from harness.images import write_png
from harness.index import CallRecord
from harness.leaderboard import build_leaderboard
from harness.publish.evidence import Evidence, collect
from harness.publish.gallery import make_thumbnails
from harness.publish.report import build_report
from harness.publish.site import Publication
from harness.records import Role, Verdict
from harness.round import Unavailable
from harness.store import Store

SCRIPT = f"window.{MARK}=1"
HOSTILE = f"""x"'><script>{SCRIPT}</script><img src=x onerror={SCRIPT}>{{{{7*7}}}}</title></pre><svg onload={SCRIPT}>"""
"""Text that runs, or closes what is around it, wherever it is not escaped."""

COMPLAINS = f"""#!/bin/sh
echo '<script>{SCRIPT}</script>' >&2
echo "</pre><img src=x onerror={SCRIPT}>" >&2
exit 7
"""


def first_pixel(pixels):
    return int(pixels[0, 0, 0] // 10)


def rounded_pixel(pixels):
    return int((pixels[0, 0, 0] + 3) // 10)


def brightest(pixels):
    return int(pixels.max() // 10)


def play_tiny(folder, **keys):
    """Plays 3 attacks, a targeted one and 6 defenses on 12 pictures at 2 budgets; the output folder."""
    field = folder / "submissions"
    first_pixel_dataset(folder / "dataset", count=12, size=(16, 16))
    about = {"authors": ["A. Author", "B. Author"], "description": "Adds noise.", "url": "https://example.org/noise"}
    write_attack(
        field / "noise",
        """
        for name in names:
            write(name, read(name) + np.random.default_rng(len(name)).integers(-epsilon, epsilon + 1, read(name).shape))
        """,
        **about,
    )
    write_attack(
        field / "aim",
        """
        for name in names:
            pixels = read(name)
            pixels[0, 0, 0] = 10 * int(wanted[name])
            write(name, pixels)
        """,
        "targeted_attack",
    )
    write_submission(field / "noop", COPY)
    write_submission(field / "crash", COMPLAINS)
    for rule in (first_pixel, rounded_pixel, brightest):
        rule_defense(field / rule.__name__, rule)
    for label in (1, 2, 3):
        write_submission(field / f"always {label}", ANSWER % label, "defense")
    write_tournament(folder / "tiny.yaml", epsilon=[4, 16], versions_per_call="all", **keys)
    play_file(folder / "tiny.yaml")
    return folder / "out"


def publication_of(output, to, slug="tiny", **more):
    """The publication of a finished run, its pictures written below `to`/`slug`."""
    with closing(Store(output / "store")) as store:
        evidence = collect(output, store)
        return publish_evidence(evidence, store, to, slug, **more)


def publish_evidence(evidence, store, to, slug, **more):
    gallery = make_thumbnails(evidence, store, to / slug)
    round_ = evidence.round
    board = build_leaderboard(round_, evidence.table, evidence.audits, round_.rules)
    return Publication(slug, evidence, board, build_report(evidence), gallery=gallery, **more)


def made_up(store, *, attacks=3, epsilons=2, defenses=3, images=7, size=(8, 6), seed=0, word=""):
    """The evidence of a round with random answers and pictures, whose every text ends in `word`."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(-1, 5, (attacks, epsilons, defenses, images))
    valid = generator.random((attacks, epsilons, images)) > 0.1
    clean = generator.integers(1, 3, (defenses, images))
    table = score_table(labels, valid=valid, clean=clean, untargeted=max(attacks - 1, 1))
    names = {key: tuple(f"{name}{word}" for name in getattr(table, key)) for key in ("attacks", "defenses", "images")}
    table = replace(table, **names)
    round_ = replace(make_round(table), image_size=size, tournament=f"made up{word}", dataset=f"pictures{word}")
    pixels = generator.integers(0, 256, (images, size[1], size[0], 3)).astype(np.uint8)
    digests = [store.objects.add(write_png(one)) for one in pixels]
    round_ = replace(
        round_, images=tuple(replace(one, clean=digest) for one, digest in zip(round_.images, digests, strict=True))
    )
    audits = make_audits(table, seed)
    for place in np.ndindex(*audits.digests.shape):
        change = generator.integers(-4, 5, pixels[0].shape)
        picture = np.clip(pixels[place[2]] + change * valid[place], 0, 255).astype(np.uint8)
        audits.digests[place] = store.objects.add(write_png(picture))
    return Evidence(round_, table, audits, (), {})


def hostile_evidence(store):
    """Evidence in which whatever a stranger writes is HOSTILE: names, ids, logs, descriptions, addresses, reasons."""
    evidence = made_up(store, word=HOSTILE)
    gone = Unavailable(f"gone{HOSTILE}", Role.DEFENSE, f"reason{HOSTILE}", f"remedy{HOSTILE}")
    round_ = replace(evidence.round, unavailable=(gone,))
    log = f"first\n{HOSTILE}\n\x1b[31mred\u202etxet"
    ledger = tuple(
        CallRecord(
            attack.units[0][0], Role.ATTACK, attack.player, f"label{HOSTILE}", Verdict.EXIT, 7, 1.5, 1 << 20, 7, {},
            0, log, "",
        )
        for attack in round_.attacks
    )  # fmt: skip
    addresses = ("javascript:" + SCRIPT, "https://example.org/" + HOSTILE, "data:text/html," + HOSTILE)
    players = [("attack", one.name) for one in round_.attacks[:-1]] + [("targeted_attack", round_.attacks[-1].name)]
    players += [("defense", one.name) for one in round_.defenses]
    submissions = [
        {
            "name": name, "type": role, "authors": [f"author{HOSTILE}"], "description": f"description{HOSTILE}",
            "url": addresses[number % len(addresses)], "container": f"container{HOSTILE}", "deterministic": False,
        }
        for number, (role, name) in enumerate(players)
    ]  # fmt: skip
    about = {"name": round_.dataset, "description": f"about{HOSTILE}", "source": HOSTILE, "licence": HOSTILE}
    provenance = {"submissions": submissions, "dataset": about}
    return replace(evidence, round=round_, ledger=ledger, provenance=provenance)
