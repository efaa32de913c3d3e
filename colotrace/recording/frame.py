"""Recordings as a pandas DataFrame: a row a checkpoint, integer nanoseconds, null where nothing was seen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from colotrace.recording.recording import open_recording
from colotrace.recording.run import Run
from colotrace.recording.schema import NAMES
from colotrace.recording.table import SCHEMA

if TYPE_CHECKING:
    import pandas as pd

WHO = ("host", "vm", "run")
"""Columns that come from the headers."""
_WORDS = pa.dictionary(pa.int32(), pa.string())


def load(*paths: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """All checkpoints of some recordings, of every outcome: files, directories, or patterns as of a shell.

    Columns are host, vm and run (categories, from the headers), then those of colotrace.recording.schema.COLUMNS:
    integers are Int64 (nanoseconds, bytes), role, outcome and aborted_in categories. `columns` names the ones that are
    wanted, which saves the memory of the others. What must be known of the files is in `.attrs`: `problems`, a list of
    sentences, and `headers`, the `attached` lines.
    Raises InputError as open_recording(), ValueError for a column that there is not.
    """
    import pandas as pd

    wanted = list(columns) if columns is not None else [*WHO, *NAMES]
    unknown = [name for name in wanted if name not in (*WHO, *NAMES)]
    if unknown:
        raise ValueError(f"a recording has no column {', '.join(unknown)}")
    recording = open_recording(*paths)
    stored = [name for name in wanted if name in NAMES]
    tables = [_table(run, wanted, stored) for run in recording.runs]
    whole = pa.concat_tables(tables).unify_dictionaries()
    frame: pd.DataFrame = whole.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    frame.attrs["problems"] = list(recording.problems)
    frame.attrs["headers"] = [dict(header.raw) for run in recording.runs for header in run.headers.values()]
    return frame


def _table(run: Run, wanted: Sequence[str], stored: Sequence[str]) -> pa.Table:
    batches = list(run.batches(*dict.fromkeys(["pid", *stored])))
    if not batches:
        types = {name: _WORDS if name in WHO else SCHEMA.field(name).type for name in wanted}
        return pa.table({name: pa.array([], kind) for name, kind in types.items()})
    table = pa.Table.from_batches(batches)
    columns = {}
    for name in wanted:
        columns[name] = table.column(name) if name in table.schema.names else _who(run, name, table.column("pid"))
    return pa.table(columns)


def _who(run: Run, name: str, pids: pa.ChunkedArray) -> pa.Array:
    """A header's member for each row."""
    encoded = pids.combine_chunks().dictionary_encode()
    words = [getattr(run.header(pid), name) for pid in encoded.dictionary.to_pylist()]
    return pa.array(words, pa.string()).take(encoded.indices).dictionary_encode()
