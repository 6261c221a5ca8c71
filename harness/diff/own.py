"""Whether a submission did the same in two runs where it was asked the same."""

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from harness.diff.match import Entrant, Positions, SharedCells
from harness.publish.evidence import Evidence
from harness.records import Verdict
from harness.scoring import UNKNOWN, Flags, Labels

Inputs = tuple[Positions, Positions]


@dataclass(frozen=True)
class Own:
    """compared: answers of a defense to the same canonical images, or adversarial images of an attack for the same
    picture and budget; changed: those that are not equal; by_chance: those of them where even the call, or for a
    defense the player, is the same, so that nothing but the submission can have made the difference.
    """

    compared: int
    changed: int
    by_chance: int

    def plain(self) -> dict[str, int]:
        return asdict(self)


def own_answers(before: Evidence, after: Evidence, old: Entrant, new: Entrant, inputs: Inputs) -> Own:
    """Of a defense; inputs: `shared_inputs` of the two runs."""
    first, second = _answers(before, old.position)[inputs[0]], _answers(after, new.position)[inputs[1]]
    known = (first != UNKNOWN) & (second != UNKNOWN)
    changed = int(np.count_nonzero(known & (first != second)))
    return Own(int(np.count_nonzero(known)), changed, changed if old.player == new.player else 0)


def shared_inputs(before: Evidence, after: Evidence) -> Inputs:
    """Where each canonical image that both runs have is among the answers of each, which are the clean ones first."""
    _, left, right = np.intersect1d(_digests(before), _digests(after), return_indices=True)
    return left, right


def _digests(evidence: Evidence) -> npt.NDArray[np.str_]:
    clean = [image.clean for image in evidence.round.images]
    return np.array([*clean, *evidence.audits.digests.ravel()], dtype=np.str_)


def _answers(evidence: Evidence, defense: int) -> Labels:
    """On the clean images, then on every attack's: int32, N + A*E*N long."""
    table = evidence.table
    return np.concatenate([table.clean[defense], table.labels[:, :, defense].ravel()])


def own_images(before: Evidence, after: Evidence, old: Entrant, new: Entrant, cells: SharedCells) -> Own:
    """Of an attack."""
    first, second = _written(before, old.position, cells.cells_before), _written(after, new.position, cells.cells_after)
    known = (first[0] != "") & (second[0] != "")
    changed = known & ((first[0] != second[0]) | (first[1] != second[1]))
    same_call = first[2] == second[2]
    return Own(*(int(np.count_nonzero(one)) for one in (known, changed, changed & same_call)))


def _written(
    evidence: Evidence, attack: int, cells: Positions
) -> tuple[npt.NDArray[np.object_], Flags, npt.NDArray[np.object_]]:
    """Digest, whether it was taken, and the key of the call: of each of C cells."""
    epsilon, image = cells
    units = evidence.round.attacks[attack].units
    keys = [units[one][number // evidence.round.batch_size] for one, number in zip(epsilon, image, strict=True)]
    audits, table = evidence.audits, evidence.table
    return audits.digests[attack, epsilon, image], table.valid[attack, epsilon, image], np.array(keys, dtype=object)


def failed_calls(evidence: Evidence, player: str) -> int | None:
    """How many of a player's calls did not end well; None where there is no ledger."""
    if not evidence.ledger:
        return None
    return sum(call.player == player and call.verdict is not Verdict.OK for call in evidence.ledger)
