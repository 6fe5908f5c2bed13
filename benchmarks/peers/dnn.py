"""Two hidden layers in plain Keras and PyTorch."""

import itertools

from peers import KERAS, Case, keras_classifier, torch_classifier


def keras_dnn(case: Case, keras):
    dense, dropout = keras.layers.Dense, keras.layers.Dropout
    hidden = [layer for _ in range(2 * case.depth) for layer in (dense(512, "relu"), dropout(0.2))]
    flat = [keras.Input(case.input_shape), keras.layers.Flatten()]
    return keras.Sequential([*flat, *hidden, dense(10)]), keras.optimizers.Adam(1e-3)


def torch_dnn(case: Case, torch):
    nn = torch.nn
    sizes, hidden = [784, *[512] * (2 * case.depth)], []
    for before, width in itertools.pairwise(sizes):
        hidden += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(512, 10)), torch.optim.Adam


CASES = {
    "dnn": Case("dnn", "mlp", (28, 28, 1), 128, 200, {
        "Keras by hand": keras_classifier(keras_dnn), "PyTorch": torch_classifier(torch_dnn),
    }, layers=lambda factor: {"units": (512,) * (2 * factor)}, why=KERAS),
}  # fmt: skip
