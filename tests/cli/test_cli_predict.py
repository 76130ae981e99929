"""bp-torch predict: rows in, rows out, with what the model says of them."""

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import torch

import bp_torch as bp

MODEL = "runs/people-1/model.safetensors"


def people(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 10, rows)
    job = rng.choice(["clerk", "smith", "baker, master"], rows)
    rich = age + 10 * (job == "smith") + rng.normal(0, 5, rows) > 45
    return pd.DataFrame(
        {"id": np.arange(rows), "age": age, "job": job, "rich": np.where(rich, "yes", "no")}
    )


@pytest.fixture
def trained(run, tmp_path):
    def train(*options, data=None, epochs="20"):
        (people() if data is None else data).to_csv("people.csv", index=False)
        arguments = ("people.csv", "--target", "rich", "--drop", "id", "--epochs", epochs)
        status, _, err = run("train", *arguments, "--log-every", "0", *options)
        assert (status, err) == (0, "")
        return bp.load(MODEL)

    return train


def test_what_is_predicted_is_what_the_model_says(run, trained):
    model = trained()
    new = people(50, seed=1).drop(columns="rich")
    new.to_csv("new.csv", index=False)
    status, out, err = run("predict", MODEL, "new.csv", "-o", "out.csv")
    assert (status, out, err) == (0, "50 rows  out.csv\n", "")
    found = pd.read_csv("out.csv")
    assert list(found.columns) == ["id", "age", "job", "probability", "class"]
    pd.testing.assert_frame_equal(found[["id", "age", "job"]], new)
    assert model.feature_names == ("age", "job=baker, master", "job=clerk", "job=smith")
    x = pd.concat([new.age] + [new.job == j for j in ("baker, master", "clerk", "smith")], axis=1)
    y_hat = model(torch.tensor(x.astype(float).to_numpy())).detach().numpy()
    np.testing.assert_allclose(found.probability, y_hat, rtol=1e-6)
    assert (found["class"] == np.where(y_hat > 0.5, "yes", "no")).all()
    truth = people(50, seed=1).rich
    assert (found["class"] == truth).mean() > 0.7


@pytest.mark.parametrize("output", ["out.parquet", "out.csv", None])
def test_rows_go_where_they_are_wanted(run, trained, output):
    trained()
    people(50, seed=1).to_parquet("new.parquet")
    status, out, _ = run("predict", MODEL, "new.parquet", *(["-o", output] if output else []))
    assert status == 0
    if output is None:
        with open("piped.csv", "w") as file:
            file.write(out)
    read = pd.read_parquet if output == "out.parquet" else pd.read_csv
    found = read(output or "piped.csv")
    assert len(found) == 50
    assert found.probability.between(0, 1).all()


def test_columns_are_found_by_name_and_others_are_kept(run, trained):
    trained()
    new = people(5, seed=1)
    new[["job", "rich", "age"]].assign(probability=7.0).to_csv("new.csv", index=False)
    assert run("predict", MODEL, "new.csv", "-o", "a.csv")[0] == 0
    new.to_csv("same.csv", index=False)
    assert run("predict", MODEL, "same.csv", "-o", "b.csv")[0] == 0
    found, same = pd.read_csv("a.csv"), pd.read_csv("b.csv")
    names = ["job", "rich", "age", "probability", "predicted_probability", "class"]
    assert list(found.columns) == names
    assert (found.predicted_probability == same.probability).all()


def test_a_category_that_is_not_known_counts_as_none_and_is_said(run, trained):
    trained()
    people(5, seed=1).assign(job="pilot").to_csv("new.csv", index=False)
    status, _, err = run("predict", MODEL, "new.csv", "-o", "out.csv")
    assert status == 0
    assert err == "note: rows with a 'job' that the model has not seen: 5; it counts as none\n"


def with_holes(rows=400, seed=0):
    data = people(rows, seed)
    data.loc[::4, "age"] = np.nan
    data.loc[1::4, "job"] = None
    return data


def test_rows_with_missing_values_are_kept_without_a_prediction(run, trained):
    trained("--missing", "drop", data=with_holes())
    with_holes(8, seed=1).to_csv("new.csv", index=False)
    status, _, err = run("predict", MODEL, "new.csv", "-o", "out.csv")
    assert status == 0
    said = "they get no prediction (a model that was trained with --missing mean fills it in)"
    assert err.splitlines() == [
        f"note: rows without 'age': 2; {said}",
        f"note: rows without 'job': 2; {said}",
    ]
    found = pd.read_csv("out.csv")
    assert found.probability.isna().tolist() == [True, True, False, False] * 2
    assert found["class"].isna().tolist() == [True, True, False, False] * 2


def test_an_infinite_value_is_none(run, trained):
    trained()
    data = people(4, seed=1)
    data.loc[1, "age"] = np.inf
    data.to_csv("new.csv", index=False)
    status, _, err = run("predict", MODEL, "new.csv", "-o", "out.csv")
    assert status == 0
    assert err.startswith("note: rows without 'age': 1; ")
    assert pd.read_csv("out.csv").probability.isna().tolist() == [False, True, False, False]


def test_missing_values_are_filled_in_as_they_were_in_training(run, trained):
    model = trained("--missing", "mean", data=with_holes())
    with_holes(8, seed=1).to_csv("new.csv", index=False)
    status, _, err = run("predict", MODEL, "new.csv", "-o", "out.csv")
    assert (status, err) == (0, "")
    assert pd.read_csv("out.csv").probability.notna().all()
    age, job = model.about.columns
    first = torch.tensor([[age.fill[0], 0, 0, 0]], dtype=torch.float64)
    first[0, 1 + job.categories.index(people(8, seed=1).job[0])] = 1
    expected = model(first).item()
    assert pd.read_csv("out.csv").probability[0] == pytest.approx(expected, rel=1e-6)


def test_more_classes_have_a_probability_each(run):
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"x": rng.normal(size=300)})
    data["size"] = np.where(data.x < -0.5, "s", np.where(data.x < 0.5, "m", "l"))
    data.to_csv("sizes.csv", index=False)
    status, out, _ = run("train", "sizes.csv", "--target", "size", "--epochs", "50")
    assert status == 0
    assert out.startswith("sizes.csv: a network of 1-3, 6 parameters")
    run("predict", "runs/sizes-1/model.safetensors", "sizes.csv", "-o", "out.parquet")
    found = pyarrow.parquet.read_table("out.parquet").to_pandas()
    names = ["probability_l", "probability_m", "probability_s"]
    assert list(found.columns) == ["x", "size", *names, "class"]
    assert (found[names].idxmax(1).str[-1] == found["class"]).all()
    assert (found["class"] == data["size"]).mean() > 0.6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.safetensors", "people.csv"], "no model at none.safetensors"),
        (["people.csv", "people.csv"], "people.csv is not a safetensors file"),
        ([MODEL, "none.csv"], "there is no file none.csv"),
        ([MODEL, "lacks.csv"], "lacks.csv lacks 'age', 'job', which the model reads"),
        ([MODEL, "texts.csv"], "the model was trained on numbers there"),
        ([MODEL, "people.csv", "-o", "out.txt"], "--output must end in .csv, .parquet, .pq"),
        ([MODEL, "people.csv", "-o", "no/out.csv"], "--output must be in a folder that exists"),
        ([MODEL, "ragged.csv", "-o", "out.csv"], "expected 2 fields in every line"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_leaves_nothing(run, trained, tmp_path, arguments, said):
    trained(epochs="1")
    (tmp_path / "lacks.csv").write_text("a,b\n1,2\n")
    (tmp_path / "texts.csv").write_text("age,job\nold,smith\n")
    (tmp_path / "ragged.csv").write_text("age,job\n1,smith\n2\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    status, out, err = run("predict", *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_file_without_a_line_of_names(run, trained):
    trained()
    people(5, seed=1)[["age", "job"]].to_csv("bare.csv", index=False, header=False)
    status, out, _ = run("predict", MODEL, "bare.csv", "--columns", "age,job")
    assert status == 0
    assert out.splitlines()[0] == '"age","job","probability","class"'
