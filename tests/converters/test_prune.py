"""Pruning: channels that do nothing go and nothing changes; what cannot be pruned is refused by its layer's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from converters.cli.prune import main
from converters.compress.channels import find_channels
from converters.compress.prune import keras_model, prune
from converters.load import load_model
from converters.networks import Micro, MobileNet, ResNet, build_network
from converters.proof.cost import macs, parameters
from converters.quiet import import_tensorflow, quiet
from edge.emotion.manifest import InputSpec
from edge.emotion.preprocess import to_pixels, to_tensor
from edge.errors import DataError

MINI = "fer2013_mini_XCEPTION.110-0.65"


def layers() -> Any:
    return import_tensorflow()[1].layers


def model_of(inputs: Any, outputs: Any) -> Any:
    # A list of one would be a network that expects a list.
    return import_tensorflow()[1].Model(*(value[0] if isinstance(value, list) else value for value in (inputs, outputs)))


def picture(*shape: int | None) -> Any:
    return import_tensorflow()[1].Input(shape or (16, 16, 1), name="image")


def flattened() -> Any:
    """As in the first tutorials: biases, activations inside convolutions, a flattened map and a norm of it."""
    keras = import_tensorflow()[1]
    of = keras.layers
    return keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            of.Rescaling(2.0),
            of.Conv2D(6, 3, activation="relu"),
            of.PReLU(shared_axes=[1, 2]),
            of.Conv2D(9, 3, activation="tanh"),
            of.PReLU(),
            of.MaxPooling2D(),
            of.Flatten(),
            of.BatchNormalization(),
            of.Dense(12, activation="relu"),
            of.Dropout(0.5),
            of.Dense(7, activation="softmax", name="logits"),
        ]
    )


def gated() -> Any:
    """Gates through Reshape, a depth multiplier, a separable convolution, a concatenation that is then added to."""
    of = layers()
    inputs = picture()
    x = of.ReLU()(of.BatchNormalization()(of.Conv2D(6, 3, padding="same")(inputs)))
    x = of.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="relu")(x)
    gate = of.Reshape((1, 1, 12))(of.GlobalAveragePooling2D()(x))
    gate = of.Dense(12, activation="sigmoid")(of.Dense(6, activation="relu")(gate))
    x = of.Multiply()([x, gate])
    left = of.SeparableConv2D(6, 3, depth_multiplier=2, padding="same")(x)
    right = of.BatchNormalization(scale=False)(of.Conv2D(9, 1, padding="same")(x))
    x = of.Concatenate()([left, of.Activation("elu")(right)])
    x = of.Average()([x, of.BatchNormalization()(of.Conv2D(15, 3, padding="same", use_bias=False)(x))])
    x = of.Reshape((64, 15))(of.AveragePooling2D(2)(x))
    return model_of(inputs, of.Dense(7, name="logits")(of.Flatten()(of.Dense(6)(x))))


SMALL: dict[str, Callable[[], Any]] = {
    "micro": lambda: build_network(Micro(widths=(8, 12), blocks=(1, 2)), (48, 48, 1), 7),
    "micro cbam": lambda: build_network(Micro(widths=(8, 12), blocks=(1, 2), attention="cbam"), (48, 48, 1), 7),
    "resnet": lambda: build_network(ResNet(width=8), (48, 48, 1), 7),
    "tutorial se": lambda: build_network(
        ResNet(width=8, blocks=(1, 1, 1, 1), stem="7x7", hidden=24, dropout=0.5, attention="se"), (48, 48, 1), 7
    ),
    "mobilenet": lambda: build_network(MobileNet(width=0.35, last=48), (24, 24, 1), 7),
    "mobilenet cbam": lambda: build_network(MobileNet(width=0.25, last=48, attention="cbam"), (24, 24, 1), 7),
    "flattened": flattened,
    "gated": gated,
}


def shake(network: Any, seed: int = 0) -> Any:
    """Weights by chance everywhere, and of batch normalisation the statistics that the network then has."""
    rng = np.random.default_rng(seed)
    for weight in network.weights:
        if weight.name == "gamma":
            weight.assign(rng.uniform(0.5, 1.5, weight.shape) * rng.choice([-1, 1], weight.shape))
        elif weight.name in {"beta", "bias", "alpha"}:
            weight.assign(rng.uniform(-0.3, 0.3, weight.shape))
    normal = [layer for layer in network.layers if type(layer).__name__ == "BatchNormalization"]
    for layer in normal:
        layer.momentum = 0.0
    network(rng.normal(0, 1, (16, *network.input_shape[1:])).astype(np.float32), training=True)
    for layer in normal:
        layer.momentum = 0.99
    return network


def kill(network: Any, rank: Literal["gamma", "l1"], seed: int = 1) -> Any:
    """Make a third of the channels of every group do nothing, and those lowest in rank; other ones in each group."""
    rng = np.random.default_rng(seed)
    functional = model_of(network.inputs, network.outputs)
    found = find_channels(functional.get_config(), "network")
    dead = {int(channel) for group in found.groups for channel in rng.choice(group, len(group) // 3, replace=False)}
    for site in found.sites:
        layer = network.get_layer(site.layer)
        if site.kind == "BatchNormalization":
            gone = np.isin(found.roots[site.weights[0][0]], list(dead))
            for weight in (layer.beta, layer.gamma if layer.scale else layer.moving_mean):
                weight.assign(np.where(gone, 0, np.asarray(weight)))
        # Filters without a bias have a norm behind them; what it makes nothing may come from any filter.
        elif site.made is not None and (rank == "l1" or layer.use_bias):
            gone = np.isin(found.roots[site.made], list(dead))
            weights = layer.get_weights()
            filters = weights[site.filters]
            weights[site.filters] = np.where(gone, 0, filters.reshape(-1, len(gone))).reshape(filters.shape)
            if layer.use_bias:
                weights[-1] = np.where(gone, 0, weights[-1])
            layer.set_weights(weights)
    return network


def answers(network: Any, *names: str) -> list[np.ndarray]:
    """Every named layer's output on pictures by chance, each scaled to a largest number of one."""
    probe = model_of(network.inputs, {name: network.get_layer(name).output for name in names})
    pictures = np.random.default_rng(2).normal(0, 1, (6, *network.input_shape[1:])).astype(np.float32)
    values = probe(pictures, training=False)
    return [np.asarray(values[name]) / np.abs(values[name]).max() for name in names]


@pytest.mark.parametrize("rank", ["gamma", "l1"])
@pytest.mark.parametrize("name", SMALL)
def test_channels_that_do_nothing_go_and_nothing_changes(name: str, rank: Literal["gamma", "l1"]) -> None:
    network = kill(shake(SMALL[name]()), rank)
    pruned = prune(network, 1 / 3, rank, multiple=1)
    assert list(sizes(pruned)) == list(sizes(network))
    assert 0.3 < parameters(pruned) / parameters(network) < 0.75
    # The layers that others ask for by name.
    names = [layer for layer in ("logits", "probabilities") if layer in sizes(network)]
    assert names
    for before, after in zip(answers(network, *names), answers(pruned, *names), strict=True):
        assert before.std(axis=0).max() > 1e-3
        np.testing.assert_allclose(after, before, atol=1e-4)
    if "features" in sizes(network):
        assert sizes(pruned)["features"] == sizes(network)["features"] - sizes(network)["features"] // 3


def sizes(network: Any) -> dict[str, int]:
    """Channels of every layer but the input, by name."""
    return {layer.name: layer.output.shape[-1] for layer in network.layers if type(layer).__name__ != "InputLayer"}


@pytest.mark.parametrize(
    ("large", "small"),
    [
        (Micro(widths=(16, 24), blocks=(1, 2)), Micro(widths=(8, 12), blocks=(1, 2))),
        (ResNet(width=16, hidden=64), ResNet(width=8, hidden=32)),
        (
            ResNet(width=64, blocks=(1, 1), stem="7x7", attention="se"),
            ResNet(width=32, blocks=(1, 1), stem="7x7", attention="se"),
        ),
    ],
)
def test_half_of_a_network_is_the_network_of_half_the_width(large: Any, small: Any) -> None:
    pruned = prune(shake(build_network(large, (48, 48, 1), 7)), 0.5)
    built = build_network(small, (48, 48, 1), 7)
    assert [tuple(weight.shape) for weight in pruned.weights] == [tuple(weight.shape) for weight in built.weights]
    assert (parameters(pruned), macs(pruned)) == (parameters(built), macs(built))


def test_a_mobilenet_pays_for_its_depthwise_convolutions_by_channel_and_for_the_others_by_pair() -> None:
    network = SMALL["mobilenet"]()
    pruned = prune(network, 0.5, multiple=1)
    assert macs(network) / 4 < macs(pruned) < 0.3 * macs(network)
    kinds = [layer for layer in network.layers if type(layer).__name__ == "DepthwiseConv2D"]
    assert len(kinds) == 17
    for layer in kinds:
        half = pruned.get_layer(layer.name)
        assert 2 * half.kernel.shape[2] == layer.kernel.shape[2]


def test_both_sides_of_a_residual_addition_keep_the_same_channels() -> None:
    network = build_network(ResNet(width=8, blocks=(1, 1)), (48, 48, 1), 7)
    body, shortcut = added(network)
    # Alone the body would lose its first channels and the shortcut its last; together the last go.
    first = np.arange(16, dtype=np.float32)
    body.gamma.assign(1 + first)
    shortcut.gamma.assign(100 - 2 * first)
    pruned = prune(network, 0.25, "gamma")
    np.testing.assert_array_equal(np.asarray(pruned.get_layer(body.name).gamma), 1 + first[:12])
    np.testing.assert_array_equal(np.asarray(pruned.get_layer(shortcut.name).gamma), 100 - 2 * first[:12])


def added(network: Any) -> list[Any]:
    """The two batch normalisations that the last addition of a network adds."""
    entry = [entry for entry in network.get_config()["layers"] if entry["class_name"] == "Add"][-1]
    return [network.get_layer(tensor["config"]["keras_history"][0]) for tensor in entry["inbound_nodes"][0]["args"][0]]


def test_a_ratio_of_nothing_is_the_same_network() -> None:
    network = shake(SMALL["mobilenet"]())
    pruned = prune(network, 0.0)
    assert pruned is not network
    for before, after in zip(network.get_weights(), pruned.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(answers(network, "logits")[0], answers(pruned, "logits")[0])


@pytest.mark.parametrize(
    ("channels", "ratio", "multiple", "kept"),
    # 100 * 0.29 is a little less than 29.
    [(10, 0.3, 4, 8), (10, 0.3, 1, 7), (10, 0.9, 4, 4), (10, 0.99, 1, 1), (10, 0.1, 8, 8), (3, 0.9, 4, 3), (100, 0.29, 1, 71)],
)
def test_what_is_kept_is_rounded_to_the_nearest_multiple(channels: int, ratio: float, multiple: int, kept: int) -> None:
    of, inputs = layers(), picture()
    x = of.Conv2D(channels, 3, name="middle")(inputs)
    pruned = prune(model_of(inputs, of.Dense(7)(of.GlobalAveragePooling2D()(x))), ratio, "l1", multiple)
    assert pruned.get_layer("middle").filters == kept


def test_channels_that_a_softmax_weighs_against_each_other_stay() -> None:
    of, inputs = layers(), picture()
    x = of.Conv2D(8, 3, activation="softmax", name="shares")(of.Conv2D(8, 3, name="plain")(inputs))
    pruned = prune(model_of(inputs, of.Dense(7)(of.GlobalAveragePooling2D()(x))), 0.5)
    assert (pruned.get_layer("plain").filters, pruned.get_layer("shares").filters) == (4, 8)


def test_pruning_again_goes_on_from_there() -> None:
    network = kill(shake(SMALL["micro cbam"]()), "gamma")
    once = prune(network, 1 / 3, multiple=1)
    twice = prune(kill(once, "l1"), 1 / 3, "l1", multiple=1)
    assert parameters(twice) < 0.75 * parameters(once) < 0.75 * parameters(network)
    np.testing.assert_allclose(answers(twice, "logits")[0], answers(once, "logits")[0], atol=1e-4)


def unprunable() -> dict[str, tuple[Callable[[], Any], str]]:
    keras = import_tensorflow()[1]
    of = keras.layers

    class Conv2D(of.Conv2D):
        """Somebody's own."""

    def net(*middle: Callable[[Any], Any], size: tuple[int | None, ...] = (16, 16, 1)) -> Callable[[], Any]:
        def build() -> Any:
            inputs = keras.Input(size)
            x = of.Conv2D(8, 3, padding="same", name="first")(inputs)
            for layer in middle:
                x = layer(x)
            return keras.Model(inputs, of.Dense(7)(x if len(x.shape) == 2 else of.GlobalAveragePooling2D()(x)))

        return build

    def shared(x: Any) -> Any:
        twice = of.Conv2D(8, 3, padding="same", name="both")
        return twice(twice(x))

    def turned(x: Any) -> Any:
        return x[..., ::-1]

    def nested(x: Any) -> Any:
        return keras.Sequential([keras.Input(x.shape[1:]), of.Conv2D(8, 3)], name="inside")(x)

    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = of.Dense(7)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs)

    return {
        "lstm": (net(of.Reshape((256, 8)), of.LSTM(8, name="lstm_1")), "layer 'lstm_1' (LSTM) mixes channels"),
        "norm": (net(of.LayerNormalization(name="n")), "layer 'n' (LayerNormalization) mixes channels"),
        "axis": (net(of.BatchNormalization(axis=1, name="n")), "layer 'n' (BatchNormalization) normalises"),
        "groups": (net(of.Conv2D(8, 3, groups=2, name="g")), "layer 'g' (Conv2D) is a grouped convolution"),
        "shared": (net(shared), "layer 'both' (Conv2D) is used 2 times"),
        "nested": (net(nested), "layer 'inside' ("),
        "custom": (net(Conv2D(8, 3, name="mine")), "layer 'mine' ("),
        "operation": (net(lambda x: keras.ops.flip(x, axis=-1)), "layer 'flip"),
        "activation": (net(of.Activation(turned, name="odd")), "layer 'odd' (Activation) has an activation"),
        "permute": (net(of.Permute((3, 1, 2), name="p")), "layer 'p' (Permute) mixes channels"),
        "reshape": (net(of.Reshape((128, 4, 4), name="r")), "layer 'r' (Reshape) moves channels"),
        "rescaling": (net(of.Rescaling([1.0] * 8, name="s")), "layer 's' (Rescaling) scales each channel"),
        "first": (net(of.Conv2D(8, 3, data_format="channels_first", name="c")), "layer 'c' (Conv2D) works on channels-first"),
        "own": (Own, "is a Own, not a graph of layers"),
    }


@pytest.mark.parametrize("name", unprunable())
def test_what_cannot_be_pruned_is_refused_by_the_name_of_the_layer(name: str) -> None:
    build, words = unprunable()[name]
    with pytest.raises(DataError, match=f"^here/model.keras: {re.escape(words)}") as error:
        prune(build(), 0.5, name="here/model.keras")
    assert "\n" not in str(error.value)


def test_a_ratio_out_of_range_is_refused() -> None:
    for ratio in (-0.1, 1.0, float("nan")):
        with pytest.raises(DataError, match="give a number from 0 to below 1"):
            prune(SMALL["flattened"](), ratio)


def test_the_real_mini_xception_loses_dead_channels_exactly_and_loads_again(testdata: Path, tmp_path: Path) -> None:
    network = kill(keras_model(load_model(testdata / "models" / f"{MINI}.hdf5")), "gamma")
    pruned = prune(network, 1 / 3, multiple=1)
    np.testing.assert_allclose(answers(pruned, "predictions")[0], answers(network, "predictions")[0], atol=1e-4)
    assert answers(network, "predictions")[0].std(axis=0).max() > 1e-3
    with quiet():
        pruned.save(tmp_path / "small.keras")
    loaded = keras_model(load_model(tmp_path / "small.keras"))
    np.testing.assert_array_equal(answers(loaded, "predictions")[0], answers(pruned, "predictions")[0])
    again = prune(loaded, 0.3)
    assert parameters(again) < parameters(loaded) < 0.6 * parameters(network)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network in a folder of its own."""
    with quiet():
        shake(SMALL["micro"]()).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Runs edge-prune, expects exit 2 with one plain line and a folder as before; returns the line."""

    def run(*argv: str | Path) -> str:
        before = {path: path.read_bytes() if path.is_file() else b"" for path in tmp_path.rglob("*")}
        capfd.readouterr()
        status = main([str(word) for word in argv])
        out, err = capfd.readouterr()
        assert (status, out) == (2, "")
        assert err.startswith("edge-prune: ")
        assert err.count("\n") == 1, err
        assert {path: path.read_bytes() if path.is_file() else b"" for path in tmp_path.rglob("*")} == before
        return err

    return run


def test_the_command_writes_a_smaller_network_beside_the_model(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model.with_suffix(".toml").write_text("[model]\nmean = [127.5]\nscale = [0.00784313725]\n")
    original = model.read_bytes()
    assert main(["--ratio", "0.5", str(model)]) == 0
    out, err = capfd.readouterr()
    assert err == f"edge-prune: wrote {tmp_path / 'model.pruned.keras'} and its .toml\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.keras",
        "model.pruned.keras",
        "model.pruned.toml",
        "model.toml",
    ]
    assert (tmp_path / "model.pruned.toml").read_bytes() == model.with_suffix(".toml").read_bytes()
    assert model.read_bytes() == original
    before, after = (keras_model(load_model(path)) for path in (model, tmp_path / "model.pruned.keras"))
    assert re.search(rf"parameters +{parameters(before):,} +{parameters(after):,} ", out)
    assert re.search(rf"MACs +{macs(before):,} +{macs(after):,} ", out)
    for mine, theirs in zip(prune(before, 0.5).get_weights(), after.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_what_the_user_gets_wrong_is_one_line_and_nothing_is_left(
    model: Path, tmp_path: Path, kept: Path, refused: Callable[..., str]
) -> None:
    assert "--data" in refused("--ratio", "0.3", model, "--finetune", "5")
    assert "--finetune" in refused("--ratio", "0.3", model, "--run", tmp_path / "run")
    assert "'1.0' is not a share" in refused("--ratio", "1.0", model)
    assert "--ratio" in refused(model)
    assert "no such file" in refused("--ratio", "0.3", tmp_path / "none.keras")
    assert "no such file" in refused("--ratio", "0.3", model, "--data", tmp_path / "none.csv")
    assert "ends in .keras" in refused("--ratio", "0.3", model, "-o", tmp_path / "small.h5")
    assert "is the network to prune" in refused("--ratio", "0.3", model, "-o", model, "--force")
    assert "nothing goes at a ratio of 0.1" in refused("--ratio", "0.1", model)
    assert "leaves no layers to prune" in refused("--ratio", "0.3", kept / "saved", "-o", tmp_path / "saved.keras")
    with quiet():
        unprunable()["lstm"][0]().save(tmp_path / "lstm.keras")
    assert f"{tmp_path / 'lstm.keras'}: layer 'lstm_1' (LSTM)" in refused("--ratio", "0.3", tmp_path / "lstm.keras")


def test_what_exists_is_replaced_only_by_force(model: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    model.with_suffix(".toml").write_text("[model]\n")
    copy = tmp_path / "model.pruned.toml"
    copy.write_text("mine")
    assert f"{copy}: exists already; add --force" in refused("--ratio", "0.5", model)
    copy.unlink()
    output = tmp_path / "model.pruned.keras"
    output.write_text("mine")
    assert f"{output}: exists already; add --force" in refused("--ratio", "0.5", model)
    assert main(["--ratio", "0.5", str(model), "--force"]) == 0
    assert parameters(keras_model(load_model(output))) < parameters(keras_model(load_model(model)))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Gray noise with labels, enough to measure with and to take some steps on."""
    rng = np.random.default_rng(0)
    parts = {}
    for part, count in (("train", 280), ("public", 70)):
        parts[f"{part}_images"] = rng.integers(0, 256, (count, 48, 48), dtype=np.uint8)
        parts[f"{part}_labels"] = (np.arange(count) % 7).astype(np.uint8)
    np.savez(tmp_path / "noise.npz", **parts)
    return tmp_path / "noise.npz"


def test_with_data_accuracy_is_measured_and_fine_tuning_goes_on_from_the_pruned_network(
    model: Path, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model.with_suffix(".toml").write_text("[model]\nmean = [127.5]\nscale = [0.00784313725]\n")
    output, run = tmp_path / "small.keras", tmp_path / "run"
    argv = ["--ratio", "0.5", model, "--data", pictures, "-o", output, "--finetune", "1", "--run", run]
    status = main([str(word) for word in argv])
    out, err = capfd.readouterr()
    assert status == 0, err
    spec = InputSpec(height=48, width=48, channels=1, color="gray", mean=(127.5,), scale=(1 / 127.5,))
    held = np.load(pictures)
    tensors = to_tensor(np.stack([to_pixels(image, spec) for image in held["public_images"]]), spec)
    before, tuned = (keras_model(load_model(path)) for path in (model, output))
    right = [
        float((np.asarray(network(tensors, training=False)).argmax(1) == held["public_labels"]).mean())
        for network in (before, prune(before, 0.5), tuned)
    ]
    assert re.search(rf"accuracy +{right[0]:.2%} +{right[1]:.2%} ", out)
    assert f"accuracy after fine-tuning: {right[2]:.2%}" in out
    assert parameters(tuned) == parameters(prune(before, 0.5))
    assert (tmp_path / "small.toml").is_file()
    other = ["--ratio", "0.7", model, "--data", pictures, "-o", tmp_path / "other.keras", "--finetune", "1", "--run", run]
    assert main([str(word) for word in other]) == 2
    assert f"edge-prune: {run}" in capfd.readouterr().err
    assert not (tmp_path / "other.keras").exists()


def test_fine_tuning_refuses_a_network_of_another_range(
    model: Path, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model.with_suffix(".toml").write_text("[model]\nmean = [0.0]\nscale = [0.00392157]\n")
    argv = ["--ratio", "0.5", model, "--data", pictures, "--finetune", "1", "--run", tmp_path / "run"]
    assert main([str(word) for word in argv]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"edge-prune: {model}: fine-tuning trains networks of square gray pictures in [-1, 1]")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "model.toml", "noise.npz"]
