"""One table in whatever form it comes is one table, bit for bit."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from tables import bits, frame, read

from bp_torch.table.choice import Choice
from bp_torch.table.decode import read_table
from bp_torch.table.memory import with_target
from bp_torch.table.opening import open_source

FORMS = {}


def form(write):
    FORMS[write.__name__] = write
    return write


@form
def parquet(table, folder):
    table.to_parquet(path := folder / "t.parquet")
    return path


@form
def gz(table, folder):
    table.to_csv(path := folder / "t.csv.gz", index=False)
    return path


@form
def zst(table, folder):
    with pa.CompressedOutputStream(path := folder / "t.csv.zst", "zstd") as file:
        file.write(table.to_csv(index=False).encode())
    return path


@form
def zipped(table, folder):
    table.to_csv(path := folder / "t.csv.zip", index=False)
    return path


@form
def tabs(table, folder):
    table.to_csv(path := folder / "t.tsv", sep="\t", index=False)
    return path


@form
def semicolons_and_decimal_commas(table, folder):
    table.to_csv(path := folder / "t.csv", sep=";", decimal=",", index=False)
    return path


@form
def with_a_byte_order_mark_and_carriage_returns(table, folder):
    text = table.to_csv(index=False, lineterminator="\r\n")
    (path := folder / "t.csv").write_text(text, encoding="utf-8-sig", newline="")
    return path


@form
def after_blank_lines(table, folder):
    (path := folder / "t.csv").write_text("\n\n" + table.to_csv(index=False) + "\n\n")
    return path


@form
def with_the_index_of_pandas(table, folder):
    table.to_csv(path := folder / "t.csv")
    return path


@form
def folder_of_parquet(table, folder):
    (inner := folder / "parts").mkdir()
    table[:300].to_parquet(inner / "part-0.parquet", row_group_size=70)
    table[300:].to_parquet(inner / "part-1.parquet")
    (inner / "_SUCCESS").touch()
    return inner


@form
def pattern_of_csv_with_columns_in_another_order(table, folder):
    table[:300].to_csv(folder / "p0.csv", index=False)
    table[300:][list(table.columns[::-1])].to_csv(folder / "p1.csv", index=False)
    return folder / "p*.csv"


@form
def pandas_frame(table, folder):
    return table


@form
def pandas_categories(table, folder):
    return table.astype({"colour": "category", "y": "string"})


@form
def polars_frame(table, folder):
    return pl.from_pandas(table)


@form
def polars_categories(table, folder):
    return pl.from_pandas(table).with_columns(pl.col("colour").cast(pl.Categorical))


@form
def arrow_table(table, folder):
    return pa.Table.from_pandas(table)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_a_table_is_the_same_table(name, tmp_path):
    table = frame()
    table.to_csv(tmp_path / "whole.csv", index=False)
    plain = read(tmp_path / "whole.csv", tmp_path)
    other = read(FORMS[name](table, tmp_path), tmp_path)
    assert bits(other) == bits(plain)
    assert other.content == plain.content
    assert other.columns == plain.columns


def test_another_table_is_another_one(tmp_path):
    table = frame()
    changed = table.assign(a=table.a.where(table.index != 500, table.a + 1e-13))
    assert read(changed, tmp_path).content != read(table, tmp_path).content


def test_what_is_held_out_does_not_depend_on_the_order_of_rows(tmp_path):
    table = frame()
    shuffled = table.sample(frac=1, random_state=1)
    one, other = read(table, tmp_path), read(shuffled, tmp_path)
    assert one.content == other.content
    # The mean of the same numbers in another order may differ in its last place.
    np.testing.assert_allclose(
        np.sort(one.test.x, axis=0), np.sort(other.test.x, axis=0), rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, list, pd.Series])
def test_arrays(kind, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    source, name = with_target(open_source(torch.tensor(x) if kind is torch.tensor else x), kind(y))
    table = read_table(source, Choice(target=name), folder=tmp_path)
    expected = read(pd.DataFrame(x, columns=["x1", "x2", "x3"]).assign(y=y), tmp_path)
    assert bits(table) == bits(expected)
    assert table.feature_names == ("x1", "x2", "x3")


@pytest.mark.parametrize("size", [49, 51])
def test_as_many_targets_as_rows(size, tmp_path):
    source, name = with_target(open_source(np.zeros((50, 3))), np.zeros(size))
    with pytest.raises(ValueError, match=r"target must have a value per row, got (49|51)"):
        read_table(source, Choice(target=name), folder=tmp_path)


def test_names_for_a_file_without_a_line_of_names(tmp_path):
    table = frame()
    table.to_csv(tmp_path / "bare.data", index=False, header=False)
    named = read(tmp_path / "bare.data", tmp_path, columns=list(table.columns))
    assert bits(named) == bits(read(table, tmp_path))


def test_an_index_without_a_name_is_left_out_and_named(tmp_path):
    frame().to_csv(tmp_path / "t.csv")
    table = read(tmp_path / "t.csv", tmp_path)
    assert table.notes == ("has no name, and was left out: unnamed_1",)
    assert "unnamed_1" in read(tmp_path / "t.csv", tmp_path, features=("unnamed_1",)).feature_names


def test_columns_that_pandas_has_numbered_have_names(tmp_path):
    numbered = frame().rename(columns={"a": "0", "time": "1", "colour": "2"})
    numbered.to_csv(tmp_path / "t.csv", index=False)
    assert read(tmp_path / "t.csv", tmp_path).feature_names[:3] == ("0", "1", "2=blue")


def test_years_are_names_beside_names_of_rows(tmp_path):
    (tmp_path / "t.csv").write_text('"","1940","1950","y"\n' + '"a",1.5,2,0\n"b",3,4,1\n' * 10)
    assert read(tmp_path / "t.csv", tmp_path).feature_names == ("1940", "1950")


def test_a_0_is_a_0_whatever_its_sign(tmp_path):
    table = frame().assign(a=lambda t: t.a.where(t.index % 3 > 0, 0.0))
    turned = table.assign(a=lambda t: t.a.where(t.a != 0, -0.0))
    assert np.signbit(turned.a).sum() > np.signbit(table.a).sum()
    assert read(table, tmp_path).content == read(turned, tmp_path).content


def test_na_is_a_word_among_texts_and_nothing_among_numbers(tmp_path):
    """The chemical symbol, or Namibia."""
    rows = "Na,1,0\nNA,2,1\nCl,3,0\n" * 20
    (tmp_path / "words.csv").write_text("symbol,n,y\n" + rows)
    assert read(tmp_path / "words.csv", tmp_path).feature_names[:3] == (
        "symbol=Cl",
        "symbol=NA",
        "symbol=Na",
    )
    (tmp_path / "numbers.csv").write_text("n,y\n" + "1,0\nNA,1\n2,1\n" * 20)
    table = read(tmp_path / "numbers.csv", tmp_path, missing="drop")
    assert table.notes == ("20 rows with missing values were dropped",)
