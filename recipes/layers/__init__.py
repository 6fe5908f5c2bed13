"""Keras layers and blocks that two or more families use."""
