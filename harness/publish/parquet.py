"""The Parquet tables of a round: every answer, every adversarial image, how alike attacks are; written, and read back.

Rows stand in one fixed order, which readers of ours rely on: attack, epsilon, defense, image, the clean images first.
Columns of text are kept as dictionaries, so that a name costs its bytes once.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from harness.assembly import AUDIT_COLUMNS, AttackAudits, AuditTable, image_budgets
from harness.atomic import atomic_path
from harness.errors import UserError
from harness.publish.similarity import MOST_IMAGES, Similarity
from harness.round import Round
from harness.scoring import NO_ANSWER, UNKNOWN, ScoreTable, let_go

PART = 1 << 20
"""Rows that are written at once, about; a part is one row group."""

MAX_ROWS = 200_000_000
"""More than twice the answers of 2017; a stranger's table of more is not read."""

MAX_CELL_BYTES = 100
"""Of a column that is read, before compression, on average; digests are the longest that there are."""

CLEAN = "clean"
"""What the clean images are called in the column `attack`."""

INT64 = pa.int64()


def write_table(parts: Iterable[pa.Table], path: Path) -> None:
    """In one step, and the same bytes for the same parts and version of pyarrow; readers see plain columns."""
    parts = iter(parts)
    first = next(parts)
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, first.schema, store_schema=False, compression="zstd") as writer,
    ):
        for part in itertools.chain([first], parts):
            writer.write_table(part)


def predictions_tables(round_: Round, table: ScoreTable, audits: AttackAudits) -> Iterator[pa.Table]:
    """Every answer, (1 + A x E) x D x N rows in parts. label: null for none; known: whether it was asked for."""
    attacks, epsilons, defenses, images = table.labels.shape
    budgets, clean = image_budgets(round_), np.array([[one.clean for one in round_.images]], dtype=object)
    whole = np.ones((1, images), dtype=bool)
    yield from _tables(table, _Blocks(table.clean[None], np.array([-1]), np.zeros((1, images)), whole, clean))
    for some in _groups(attacks, epsilons * defenses * images):
        labels = table.labels[some.start : some.stop].reshape(len(some) * epsilons, defenses, images)
        valid = table.valid[some.start : some.stop].reshape(-1, images)
        digests = np.concatenate([audits.digests_of(attack) for attack in some])
        attack = np.repeat(np.array(some), epsilons)
        yield from _tables(table, _Blocks(labels, attack, np.tile(budgets, (len(some), 1)), valid, digests))
        let_go(table.labels)


def _groups(attacks: int, rows: int) -> Iterator[range]:
    """As many attacks as make up a part, where each has so many rows."""
    step = max(1, PART // max(rows, 1))
    return (range(start, min(start + step, attacks)) for start in range(0, attacks, step))


@dataclass(frozen=True)
class _Blocks:
    """Answers to B versions of each image. labels: B x D x N. attack: B, -1 for none. The others: B x N."""

    labels: npt.NDArray[np.int32]
    attack: npt.NDArray[np.integer]
    budgets: npt.NDArray[np.number]
    valid: npt.NDArray[np.bool_]
    digests: npt.NDArray[np.object_]


def _tables(of: ScoreTable, blocks: _Blocks) -> Iterator[pa.Table]:
    words, codes = np.unique(blocks.digests, return_inverse=True)
    digests = _Codes(words.tolist(), codes.reshape(blocks.digests.shape))
    for rows, columns in _parts(*blocks.labels.shape):
        yield _table(of, blocks, digests, rows, columns)


def _parts(blocks: int, defenses: int, images: int) -> Iterator[tuple[range, range]]:
    """Blocks and defenses that are written at once, in the order of the rows: all, or some defenses of one block."""
    if blocks * defenses * images <= PART:
        yield range(blocks), range(defenses)
        return
    step = max(1, PART // images)
    for block in range(blocks):
        for first in range(0, defenses, step):
            yield range(block, block + 1), range(first, min(first + step, defenses))


@dataclass(frozen=True)
class _Codes:
    """words: without repetitions. codes: their places, B x N."""

    words: list[str]
    codes: npt.NDArray[np.integer]


def _table(of: ScoreTable, blocks: _Blocks, digests: _Codes, rows: range, columns: range) -> pa.Table:
    answers = blocks.labels[rows.start : rows.stop, columns.start : columns.stop].ravel()
    shape = len(rows), len(columns), len(of.images)
    block, column, image = (axis.ravel() for axis in np.indices(shape, dtype=np.int32))
    block += rows.start
    return pa.table({
        "attack": _words((CLEAN, *of.attacks), 1 + blocks.attack[block]),
        "targeted": pa.array((blocks.attack >= of.untargeted)[block]),
        "epsilon": pa.array(blocks.budgets[block, image].astype(np.int16)),
        "defense": _words(of.defenses, column + columns.start),
        "image": _words(of.images, image),
        "label": pa.array(answers, pa.int32(), mask=answers < 0),
        "true_label": pa.array(of.true_labels[image]),
        "target_class": pa.array(of.target_classes[image]),
        "valid": pa.array(blocks.valid[block, image]),
        "digest": _words(digests.words, digests.codes[block, image]),
        "known": pa.array(answers != UNKNOWN),
    })  # fmt: skip


def attack_images_tables(round_: Round, table: ScoreTable, audits: AttackAudits) -> Iterator[pa.Table]:
    """One row for each adversarial image, A x E x N: what was wrong with it, and how far it is from the clean one."""
    attacks, *shape = table.valid.shape
    budgets = image_budgets(round_)
    for some in _groups(attacks, shape[0] * shape[1]) if attacks else [range(0)]:
        attack, epsilon, image = (axis.ravel() for axis in np.indices((len(some), *shape), dtype=np.int32))
        measures = [audits.measures_of(number) for number in some]
        yield pa.table({
            "attack": _words(table.attacks, attack + some.start),
            "targeted": pa.array(attack + some.start >= table.untargeted),
            "epsilon": pa.array(budgets[epsilon, image]),
            "image": _words(table.images, image),
            "digest": _texts([audits.digests_of(number) for number in some]),
            "fault": _texts([audits.faults_of(number) for number in some]),
        } | {
            name: pa.array(np.array([one[name] for one in measures], dtype=np.float64).ravel())
            for name in AUDIT_COLUMNS
        })  # fmt: skip


def similarity_table(similarity: Similarity) -> pa.Table:
    """One row for each image and pair of attacks, each attack with itself included: M x A (A + 1) / 2 rows."""
    one, other = np.triu_indices(len(similarity.attacks))
    image = np.repeat(np.arange(len(similarity.images)), len(one))
    return pa.table({
        "one": _words(similarity.attacks, np.tile(one, len(similarity.images))),
        "other": _words(similarity.attacks, np.tile(other, len(similarity.images))),
        "epsilon": _words([similarity.epsilon], np.zeros_like(image)),
        "image": _words(similarity.images, image),
        "product": pa.array(similarity.products[:, one, other].ravel()),
    })  # fmt: skip


def _words(words: Sequence[str], codes: npt.NDArray[np.integer]) -> pa.Array:
    """words[codes], each different word once."""
    distinct = sorted(set(words))
    place = {word: number for number, word in enumerate(distinct)}
    codes = np.array([place[word] for word in words], dtype=np.int32)[codes] if words else codes.astype(np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(distinct, pa.string()))


def _texts(texts: Sequence[npt.NDArray[np.object_]]) -> pa.Array:
    return pa.array([text for part in texts for text in part.ravel().tolist()], pa.string()).dictionary_encode()


# --- reading what a stranger may have written


def read_predictions(path: Path, round_: Round) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """The answers on the clean images, D x N, and on the attacks', A x E x D x N. Raises: UserError."""
    inner = len(round_.defenses), len(round_.images)
    blocks = 1 + len(round_.attacks) * len(round_.epsilons)
    wanted = {"label": pa.int32(), "known": pa.bool_()}
    columns = _read(path, wanted, blocks * inner[0] * inner[1], nullable={"label"})
    label, known = columns["label"], columns["known"].to_numpy()
    answers = np.where(label.is_valid().to_numpy(), label.fill_null(0).to_numpy(), NO_ANSWER)
    space = round_.labels
    accepted = (answers >= space.first) & (answers <= space.last) | (answers == space.background)
    if not (accepted | (answers == NO_ANSWER)).all():
        raise UserError(f"{path}: holds labels outside of the label space; get the file again")
    labels = np.where(known, answers, UNKNOWN).astype(np.int32).reshape(blocks, *inner)
    return labels[0], labels[1:].reshape(len(round_.attacks), len(round_.epsilons), *inner)


def read_attack_images(path: Path, round_: Round) -> AuditTable:
    """The audits, A x E x N each. Raises: UserError."""
    shape = len(round_.attacks), len(round_.epsilons), len(round_.images)
    texts = {"digest": pa.string(), "fault": pa.string()}
    columns = _read(path, texts | dict.fromkeys(AUDIT_COLUMNS, pa.float64()), int(np.prod(shape)))
    measures = {name: columns[name].to_numpy().reshape(shape) for name in AUDIT_COLUMNS}
    if not all(np.isfinite(values).all() for values in measures.values()):
        raise UserError(f"{path}: holds measures that are no numbers; get the file again")
    digests, faults = (_objects(columns[name]).reshape(shape) for name in texts)
    return AuditTable(digests, faults, measures)


def read_similarity(path: Path, round_: Round) -> Similarity:
    """Raises: UserError."""
    names = tuple(attack.name for attack in round_.attacks)
    one, other = np.triu_indices(len(names))
    wanted = {"epsilon": pa.string(), "image": pa.string(), "product": INT64}
    columns = _read(path, wanted, None, most=MOST_IMAGES * len(one))
    rows = len(columns["product"])
    if (rows % len(one) if len(one) else rows) or (len(one) and not rows):
        raise UserError(f"{path}: has {rows} rows, not one for each image and pair of attacks; get the file again")
    count = rows // len(one) if len(one) else 0
    products = np.zeros((count, len(names), len(names)), dtype=np.int64)
    values = columns["product"].to_numpy().reshape(count, len(one))
    products[:, one, other] = products[:, other, one] = values
    epsilon = str(_objects(columns["epsilon"][:1])[0]) if rows else round_.epsilons[0]
    found = Similarity(names, epsilon, tuple(_objects(columns["image"])[:: max(len(one), 1)]), products)
    if epsilon not in round_.epsilons or not set(found.images) <= {image.id for image in round_.images}:
        raise UserError(f"{path}: is about another round; get the file again")
    if not _are_products(products, 3 * 255**2 * round_.image_size[0] * round_.image_size[1]):
        raise UserError(f"{path}: holds inner products of no vectors; get the file again")
    return found


def _are_products(products: npt.NDArray[np.int64], most: int) -> bool:
    """Whether squared lengths are 0 to `most`, and no product is more than those of the lengths."""
    squares = np.diagonal(products, axis1=1, axis2=2).astype(np.float64)
    lengths = np.sqrt(np.maximum(squares, 0))
    within = np.abs(products) <= lengths[:, :, None] * lengths[:, None, :] * (1 + 1e-9)
    return bool((squares >= 0).all() and (squares <= most).all() and within.all())


def _objects(column: pa.ChunkedArray) -> npt.NDArray[np.object_]:
    return np.array(column.to_pylist(), dtype=object)


def _read(
    path: Path,
    wanted: Mapping[str, pa.DataType],
    rows: int | None,
    *,
    most: int | None = None,
    nullable: frozenset[str] | set[str] = frozenset(),
) -> dict[str, pa.ChunkedArray]:
    """Columns of known types. rows: how many there must be; most: there may be (MAX_ROWS).

    Raises: UserError before anything large is read.
    """
    if path.is_symlink() or not path.is_file():
        raise UserError(f"{path}: is missing or no plain file; get the file again")
    try:
        with pq.ParquetFile(path) as file:
            promised = _check(path, file, wanted, rows, most)
            table = file.read(columns=list(wanted))
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as Parquet ({reason}); get the file again") from None
    empty = [name for name in wanted if name not in nullable and table[name].null_count]
    if empty or table.num_rows != promised:
        raise UserError(f"{path}: lacks values{' in the column ' + empty[0] if empty else ''}; get the file again")
    return {name: table[name] for name in wanted}


def _check(path: Path, file: Any, wanted: Mapping[str, pa.DataType], rows: int | None, most: int | None) -> int:
    """How many rows the table says it has."""
    about, schema = file.metadata, file.schema_arrow
    most = MAX_ROWS if most is None else most
    if about.num_rows > most:
        raise UserError(f"{path}: has {about.num_rows} rows, more than the {most} that are read; get the file again")
    if rows is not None and about.num_rows != rows:
        raise UserError(f"{path}: has {about.num_rows} rows, and round.json asks for {rows}; get both files again")
    for name, kind in wanted.items():
        if schema.names.count(name) != 1 or schema.field(name).type != kind:
            raise UserError(f"{path}: has no one column {name} of the type {kind}; get the file again")
    for group in range(about.num_row_groups):
        row_group = about.row_group(group)
        columns = [row_group.column(number) for number in range(row_group.num_columns)]
        size = sum(column.total_uncompressed_size for column in columns if column.path_in_schema in wanted)
        if size > MAX_CELL_BYTES * len(wanted) * row_group.num_rows + (1 << 16):
            raise UserError(f"{path}: unpacks to {size} bytes, too many for its rows; get the file again")
    return int(about.num_rows)
