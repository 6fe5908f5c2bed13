"""scikit-learn's perceptron."""

from peers import Case, of_scikit_learn


def scikit_learn():
    from sklearn.linear_model import Perceptron

    return Perceptron(shuffle=False, tol=None, max_iter=1)


CASES = {
    "perceptron": Case(
        "perceptron", "rosenblatt", (784,), 128, 128,
        {"scikit-learn": of_scikit_learn(scikit_learn)},
        why="example after example, there in a loop in C",
    ),
}  # fmt: skip
