"""What cannot be learnt from gets one clear line, and memory stays bounded."""

import gzip
import os
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tables import frame, read

from bp_torch.table.opening import open_source

ROWS = "1,0\n2,1\n"


def refused(data, folder, message, **choice):
    with pytest.raises((ValueError, OSError)) as error:
        read(data, folder, **choice)
    said = str(error.value)
    assert message in said
    assert "\n" not in said
    return said


CSV = {
    "empty": (b"", "is empty"),
    "only blank lines": (b"\n\n", "is empty"),
    "names alone": (b"a,y\n", "has names and no rows"),
    "names alone, unended": (b"a,y", "has names and no rows"),
    "a field short": (b"a,y\n" + ROWS.encode() * 50 + b"3\n", "got 1 in line 102"),
    "a field more": (b"a,y\n1,0\n2,1,5\n", "got 3 in line 3"),
    "text among numbers": (b"a,y\n" + ROWS.encode() * 9 + b"abc,1\n", "holds numbers, and 'abc'"),
    "late text among numbers": (
        b"a,b,y\n" + b"1,1.5,0\n2,2,1\n" * 400_000 + b"1,1e3x,1\n",
        "the column 'b' holds numbers, and '1e3x' in line 800,002",
    ),
    "100,000 columns": (
        ",".join(f"c{i}" for i in range(100_000)).encode() + b"\n" + b"1," * 99_999 + b"1\n",
        "has 100,000 columns",
    ),
    "a field of 20 MB": (b"a,y\n" + b"x" * 20_000_000 + b",1\n", "a line longer than "),
    "a name of 20 MB": (b"x" * 20_000_000, "a line longer than 4 MiB"),
    "Latin-1": ("a,y\né,1\nb,0\n".encode("latin-1"), "is not in UTF-8"),
    "Latin-1, late": (b"a,y\n" + b"b,1\nc,0\n" * 10**6 + b"\xe9,1\n", "is not in UTF-8"),
    "UTF-16": ("a,y\n1,1\n2,0\n".encode("utf-16"), "is not text in UTF-8"),
    "two columns of a name": (b"a,a,y\n1,1,0\n2,2,1\n", "two columns called 'a'"),
    "NaN": (b"a,y\n1,0\nNaN,1\n", "the column 'a' has no value in row 2"),
    "nothing": (b"a,y\n1,0\n,1\n", "the column 'a' has no value in row 2"),
    "infinity": (b"a,y\n1,0\ninf,1\n", "the column 'a' is inf in row 2"),
    "one class": (b"a,y\n1,1\n2,1\n", "'1' in every row"),
    "no line of names": (b"5.1,0\n" + ROWS.encode(), "looks like data (5.1, 0 …)"),
    "too few rows": (
        b"a,y\n" + ROWS.encode(),
        "2 rows for 2 classes, too few to hold out 0.2 of each",
    ),
}


@pytest.mark.parametrize("name", CSV)
def test_csv(name, tmp_path):
    content, message = CSV[name]
    (path := tmp_path / "bad.csv").write_bytes(content)
    assert str(path) in refused(path, tmp_path, message)
    assert os.listdir(tmp_path) == ["bad.csv"]


def test_files_that_are_no_tables(tmp_path):
    frame().to_parquet(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "short.parquet").write_bytes(whole[:-100])
    refused(tmp_path / "short.parquet", tmp_path, "is not a whole Parquet file")
    (tmp_path / "text.parquet").write_bytes(b"hello, world")
    refused(tmp_path / "text.parquet", tmp_path, "is not a whole Parquet file")
    (tmp_path / "plain.csv.gz").write_bytes(b"a,y\n1,2\n")
    refused(tmp_path / "plain.csv.gz", tmp_path, "cannot be unpacked")
    packed = gzip.compress(frame().to_csv(index=False).encode())
    (tmp_path / "short.csv.gz").write_bytes(packed[:-2000])
    refused(tmp_path / "short.csv.gz", tmp_path, "cannot be unpacked")
    frame().to_csv(tmp_path / "whole.csv.zip", index=False)
    zipped = bytearray((tmp_path / "whole.csv.zip").read_bytes())
    zipped[500:900] = bytes(400)
    (tmp_path / "bad.csv.zip").write_bytes(zipped)
    refused(tmp_path / "bad.csv.zip", tmp_path, "cannot be unpacked")
    (tmp_path / "short.csv.zip").write_bytes(zipped[:2000])
    refused(tmp_path / "short.csv.zip", tmp_path, "cannot be unpacked")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", "a,y\n1,0\n")
        archive.writestr("b.csv", "a,y\n1,0\n")
    refused(tmp_path / "two.zip", tmp_path, "holds 2 files, expected one")
    refused(tmp_path / "none.csv", tmp_path, "there is no file")
    refused(tmp_path / "none*.csv", tmp_path, "there is no file")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", tmp_path, "holds no table")
    os.mkfifo(tmp_path / "pipe.csv")
    refused(tmp_path / "pipe.csv", tmp_path, "is not a file")


def test_a_small_file_that_unpacks_to_a_large_one(tmp_path):
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"a,y\n" + b"0" * 200_000_000))
    refused(tmp_path / "bomb.csv.gz", tmp_path, "a line longer than ")


def test_files_of_a_folder_hold_the_same_columns(tmp_path):
    (parts := tmp_path / "parts").mkdir()
    table = frame()
    table.to_parquet(parts / "a.parquet")
    table.drop(columns="a").to_parquet(parts / "b.parquet")
    refused(parts, tmp_path, "b.parquet has no 'a'")
    table.assign(a="x").to_parquet(parts / "b.parquet")
    refused(parts, tmp_path, "the column 'a' is double in")
    table.to_csv(parts / "c.csv")
    refused(parts, tmp_path, "both Parquet and CSV")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    frame().to_csv(tmp_path / "secret.csv", index=False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    refused(tmp_path / "secret.csv", tmp_path, "secret.csv cannot be read: permission denied")


def test_a_source_that_changes_while_it_is_read(tmp_path):
    path = tmp_path / "t.csv"
    frame().to_csv(path, index=False)
    batches = open_source(path).batches(["a", "y"])
    next(batches)
    os.utime(path, (1, 1))
    with pytest.raises(ValueError, match="has changed while it was read"):
        list(batches)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"target": None}, "which column of the frame is to be learnt?"),
        ({"target": "Y"}, "no column 'Y' for the target"),
        ({"features": ("aa",)}, "did you mean 'a'?"),
        ({"features": ("a", "y")}, "'y' is the target, and cannot be a feature as well"),
        ({"drop": ("y",)}, "'y' is the target, and cannot be dropped"),
        ({"drop": ("a", "time", "colour", "odd", "i")}, "no column left to learn from"),
        ({"sample_weight": "colour"}, "holds texts; expected numbers"),
        ({"sample_weight": "a"}, "expected numbers of at least 0"),
        ({"positive": "maybe"}, "positive must be one of no, yes"),
        ({"target": "i", "positive": "1"}, "has 5 classes"),
        ({"above": 3.0}, "holds texts, and above (--above) is for numbers"),
        ({"target": "a", "above": 1e3}, "is not larger than 1000 in every row"),
        ({"target": "time"}, "expected two values, numbers from 0 to 1, or at most 256 classes"),
    ],
)
def test_choices_that_do_not_fit(choice, message, tmp_path):
    refused(frame(), tmp_path, message, **choice)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.Timestamp("2020-01-01"), "is timestamp"),
        ([[1]] * 1000, "is list"),
        ([f"id{i}" for i in range(1000)], "more than 256 different values"),
        (["1", "x"] * 500, "holds numbers, and 'x'"),
        ([1, "x"] * 500, "cannot be read as a table"),
        (["u", None] * 500, "has no value in row 2"),
        (-np.inf, "is -inf in row 1"),
    ],
)
def test_columns_that_cannot_be_learnt_from(column, message, tmp_path):
    refused(frame().assign(n=column), tmp_path, message)


def test_texts_among_numbers_are_categories_where_that_is_said(tmp_path):
    table = read(frame().assign(n=["1", "2", "3+", "1"] * 250), tmp_path, one_hot=("n",))
    assert {"n=1", "n=2", "n=3+"} <= set(table.feature_names)


def test_held_out_data_that_do_not_fit(tmp_path):
    refused(
        frame(),
        tmp_path,
        "a value in row 1 that the frame does not have",
        test=frame().assign(y="?"),
    )
    refused(frame(), tmp_path, "has no column 'a'", test=frame().drop(columns="a"))


@pytest.mark.parametrize("data", [None, {"a": [1]}, [[1, 2]], 3])
def test_what_is_no_table(data):
    with pytest.raises(ValueError, match="data must be a path, a pandas or polars frame"):
        open_source(data)


def test_a_constant_column_is_named(tmp_path):
    table = read(frame().assign(b=5, c="x"), tmp_path)
    assert table.notes == ("never varies, so nothing is learnt from it: b, c",)
    assert not table.train.x[:, table.feature_names.index("b")].any()


def test_a_table_of_no_rows(tmp_path):
    refused(frame()[:0], tmp_path, "has no rows")
    missing = frame().assign(a=np.nan)
    refused(
        missing,
        tmp_path,
        "the column 'a' has none in 1,000 of 1,000, so leave it out",
        missing="drop",
    )


def test_an_arrow_table_with_two_columns_of_a_name():
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(ValueError, match="two columns called 'a'"):
        open_source(table)
