"""GCN and GAT of torch-geometric's layers, on random graphs of Cora's size.

A step is an epoch: the whole graph, 140 of whose nodes have labels. Features are binary words, 18 a
node, scaled to the sum 1; torch-geometric takes them as a dense matrix, as its examples do.
"""

from dataclasses import dataclass, replace

from peers import Case, of_torch

NODES, WORDS, EDGES, LABELLED = 2708, 18, 5278, 140


@dataclass
class GraphCase(Case):
    """A case whose batch is a graph."""

    nodes: int = NODES

    def larger(self, what, factor):
        """More nodes ("nodes"), with as many edges each."""
        return replace(self, nodes=self.nodes * factor) if what == "nodes" else None

    def graph(self):
        """The graph and the labels of its nodes, int32 (n,)."""
        import numpy as np

        from recipes.data.graph_batches import Graph, in_order, mirrored, sparse_rows

        generator = np.random.default_rng(0)
        words = generator.random((self.nodes, *self.input_shape)) < WORDS / self.input_shape[0]
        words[:, 0] |= ~words.any(axis=1)
        values, columns = sparse_rows(words / words.sum(axis=1, keepdims=True))
        count = EDGES * self.nodes // NODES
        edges = generator.integers(0, self.nodes, (count, 2))
        edges, weights = in_order(*mirrored(edges, np.ones(count)), self.nodes)
        y = generator.integers(0, self.num_classes, self.nodes, "int32")
        return Graph(values, edges, weights, np.array([self.nodes], "int32"), columns), y

    def batches(self):
        """As `fit` takes it."""
        import numpy as np

        from recipes.data.graph_batches import GraphBatches

        return GraphBatches(*self.graph(), np.arange(LABELLED), "nodes", 1)

    def tensors(self):
        """As torch-geometric takes it, once for each epoch of a round."""
        import numpy as np
        import torch

        from peers import device

        graph, y = self.graph()
        x = np.zeros((self.nodes, *self.input_shape), "float32")
        np.add.at(x, (np.arange(self.nodes)[:, None], graph.columns), graph.features)
        edge_index = torch.from_numpy(graph.edges.T.astype("int64").copy())
        inputs = tuple(part.to(device()) for part in (torch.from_numpy(x), edge_index))
        return [(inputs, torch.from_numpy(y).long().to(device()))] * self.epochs


def of_geometric(build):
    """The contender of two layers: `build` gives the module, and its Adam."""

    def contender(case: Case) -> tuple:
        import torch

        from peers import device

        model, optimizer = build(case)
        model.to(device())

        def step(x, y):
            optimizer.zero_grad()
            logits = model(*x)[:LABELLED]
            loss = torch.nn.functional.cross_entropy(logits, y[:LABELLED])
            loss.backward()
            optimizer.step()
            return loss.detach(), (logits.argmax(1) == y[:LABELLED]).sum()

        return of_torch(case, step, lambda x: model(*x)[:LABELLED], [model])

    return contender


@of_geometric
def gcn(case: Case) -> tuple:
    import torch
    from torch.nn import functional as F
    from torch_geometric.nn import GCNConv

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = GCNConv(*case.input_shape, 16, cached=True)
            self.b = GCNConv(16, case.num_classes, cached=True)

        def forward(self, x, edges):
            x = F.dropout(x, 0.5, self.training)
            x = F.dropout(self.a(x, edges).relu(), 0.5, self.training)
            return self.b(x, edges)

    model = Net()
    groups = [{"params": model.a.parameters(), "weight_decay": 5e-4},
              {"params": model.b.parameters()}]  # fmt: skip
    return model, torch.optim.Adam(groups, 0.01)


@of_geometric
def gat(case: Case) -> tuple:
    import torch
    from torch.nn import functional as F
    from torch_geometric.nn import GATConv

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = GATConv(*case.input_shape, 8, heads=8, dropout=0.6)
            self.b = GATConv(64, case.num_classes, concat=False, dropout=0.6)

        def forward(self, x, edges):
            x = F.dropout(x, 0.6, self.training)
            x = F.dropout(F.elu(self.a(x, edges)), 0.6, self.training)
            return self.b(x, edges)

    model = Net()
    return model, torch.optim.Adam(model.parameters(), 0.005, weight_decay=5e-4)


SHAPE, SPARSE = (1433,), {"sparse": True}

CASES = {
    "gcn_cora": GraphCase(
        "gnn", "gcn", SHAPE, 1, 20, {"torch-geometric": gcn}, SPARSE, num_classes=7, epochs=20,
    ),
    "gat_cora": GraphCase(
        "gnn", "gat", SHAPE, 1, 20, {"torch-geometric": gat}, {**SPARSE, "message_dropout": 0.0},
        num_classes=7, epochs=20, why="gathers and sums over edges: see the row on JAX",
    ),
}  # fmt: skip
