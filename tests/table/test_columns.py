"""What becomes of the columns: features, categories, missing values, targets, weights."""

import numpy as np
import pandas as pd
import pytest
from tables import frame, read


def test_features_are_standardised_on_the_training_part(tmp_path):
    table = read(frame(), tmp_path, features=("a", "time"), dtype="float64")
    np.testing.assert_allclose(table.train.x.mean(0), 0, atol=1e-7)
    np.testing.assert_allclose(table.train.x.std(0), 1, rtol=1e-12)
    assert abs(table.test.x.mean(0)).max() > 1e-4  # of other rows


@pytest.mark.parametrize(
    ("offset", "scale"), [(1.7e9, 3.0), (1e6, 1e-3), (0.0, 1e-30), (0.0, 1e300), (0.0, 1e-300)]
)
def test_nothing_is_lost_to_offset_or_scale(offset, scale, tmp_path):
    rng = np.random.default_rng(0)
    raw = offset + scale * rng.normal(size=1000)
    table = read(pd.DataFrame({"a": raw, "y": rng.integers(0, 2, 1000)}), tmp_path)
    x = np.concatenate([table.train.x, table.test.x])[:, 0]
    exact = raw.astype(np.longdouble)
    mean, deviation = np.longdouble(table.mean[0]), np.longdouble(table.deviation[0])
    expected = np.sort((exact - mean) / deviation).astype(np.float32)
    np.testing.assert_array_max_ulp(np.sort(x), expected, 1)
    assert table.train.x.std() == pytest.approx(1, rel=1e-6)


def test_texts_are_a_feature_for_each_category(tmp_path):
    table = read(frame(), tmp_path, features=("colour",))
    assert table.feature_names == ("colour=blue", "colour=green", "colour=red")
    assert set(np.unique(table.train.x)) == {0, 1}
    assert (table.train.x.sum(1) == 1).all()


def test_numbers_that_name_categories(tmp_path):
    table = read(frame(), tmp_path, features=("i",), one_hot=("i",))
    assert table.feature_names == ("i=0", "i=1", "i=2", "i=3", "i=4")


def test_an_order_of_categories_is_kept(tmp_path):
    sizes = pd.Categorical(["small", "large", "medium"] * 100, ["small", "medium", "large"], True)
    data = pd.DataFrame({"size": sizes, "y": [0, 1, 1] * 100})
    assert read(data, tmp_path).feature_names == ("size=small", "size=medium", "size=large")
    target = read(data, tmp_path, target="size").target
    assert target.classes == ("small", "medium", "large")


def test_a_category_that_is_only_held_out_has_no_feature(tmp_path):
    data, test = frame(), frame(seed=1).assign(colour="violet")
    table = read(data, tmp_path, test=test, features=("colour",))
    assert table.feature_names == ("colour=blue", "colour=green", "colour=red")
    assert not table.test.x.any()


def test_rows_with_missing_values_are_dropped(tmp_path):
    data = frame()
    data.loc[::10, "a"] = np.nan
    data.loc[1::10, "colour"] = None
    table = read(data, tmp_path, missing="drop")
    assert len(table.train.x) + len(table.test.x) == 800
    assert table.notes == ("200 rows with missing values were dropped",)


def test_missing_values_are_filled_with_the_mean_and_the_shares(tmp_path):
    data = frame()
    data.loc[::10, "a"] = np.nan
    data.loc[1::10, "colour"] = None
    table = read(data, tmp_path, missing="mean", features=("a", "colour"))
    number, category = table.columns
    assert (table.train.x[:, 0] == 0).sum() > 50
    assert number.fill == (table.mean[0],)
    assert sum(category.fill) == pytest.approx(1)
    filled = np.isclose(table.train.x[:, 1], np.float32(category.fill[0]))
    assert 50 < filled.sum() < 150


def test_missing_targets_are_no_rows_to_learn_from(tmp_path):
    data = frame()
    data.loc[::10, "y"] = None
    table = read(data, tmp_path, missing="mean")
    assert len(table.train.x) + len(table.test.x) == 900


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["M", "B"], ("B", "M")),
        (["yes", "no"], ("no", "yes")),
        ([1, 0], ("0", "1")),
        ([2, 1], ("1", "2")),
        ([-1.0, 1.0], ("-1", "1")),
        ([0.25, 7.5], ("0.25", "7.5")),
        ([True, False], ("False", "True")),
        (["c", "a", "b"], ("a", "b", "c")),
        ([3, 5, 10], ("3", "5", "10")),
    ],
)
def test_targets_of_any_kind_are_classes(values, classes, tmp_path):
    data = pd.DataFrame({"a": range(300), "y": values * (300 // len(values))})
    table = read(data, tmp_path)
    assert table.target.classes == classes
    expected = (300,) if len(classes) == 2 else (300, len(classes))
    y = np.concatenate([table.train.y, table.test.y])
    assert y.shape == expected
    assert set(np.unique(y)) == {0, 1}


def test_the_positive_class_can_be_chosen(tmp_path):
    table = frame()
    plain, turned = read(table, tmp_path), read(table, tmp_path, positive="no")
    assert turned.target.classes == ("yes", "no")
    np.testing.assert_array_equal(turned.train.y, 1 - plain.train.y)
    np.testing.assert_array_equal(turned.train.x, plain.train.x)


def test_numbers_from_0_to_1_are_learnt_as_they_are(tmp_path):
    data = frame().assign(y=np.linspace(0, 1, 1000))
    table = read(data, tmp_path, dtype="float64")
    assert table.target.classes == ()
    y = np.concatenate([table.train.y, table.test.y])
    np.testing.assert_array_equal(np.sort(y), np.linspace(0, 1, 1000))


def test_sample_weights_go_with_their_rows(tmp_path):
    data = frame().assign(w=lambda t: t.i + 1.0)
    table = read(data, tmp_path, features=("i",), sample_weight="w")
    raw = table.train.x[:, 0] * table.deviation[0] + table.mean[0]
    np.testing.assert_allclose(table.train.weight, raw + 1, atol=1e-5)


@pytest.mark.parametrize("kind", [str, float, bool])
def test_a_fifth_of_every_class_is_held_out(kind, tmp_path):
    rare = np.random.default_rng(0).random(1000) < 0.03
    y = rare.astype(int) if kind is float else rare
    table = read(frame().assign(y=y.astype(kind)), tmp_path)
    assert table.test.y.sum() == round(0.2 * rare.sum())
    assert len(table.test.y) == round(0.2 * rare.sum()) + round(0.2 * (~rare).sum())


def test_other_data_are_held_out_where_they_are_given(tmp_path):
    data, test = frame(), frame(300, seed=1)
    table = read(data, tmp_path, test=test, features=("a",))
    assert (len(table.train.x), len(table.test.x)) == (1000, 300)
    raw = table.test.x[:, 0] * table.deviation[0] + table.mean[0]
    np.testing.assert_allclose(np.sort(raw), np.sort(test.a), atol=1e-6)


def test_every_stretch_of_a_sorted_table_is_a_cross_section(tmp_path):
    rows = 200_000
    data = pd.DataFrame({"a": np.arange(rows), "y": np.arange(rows) >= rows // 2})
    table = read(data, tmp_path)
    first = table.train.y[: len(table.train.y) // 10]
    assert 0.4 < first.mean() < 0.6
    whole = np.concatenate([table.train.x, table.test.x])[:, 0]
    assert len(np.unique(whole)) == rows


def test_a_name_that_is_a_number_is_a_name_among_names(tmp_path):
    """Cars of 1993: Audi 90 and 100, BMW 535i."""
    models = ["90", "100", "535i", "Century", "LeSabre"] * 40
    table = read(pd.DataFrame({"model": models, "y": [0, 1] * 100}), tmp_path)
    assert len(table.feature_names) == 5


@pytest.mark.parametrize("missing", [False, True])
def test_whether_a_number_is_larger_than_another(missing, tmp_path):
    data = frame()
    if missing:
        data.loc[:99, "a"] = np.nan
    table = read(data, tmp_path, target="a", above=0.5, missing="mean")
    assert table.target.classes == ("≤ 0.5", "> 0.5")
    assert table.train.y.sum() + table.test.y.sum() == (data.a > 0.5).sum()
    assert len(table.train.y) + len(table.test.y) == 1000 - 100 * missing
    turned = read(data, tmp_path, target="a", above=0.5, positive="≤ 0.5", missing="mean")
    np.testing.assert_array_equal(turned.train.y, 1 - table.train.y)
