"""Tables that fit a window: what has no room is left out, column by column, in an order that the caller states."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from harness.errors import printable

BOX = Box("    \n    \n ── \n    \n ╌╌ \n    \n    \n    \n")
"""A line below the header, a broken one between sections, and none else."""

GAP = 2
"""Between two columns; after the last one is half of it."""

ALWAYS = 0

NARROWEST = 8
"""To which a column is broken at most, whatever the window."""


@dataclass(frozen=True)
class Column:
    """cells: one for each row; text of anybody, which is no markup. number: set to the right, and never broken.

    drop: ALWAYS stays, and is broken over lines where nothing else is left; the highest of the others goes first.
    width: at least so wide, in cells of the terminal.
    """

    header: str
    cells: Sequence[str | Text]
    number: bool = False
    drop: int = ALWAYS
    width: int = 0

    @property
    def needed(self) -> int:
        """Cells of the terminal that the header and every row take unbroken."""
        return max(self.width, *(cell_len(one) for one in (self.header, *(plain(cell).plain for cell in self.cells))))


def aligned(tables: Sequence[Sequence[Column]]) -> list[list[Column]]:
    """The same tables, all of as many columns, which stand below one another."""
    widths = [max(column.needed for column in columns) for columns in zip(*tables, strict=True)]
    return [[replace(column, width=width) for column, width in zip(table, widths, strict=True)] for table in tables]


def fit(console: Console, columns: Sequence[Column], sections: Collection[int] = ()) -> tuple[Table, list[str]]:
    """The table as wide as the window lets it be, and the headers that were left out.

    sections: numbers of the rows that a line is drawn after.
    """
    shown = list(columns)
    while _total([column.needed for column in shown]) > console.width:
        last = max(shown, key=lambda column: column.drop)
        if last.drop == ALWAYS:
            break
        shown.remove(last)
    table = _table(shown, _widths(shown, console.width), sections)
    return table, [column.header for column in columns if column not in shown]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * len(widths) - GAP // 2


def _widths(columns: Sequence[Column], room: int) -> list[int]:
    """What each gets: all it needs, or less for the widest of those that may be broken."""
    widths = [column.needed for column in columns]
    while (over := _total(widths) - room) > 0:
        breakable = [number for number, column in enumerate(columns) if not column.number]
        widest = max(breakable, key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= NARROWEST:
            break
        widths[widest] = max(widths[widest] - over, NARROWEST)
    return widths


def _table(columns: Sequence[Column], widths: Sequence[int], sections: Collection[int]) -> Table:
    table = Table(box=BOX, padding=(0, 1, 0, 0), border_style="dim", show_edge=False, header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        justify: JustifyMethod = "right" if column.number else "left"
        table.add_column(Text(column.header), justify=justify, width=width, no_wrap=column.number, overflow="fold")
    for number, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        table.add_row(*map(plain, cells), end_section=number in sections)
    return table


def plain(cell: str | Text) -> Text:
    """Text that is shown as it is: whoever wrote it, it is no markup and moves no cursor."""
    return cell if isinstance(cell, Text) else Text(printable(cell))
