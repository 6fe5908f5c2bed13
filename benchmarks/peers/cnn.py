"""Small convolutional networks in plain Keras and PyTorch."""

from peers import KERAS, Case, keras_classifier, torch_classifier


def keras_lenet5(case: Case, keras):
    conv, pool, dense = keras.layers.Conv2D, keras.layers.AveragePooling2D, keras.layers.Dense
    model = keras.Sequential([
        keras.Input(case.input_shape),
        conv(6, 5, padding="same", activation="tanh"), pool(2),
        conv(16, 5, activation="tanh"), pool(2),
        keras.layers.Flatten(), dense(120, "tanh"), dense(84, "tanh"), dense(10),
    ])  # fmt: skip
    return model, keras.optimizers.Adam(1e-3)


def torch_lenet5(case: Case, torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10),
    ), torch.optim.Adam  # fmt: skip


def keras_simple(case: Case, keras):
    conv, pool, dense = keras.layers.Conv2D, keras.layers.MaxPooling2D, keras.layers.Dense
    model = keras.Sequential([
        keras.Input(case.input_shape),
        conv(32, 3, padding="same", activation="relu"), pool(2),
        conv(64, 3, padding="same", activation="relu"), pool(2),
        keras.layers.Flatten(), dense(128, "relu"), keras.layers.Dropout(0.5), dense(10),
    ])  # fmt: skip
    return model, keras.optimizers.Adam(1e-3)


def torch_simple(case: Case, torch):
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
    ), torch.optim.Adam  # fmt: skip


CASES = {
    "lenet5": Case("cnn", "lenet5", (28, 28, 1), 128, 100, {
        "Keras by hand": keras_classifier(keras_lenet5), "PyTorch": torch_classifier(torch_lenet5),
    }, why=KERAS),
    "simple": Case("cnn", "simple", (28, 28, 1), 128, 30, {
        "Keras by hand": keras_classifier(keras_simple), "PyTorch": torch_classifier(torch_simple),
    }, why=KERAS),
}  # fmt: skip
