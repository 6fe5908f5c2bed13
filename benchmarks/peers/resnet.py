"""Residual networks in plain Keras, `keras.applications` and PyTorch."""

from peers import KERAS, Case, keras_classifier, torch_classifier

# (filters, blocks) of each stage
STAGES = {
    "resnet20": ((16, 3), (32, 3), (64, 3)),
    "resnet50": ((64, 3), (128, 4), (256, 6), (512, 3)),
}


def keras_resnet(case: Case, keras):
    layers, large = keras.layers, case.variant == "resnet50"
    decay = case.arguments.get("weight_decay", 1e-4)
    penalty = {"kernel_regularizer": keras.regularizers.L2(decay / 2)} if decay else {}

    def conv(x, width, size, strides=1, relu=True):
        padding = "same"
        if strides > 1 and size > 1:  # "same" would pad less before than behind
            x, padding = layers.ZeroPadding2D(size // 2)(x), "valid"
        x = layers.Conv2D(width, size, strides, padding, use_bias=False, **penalty)(x)
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        return layers.ReLU()(x) if relu else x

    x = inputs = keras.Input(case.input_shape)
    x = conv(x, 64, 7, 2) if large else conv(x, 16, 3)
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x)) if large else x
    for stage, (width, count) in enumerate(STAGES[case.variant]):
        for i in range(count):
            strides = 2 if stage and not i else 1
            if large:
                y = conv(conv(conv(x, width, 1), width, 3, strides), 4 * width, 1, relu=False)
                x = x if i else conv(x, 4 * width, 1, strides, relu=False)
            else:
                y = conv(conv(x, width, 3, strides), width, 3, relu=False)
                if strides > 1:
                    new = (width // 4, width // 4)
                    x = keras.ops.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), new))
            x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(case.num_classes, **penalty)(x))
    return model, keras.optimizers.SGD(0.1, momentum=0.9)


def keras_applications_resnet50(case: Case, keras):
    model = keras.applications.ResNet50(
        weights=None, input_shape=case.input_shape, classes=case.num_classes,
        classifier_activation=None,
    )  # fmt: skip
    return model, keras.optimizers.SGD(0.1, momentum=0.9)


def torch_resnet(case: Case, torch):
    nn, large = torch.nn, case.variant == "resnet50"

    def conv(before, width, size, strides=1):
        convolution = nn.Conv2d(before, width, size, strides, size // 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(width))

    class Residual(nn.Module):
        def __init__(self, before, width, strides):
            super().__init__()
            self.strides, self.half, self.project = strides, (width - before) // 2, None
            if large:
                body = [conv(before, width, 1), nn.ReLU(), conv(width, width, 3, strides)]
                body += [nn.ReLU(), conv(width, 4 * width, 1)]
                if before != 4 * width:
                    self.project = conv(before, 4 * width, 1, strides)
            else:
                body = [conv(before, width, 3, strides), nn.ReLU(), conv(width, width, 3)]
            self.body = nn.Sequential(*body)

        def forward(self, x):
            y = self.body(x)
            if self.project is not None:
                x = self.project(x)
            elif self.strides > 1:
                x = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.half, self.half))
            return nn.functional.relu(x + y)

    before = 64 if large else 16
    stack = [conv(case.input_shape[-1], before, 7 if large else 3, 2 if large else 1), nn.ReLU()]
    stack += [nn.MaxPool2d(3, 2, 1)] if large else []
    for stage, (width, count) in enumerate(STAGES[case.variant]):
        for i in range(count):
            stack.append(Residual(before, width, 2 if stage and not i else 1))
            before = 4 * width if large else width
    stack += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, case.num_classes)]
    decay = case.arguments.get("weight_decay", 1e-4)
    return nn.Sequential(*stack), lambda weights: torch.optim.SGD(
        weights, 0.1, momentum=0.9, weight_decay=decay
    )


PEERS = {
    "Keras by hand": keras_classifier(keras_resnet),
    "PyTorch": torch_classifier(torch_resnet),
}
CASES = {
    "resnet20": Case("resnet", "resnet20", (28, 28, 1), 64, 20, PEERS, why=KERAS),
    # keras.applications has no weight decay; it strides in the first 1x1 convolution of a block,
    # which is less work, and its convolutions have biases.
    "resnet50": Case(
        "resnet", "resnet50", (64, 64, 3), 8, 6,
        {**PEERS, "keras.applications": keras_classifier(keras_applications_resnet50)},
        {"weight_decay": 0.0}, why=KERAS,
    ),
}  # fmt: skip
