r"""
In which order a gradient goes back.

Level: concept. You need `fp_autograd.value`.

The backward sweep visits the nodes of a graph one after another. When a node is visited, its gradient is taken for
finished and is sent on to the nodes that it was computed from. A node that is visited too early sends on a gradient to
which something is still missing, and one that is visited twice sends on something twice.

Draw two graphs on paper before you write. In the first, $h = x^2$ and $y = x + h$; in the second, $b$ and $c$ are both
computed from $a$, and $d$ from $b$ and $c$. Which orders are allowed? Does a walk from the output find one if it goes
as deep as it can first, and if it goes level by level?

Then count. A program that sends each gradient on *as soon as any of it arrives*, and remembers nothing, gets the right
sums too. But it comes to a node once for every path that leads there from the output. How many visits does it make? The
check asks that of a graph with more paths than a computer can walk along in a year, so think: how does the number of
visits to a node follow from the numbers of its users? You will have met that rule: it is the backward sweep itself, on
a graph where every local derivative is 1.

Every engine holds such an order. Large models run the same sweep over some thousand tensor operations, and it is the
residual connections, $y = x + f(x)$, that make the number of paths double from layer to layer.
"""

import time
from numbers import Integral
from typing import Any

HINTS = (
    "A node may be visited when all nodes computed from it have been. Only nodes on a way to the output count, for no "
    "gradient ever reaches the others.",
    "Walk from the output to the operands and write a node down when everything that it was computed from has been "
    "written down already. Which end of that list does the sweep begin with?",
    "`messages` counts the edges into the nodes of the order. For `visits` give the output 1 and go through the order: "
    "each node adds its own number to every operand, once an edge. The answer is the sum of all numbers.",
)


def plan_backward(edges: list[tuple[str, str]], output: str) -> dict[str, list[str] | int]:
    """
    Plan the backward sweep over a graph, and count what it does.

    Parameters
    ----------
    edges
        Pairs `(operand, result)`, in no particular order. A product `x * x` has the edge from `x` twice. No node
        depends on itself, directly or through others.
    output
        The node at which the sweep starts.

    Returns
    -------
    dict
        One answer for each name:

        - `"order"`: every node that `output` depends on, and `output` itself, each once, and each after all its users
          among them. Any such order is right.
        - `"messages"`: how often the sweep in this order sends a gradient along an edge.
        - `"visits"`: how many visits a program makes that starts at the output, and at each visit to a node goes on at
          once to each of its operands, once for each edge, whether it has been there before or not. They may be far
          too many to make: count them without walking.

    Examples
    --------
    >>> answers = plan_backward([("x", "h"), ("h", "y")], output="y")
    >>> answers["order"], answers["messages"], answers["visits"]
    (['y', 'h', 'x'], 2, 3)
    """
    operands = _operands(edges)
    finished: dict[str, None] = {}  # a dict remembers the order in which its keys came

    def finish(node: str) -> None:
        for operand in operands.get(node, []):
            if operand not in finished:
                finish(operand)
        finished[node] = None

    finish(output)
    order = list(reversed(finished))  # operands finish before their users, so the users stand before them here
    visits = dict.fromkeys(order, 0)
    visits[output] = 1
    for node in order:
        for operand in operands.get(node, []):
            visits[operand] += visits[node]
    messages = sum(len(operands.get(node, [])) for node in order)
    return {"order": order, "messages": messages, "visits": sum(visits.values())}


def _operands(edges: list[tuple[str, str]]) -> dict[str, list[str]]:
    """What each node was computed from."""
    operands: dict[str, list[str]] = {}
    for operand, result in edges:
        operands.setdefault(result, []).append(operand)
    return operands


def _ladder(rungs: int) -> list[tuple[str, str]]:
    """Residual layers behind one another: x1 = x0 + f(x0), x2 = x1 + f(x1), …"""
    edges = []
    for k in range(rungs):
        edges += [(f"x{k}", f"x{k + 1}"), (f"x{k}", f"f{k}"), (f"f{k}", f"x{k + 1}")]
    return edges


_CHAIN = [("x", "h"), ("h", "y")]
_RESIDUAL = [("x", "y"), ("x", "h"), ("x", "h"), ("h", "y")]
_DIAMOND = [("c", "d"), ("a", "b"), ("b", "d"), ("a", "c")]
_UNUSED = [("x", "h"), ("h", "y"), ("x", "loss"), ("y", "accuracy"), ("y", "loss"), ("accuracy", "report")]
_WEIGHTS = [("w", "p"), ("x", "p"), ("p", "q"), ("b", "q"), ("q", "r"), ("w", "s"), ("s", "t"), ("r", "t"), ("p", "t")]

PROBES = (
    (_CHAIN, "y"),
    (_RESIDUAL, "y"),
    (_DIAMOND, "d"),
    (_UNUSED, "loss"),
    (_WEIGHTS, "t"),
    (_ladder(3), "x3"),
    ([("x", "y")], "x"),
)


def check(learner: Any) -> None:
    """Raise `AssertionError` with a sentence for the first thing that is wrong."""
    for edges, output in (*PROBES, (_ladder(20), "x20"), (_ladder(60), "x60")):
        start = time.process_time()
        got = learner.plan_backward(list(edges), output)
        # three million visits take longer than this, and sixty edges a thousandth of it
        assert output != "x20" or time.process_time() - start < 0.1, (
            "your program is right so far and too slow for what comes: on twenty residual layers behind one another it "
            "seems to make the visits in order to count them. On sixty that takes longer than a life. How does the "
            "number of visits to a node follow from those to its users?"
        )
        assert isinstance(got, dict), f"expected a dict of three answers, got {got!r:.80}"
        expected = plan_backward(edges, output)
        missing = [key for key in expected if key not in got]
        assert not missing, f"the answer {missing[0]!r} is missing; got the answers {sorted(map(str, got))}"
        arrows = ", ".join(f"{operand} -> {result}" for operand, result in edges)
        case = f"edges {arrows if len(arrows) < 120 else arrows[:120] + ' …'} and output {output}"
        _check_order(got["order"], edges, expected["order"], case)
        for key, why in (
            ("messages", "Each node of the order sends once along each edge to an operand; x * x has two."),
            ("visits", "A node is visited once for each visit to each of its users, edge by edge."),
        ):
            assert isinstance(got[key], Integral) and got[key] == expected[key], (
                f"{case}: {key!r} is the whole number {expected[key]}; got {got[key]!r:.80}. {why}"
            )


def _check_order(order: Any, edges: list[tuple[str, str]], expected: Any, case: str) -> None:
    assert isinstance(order, list) and all(isinstance(node, str) for node in order), (
        f"{case}: 'order' must be a list of names, got {order!r:.80}"
    )
    for node in order:
        assert node in expected, f"{case}: {node} is in your order, but the output does not depend on it"
        assert order.count(node) == 1, f"{case}: your order {_short(order)} visits {node} {order.count(node)} times"
    for node in expected:
        assert node in order, f"{case}: your order {_short(order)} leaves out {node}, on which the output depends"
    for operand, result in edges:
        assert result not in order or order.index(result) < order.index(operand), (
            f"{case}: your order {_short(order)} visits {operand} before {result}, which was computed from it and has "
            f"still a gradient to send to it"
        )


def _short(order: list[str]) -> str:
    return " ".join(order[:12] or ["(empty)"]) + (" …" if len(order) > 12 else "")


def _preorder(edges: list[tuple[str, str]], output: str) -> dict[str, list[str] | int]:
    operands, waiting = _operands(edges), [output]
    order: list[str] = []
    while waiting:
        node = waiting.pop()
        if node not in order:
            order.append(node)
            waiting += reversed(operands.get(node, []))
    return {**plan_backward(edges, output), "order": order}


def _level_by_level(edges: list[tuple[str, str]], output: str) -> dict[str, list[str] | int]:
    operands, order = _operands(edges), [output]
    for node in order:  # grows while it is read
        order += [operand for operand in dict.fromkeys(operands.get(node, [])) if operand not in order]
    return {**plan_backward(edges, output), "order": order}


def _along_every_path(edges: list[tuple[str, str]], output: str) -> dict[str, list[str] | int]:
    operands, waiting = _operands(edges), [output]
    order: list[str] = []
    while waiting and len(order) < 10_000:
        order.append(waiting.pop())
        waiting += reversed(operands.get(order[-1], []))
    return {**plan_backward(edges, output), "order": order}


def _forward_order(edges: list[tuple[str, str]], output: str) -> dict[str, list[str] | int]:
    answers = plan_backward(edges, output)
    finished = answers["order"]
    assert isinstance(finished, list)
    return {**answers, "order": finished[::-1]}


def _with_what_is_unused(edges: list[tuple[str, str]], output: str) -> dict[str, list[str] | int]:
    ends = {node for edge in edges for node in edge} - {operand for operand, _ in edges} - {output}
    everything = plan_backward([*edges, *((end, "") for end in sorted(ends)), (output, "")], "")["order"]
    assert isinstance(everything, list)
    return {**plan_backward(edges, output), "order": everything[1:], "messages": len(edges)}


def _an_edge_once(edges: list[tuple[str, str]], output: str) -> dict[str, list[str] | int]:
    return plan_backward(list(dict.fromkeys(edges)), output)


def _each_node_once(edges: list[tuple[str, str]], output: str) -> dict[str, list[str] | int]:
    answers = plan_backward(edges, output)
    assert isinstance(answers["order"], list)
    return {**answers, "visits": len(answers["order"])}


def _ways_to_the_ends(edges: list[tuple[str, str]], output: str) -> dict[str, list[str] | int]:
    operands = _operands(edges)
    ways, waiting = 0, [output]
    while waiting:
        node = waiting.pop()
        ways += node not in operands
        waiting += operands.get(node, [])
    return {**plan_backward(edges, output), "visits": ways}


MISTAKES = (
    (
        _preorder,
        "You go as deep as you can and write a node down when you come to it. The first path to a node is not its "
        "last: write it down when you leave it, after all its operands, and turn the list round.",
    ),
    (
        _level_by_level,
        "You go level by level from the output. A node that is near by one path and far by another is then visited "
        "before its user on the longer path: with y = x + h(x), x before h.",
    ),
    (
        _along_every_path,
        "You visit a node once for every path to it. Each visit would send on all that has arrived so far, and so send "
        "some of it twice.",
    ),
    (
        _forward_order,
        "Your order is that of the forward pass, operands first. Gradients start at the output: turn it round.",
    ),
    (
        _with_what_is_unused,
        "You visit nodes on which the output does not depend. No gradient reaches them, though they were computed.",
    ),
    (
        _an_edge_once,
        "You count an edge once that is there twice. In x * x both factors send a gradient to x, and both count: that "
        "is where the 2 in 2x comes from.",
    ),
    (
        _each_node_once,
        "You let the program without memory visit each node once. It does not know that it has been there, and comes "
        "again along every other path.",
    ),
    (
        _ways_to_the_ends,
        "You count the paths that reach an input. The program visits all the nodes on the way too: add the numbers of "
        "every node.",
    ),
)
