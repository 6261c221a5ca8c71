"""What of a round is known already, and the agenda of what is left of it."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from harness.plan import Player
from harness.round import Round
from harness.rows import Numbers
from harness.schedule import Agenda, AttackTask
from harness.store import Store

DIGEST_BYTES = 32


def known_attack_calls(round_: Round, store: Store) -> dict[str, Numbers]:
    """What is known of the round's attack calls: key -> images in the order of the batch, where each that was made is
    still there.
    """
    there = _images_there(store)
    made = store.index.made(round_.unit_keys())
    return {key: rows["image"].copy() for key, rows in made if there[rows["image"]].all()}


def _images_there(store: Store) -> npt.NDArray[np.bool_]:
    """By the image's number, whether its object is in the store.

    There may be millions of either, in no order: those with one first byte are compared at a time.
    """
    there = np.zeros(store.index.last_image + 1, dtype=np.bool_)
    objects = [bytearray() for _ in range(256)]
    for digest in store.objects.digests():
        value = bytes.fromhex(digest)
        objects[value[0]] += value
    for first, values in enumerate(objects):
        numbers = store.index.numbers_from(first)
        found = (bytes(values[start : start + DIGEST_BYTES]) for start in range(0, len(values), DIGEST_BYTES))
        there[[numbers[value] for value in found if value in numbers]] = True
    return there


def make_agenda(
    round_: Round, store: Store, attacks: Sequence[Player], defenses: Sequence[Player], *, all_versions: bool
) -> Agenda:
    """Attack calls without an outcome, and for each of these different defenses the images that it has not labelled.

    attacks: in the order of the round.
    """
    seeds = [player.seed for player in defenses]
    agenda = Agenda(len(round_.images), round_.batch_size, len(attacks), seeds, all_versions=all_versions)
    for number, player in enumerate(defenses):
        agenda.know(number, store.index.answered(player.key))
    clean = store.index.add_images(image.clean for image in round_.images)
    agenda.offer(np.arange(len(clean)), clean)
    made, planned = known_attack_calls(round_, store), set()
    for _, tasks in groupby(_attack_tasks(round_), lambda one: (one[1].attack, one[1].epsilon)):
        pictures, images = [clean[:0]], [clean[:0]]
        for key, task in tasks:
            if key in made:
                pictures.append(np.asarray(task.pictures))
                images.append(made[key])
            elif key not in planned:  # two names may stand for one and the same attack; it is called once
                planned.add(key)
                agenda.add_attack(task)
        agenda.offer(np.concatenate(pictures), np.concatenate(images))
    return agenda


def _attack_tasks(round_: Round) -> Iterator[tuple[str, AttackTask]]:
    """Every attack call of the round, with its key."""
    pictures, size = len(round_.images), round_.batch_size
    for attack, entry in enumerate(round_.attacks):
        for epsilon, keys in enumerate(entry.units):
            for batch, key in enumerate(keys):
                yield key, AttackTask(attack, epsilon, batch, range(batch * size, min((batch + 1) * size, pictures)))
