"""LSTM networks of PyTorch's own layers; see `rnn.py`."""

from peers.rnn import both

CASES = both("lstm", "lstm", "LSTM")
