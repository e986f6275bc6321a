"""Every network is built and stepped on every backend of Keras that is installed; sizes are what they are said to be."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

STEP = """
import json, sys
import numpy as np, keras
from converters.networks import Micro, MobileNet, ResNet, build_network
from converters.recipe import Distill, Loss
from converters.training.losses import LabelLoss, accuracy

networks = {
    "micro, squeeze-excite": Micro((8, 8), (1, 1), dropout=0.0, attention="se"),
    "resnet, cbam": ResNet(8, (1, 1), dropout=0.0, attention="cbam"),
    "tutorial": ResNet(8, (1, 1, 1, 1), stem="7x7", hidden=16, dropout=0.0),
    "mobilenet": MobileNet(0.1, last=16, dropout=0.0),
}
rng = np.random.default_rng(0)
pictures = rng.normal(0, 1, (8, 48, 48, 1)).astype("float32")
targets = rng.dirichlet(np.ones(7), (8, 2)).reshape(8, 14).astype("float32")
steps = {}
for name, settings in networks.items():
    keras.utils.set_random_seed(0)
    network = build_network(settings, (48, 48, 1), 7)
    learner = keras.Model(network.inputs, network.get_layer("logits").output)
    learner.compile(keras.optimizers.SGD(0.01), LabelLoss(Loss(), Distill()), metrics=[accuracy])
    losses = learner.fit(pictures, targets, batch_size=8, epochs=6, verbose=0).history["loss"]
    sums = np.asarray(network.predict(pictures, verbose=0)).sum(1)
    steps[name] = (losses, float(abs(sums - 1).max()))
print(json.dumps({"backend": keras.backend.backend(), "steps": steps}))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_every_network_learns_on_every_backend(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-c", STEP], env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["backend"] == backend
    for name, (losses, error) in result["steps"].items():
        assert losses[-1] < losses[0], f"{name}: {losses}"
        assert error < 1e-3, name


def test_resnet_18_has_the_weights_that_the_paper_counts() -> None:
    from converters.quiet import import_tensorflow

    import_tensorflow()
    from converters.networks import ResNet, build_network

    # torchvision's resnet18 has 11,689,512 with a thousand classes and three colours: 512 * 993 + 993 fewer here for the
    # head, 7 * 7 * 2 * 64 fewer for the colours.
    network = build_network(ResNet(stem="7x7"), (48, 48, 1), 7)
    trainable = sum(int(weight.shape.num_elements()) for weight in network.trainable_weights)
    assert trainable == 11_689_512 - 993 * 513 - 2 * 49 * 64


def test_mobilenet_v2_has_the_weights_that_keras_counts() -> None:
    from converters.quiet import import_tensorflow

    _, keras = import_tensorflow()
    from converters.networks import MobileNet, build_network

    mine = build_network(MobileNet(strides=(2, 1, 2, 2, 2, 1, 2, 1)), (96, 96, 3), 7)
    theirs = keras.applications.MobileNetV2((96, 96, 3), weights=None, classes=7)
    assert mine.count_params() == theirs.count_params()
