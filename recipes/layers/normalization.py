"""Batch normalisation of images."""

import importlib

import keras
from keras import layers


@keras.saving.register_keras_serializable("recipes")
class BatchNormalization(layers.BatchNormalization):
    """Keras's, of the channels: in training on TensorFlow one operation instead of a dozen.

    (n, h, w, c) -> (n, h, w, c). Ioffe & Szegedy 2015, algorithm 1.
    """

    @property
    def one_operation(self):
        """Whether there is one for what its options ask for."""
        more = self.synchronized or getattr(self, "renorm", False)  # which older Keras has not
        plain = self.scale and self.center and self.axis in (-1, 3) and not more
        on_tensorflow = keras.backend.backend() == "tensorflow"
        return on_tensorflow and plain and self.compute_dtype == "float32"

    def call(self, inputs, training=None, mask=None):
        """As Keras's."""
        if not (training and self.trainable and mask is None and self.one_operation):
            return super().call(inputs, training=training, mask=mask)
        own = importlib.import_module("recipes.layers.normalization_tensorflow")
        y, *found = own.normalize(inputs, self.gamma, self.beta, self.epsilon)
        for moving, new in zip((self.moving_mean, self.moving_variance), found, strict=True):
            moving.assign(moving * self.momentum + new * (1 - self.momentum))
        return y
