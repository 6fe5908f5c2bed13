"""Two hidden layers in plain Keras and PyTorch."""

from peers import KERAS, Case, keras_classifier, torch_classifier


def keras_dnn(case: Case, keras):
    dense, dropout = keras.layers.Dense, keras.layers.Dropout
    model = keras.Sequential([
        keras.Input(case.input_shape), keras.layers.Flatten(),
        dense(512, "relu"), dropout(0.2), dense(512, "relu"), dropout(0.2), dense(10),
    ])  # fmt: skip
    return model, keras.optimizers.Adam(1e-3)


def torch_dnn(case: Case, torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Dropout(0.2),
        nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.2), nn.Linear(512, 10),
    ), torch.optim.Adam  # fmt: skip


CASES = {
    "dnn": Case("dnn", "mlp", (28, 28, 1), 128, 200, {
        "Keras by hand": keras_classifier(keras_dnn), "PyTorch": torch_classifier(torch_dnn),
    }, why=KERAS),
}  # fmt: skip
