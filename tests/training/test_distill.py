"""A student learns from a bank of its teachers' answers, which is made once and is the teachers' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import RECIPE, log

from converters.cli.distill import main as distill
from converters.cli.train import main as train
from edge.errors import DataError

STUDENT = RECIPE.replace("epochs = 4", "epochs = 5") + "faults = 0.2\n[distill]\nviews = 2\ntemperature = 2.0\nweight = 0.9\n"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, stripes: Path) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "teacher.toml").write_text(RECIPE.replace("[loss]", "[loss]\nvotes_head = 0.5\nvotes = 0.2"))
    assert train([str(folder / "teacher.toml"), "--data", str(stripes), "--run", str(folder / "run")]) == 0
    return folder / "run" / "best.keras"


def go(folder: Path, name: str, recipe: str, stripes: Path, *teachers: Path) -> int:
    (folder / f"{name}.toml").write_text(recipe)
    arguments = [
        str(folder / f"{name}.toml"),
        "--data",
        str(stripes),
        "--run",
        str(folder / name),
        "--bank",
        str(folder / "banks"),
    ]
    return distill(arguments + [part for path in teachers for part in ("--teacher", str(path))])


def test_a_student_learns_from_its_teacher_and_the_bank_is_made_once(tmp_path: Path, stripes: Path, teacher: Path) -> None:
    assert go(tmp_path, "first", STUDENT, stripes, teacher) == 0
    assert float(log(tmp_path / "first")[-1]["held_out_accuracy"]) > 0.8
    views = sorted((tmp_path / "banks").rglob("*.npy"))
    assert [view.name for view in views] == ["view-0000.npy", "view-0001.npy"]
    before = [view.stat().st_mtime_ns for view in views]
    # Another seed and another shape of student: the same views. One view more: only that one is made.
    other = STUDENT.replace("seed = 3", "seed = 9").replace("[8, 8]", "[8, 12]").replace("views = 2", "views = 3")
    assert go(tmp_path, "second", other.replace("epochs = 5", "epochs = 1"), stripes, teacher) == 0
    assert [view.stat().st_mtime_ns for view in views] == before
    assert len(list((tmp_path / "banks").rglob("*.npy"))) == 3
    # Other views: another bank.
    assert (
        go(tmp_path, "third", other.replace("rotate = 3.0", "rotate = 4.0").replace("epochs = 5", "epochs = 1"), stripes, teacher)
        == 0
    )
    assert len(list((tmp_path / "banks").iterdir())) == 2


def test_the_bank_is_the_mean_of_what_the_teachers_say_to_the_students_views(
    tmp_path: Path, stripes: Path, teacher: Path
) -> None:
    import keras
    import msgspec

    from converters.datasets.augment import make_views
    from converters.quiet import quiet
    from converters.recipe import Recipe
    from converters.training.bank import open_bank
    from converters.training.batches import Batches
    from converters.training.examples import draw, normalise, open_examples

    still = msgspec.toml.decode(STUDENT.replace("faults = 0.2", ""), type=Recipe)
    examples = open_examples(stripes, still)
    network = keras.models.load_model(teacher, compile=False)
    # A second teacher that says something else.
    other = tmp_path / "other.keras"
    twin = keras.models.clone_model(network)
    twin.set_weights([weight * 1.1 for weight in network.get_weights()])
    with quiet():
        twin.save(other)
    bank = open_bank([teacher, other], examples, still, tmp_path / "banks", lambda items, _: items)
    rows = np.array([5, 77, 800])
    seen = normalise(make_views(examples.images, rows, draw(examples, still, 1)))
    said = []
    for one in (network, twin):
        logits = np.log(np.maximum(one.predict(seen, verbose=0), 1e-30))
        said.append(logits - logits.mean(1, keepdims=True))
    mean = np.exp(np.mean(said, axis=0) / 2.0)
    np.testing.assert_allclose(bank.softened(1, rows, 2.0), mean / mean.sum(1, keepdims=True), atol=5e-3)
    quick = msgspec.structs.replace(still, distill=msgspec.structs.replace(still.distill, precision="bfloat16"))
    also = open_bank([teacher, other], examples, quick, tmp_path / "quick", lambda items, _: items)
    np.testing.assert_allclose(also.softened(1, rows, 2.0), bank.softened(1, rows, 2.0), atol=0.02)
    # The batch that a student gets carries the teacher's answer to the very view in it.
    batches = Batches(examples, still, bank)
    batches.begin(3)
    pictures, targets, _ = batches[4]
    logits = (
        np.log(np.maximum(network.predict(pictures, verbose=0), 1e-30)),
        np.log(np.maximum(twin.predict(pictures, verbose=0), 1e-30)),
    )
    centred = np.mean([part - part.mean(1, keepdims=True) for part in logits], axis=0)
    expected = np.exp(centred / 2.0)
    np.testing.assert_allclose(targets[0][:, 7:], expected / expected.sum(1, keepdims=True), atol=5e-3)


def test_what_does_not_fit_is_one_line(tmp_path: Path, stripes: Path, teacher: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.keras"
    wrong.write_text("no model")
    cases = {
        "no section": (RECIPE, teacher, "[distill]"),
        "no teacher": (STUDENT, tmp_path / "nowhere.keras", "no such file"),
        "no model": (STUDENT, wrong, "not a Keras model"),
        "another size": (STUDENT.replace("seed = 3", "seed = 3\nsize = 32"), teacher, "takes (48, 48, 1)"),
    }
    for name, (recipe, path, part) in cases.items():
        capfd.readouterr()
        assert go(tmp_path, name, recipe, stripes, path) == 2
        error = capfd.readouterr().err
        assert part in error, name
        assert error.count("\n") == 1, name
        assert not (tmp_path / name).exists()
    assert train([str(tmp_path / "no teacher.toml"), "--data", str(stripes), "--run", str(tmp_path / "x")]) == 2
    assert "edge-distill" in capfd.readouterr().err


def test_finetuning_brings_a_damaged_network_back(tmp_path: Path, stripes: Path, teacher: Path) -> None:
    import keras

    from converters.datasets import open_dataset
    from converters.training.examples import normalise
    from converters.training.finetune import finetune

    data = open_dataset(stripes)
    network = keras.models.load_model(teacher, compile=False)
    damaged = keras.models.clone_model(network)
    rng = np.random.default_rng(0)
    damaged.set_weights(network.get_weights())
    for variable in damaged.trainable_variables:
        weight = np.asarray(variable)
        variable.assign(weight + rng.normal(0, 1.0 * weight.std(), weight.shape))

    def accuracy(model: keras.Model) -> float:
        said = model.predict(normalise(np.asarray(data.held_out.images)), verbose=0).argmax(1)
        return float((said == data.held_out.labels).mean())

    before = accuracy(damaged)
    best = finetune(damaged, network, data, 8, tmp_path / "run", lambda *_: None, lambda *_: None)
    assert before < 0.7
    assert accuracy(keras.models.load_model(best)) > before + 0.15
    with pytest.raises(DataError, match="another network"):
        finetune(network, damaged, data, 8, tmp_path / "run", lambda *_: None, lambda *_: None)
