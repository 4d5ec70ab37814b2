"""The square of a neuron's output as a graph, after the sweep, with the same numbers as a table."""

from fp_autograd.drawing import Node, draw, recorded
from fp_autograd.value import Value


def render() -> str:
    """The drawing of the section and its numbers."""
    x, w, b = Value(2.0), Value(-0.5), Value(0.25)
    s = w * x + b
    y = s.tanh()
    loss = y * y
    loss.backward()
    names = {"x": x, "w": w, "b": b, "s": s, "y": y, "loss": loss}
    picture = draw(loss, names, title="A neuron, y = tanh(w x + b), and the gradients of y²")
    return picture + table(recorded(loss), {id(node): name for name, node in names.items()})


def table(nodes: list[Node], names: dict[int, str]) -> str:
    """One node a row."""
    heads = "".join(
        f'<th scope="col">{head}</th>'
        for head in ("node", "operation", "operands", "local derivatives", "value", "gradient")
    )
    called = [names.get(id(node.source), node.id) for node in nodes]
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{node.operation or "input"}</td>'
        f"<td>{', '.join(called[j] for j in node.operands)}</td>"
        f"<td>{', '.join(f'{slope:.4g}' for _, slope in node.source.edges)}</td>"
        f"<td>{node.value:.4g}</td><td>{node.source.grad:.4g}</td></tr>"
        for name, node in zip(called, nodes, strict=True)
    )
    return (
        "<table><caption>The numbers that the drawing shows, in the order in which they were made</caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    )
