"""
The autograd visualizer: its arithmetic is stage 2's, and the page shows it to mouse and keyboard.

What needs Node.js or Chromium is skipped where they are absent, and fails where `CI=true` says that they must be there.
"""

import functools
import importlib.util
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import sync_playwright

WIDGETS = Path(__file__).parents[1] / "book" / "widgets"
FOLDER = WIDGETS / "autograd"
spec = importlib.util.spec_from_file_location("widget_golden_autograd", FOLDER / "golden.py")
golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(golden)


def absent(reason):
    """Skip on a desk, fail in continuous integration."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def close(one, other):
    # a libm may round a transcendental function's last bit its own way; the largest condition number here is below 1000
    return one == other or (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-12)


def same(ours, theirs):
    """Whether two lists of nodes agree: form exactly, numbers up to rounding."""
    form = ("name", "op", "operands")
    assert [[v[key] for key in form] for v in ours] == [[v[key] for key in form] for v in theirs]
    for v, w in zip(ours, theirs, strict=True):
        for key in ("value", "grad"):
            assert close(float(v[key]), float(w[key])), (v, w)
        assert all(map(close, map(float, v["locals"]), map(float, w["locals"]))), (v, w)
    return True


# --- the arithmetic, in Node -----------------------------------------------------------------------------------------

RUN = """
for (const file of ["expression.js", "engine.js", "layout.js", "steps.js"]) require(`./${file}`);
const { Stop, evaluate, g, layout, last, parse, place, repr, sweep, view } = globalThis.autograd;
const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
const answers = given.map(({ text, at, number, operands }) => {
    if (number !== undefined) {
        const x = { inf: Infinity, "-inf": -Infinity, nan: NaN }[number] ?? Number(number);
        return { repr: repr(x), 4: g(x, 4), 6: g(x, 6) };
    }
    if (operands) return layout(operands, operands.map(() => [100, 60]), [60, 30], false);
    try {
        const nodes = evaluate(parse(text), at), { gradients, steps } = sweep(nodes);
        const said = Array.from({ length: last(nodes) + 1 }, (_, s) => view(nodes, s).said.flat());
        const shown = nodes.map(({ name, op, operands, locals, value }, k) => ({
            name, op, operands, locals: locals.map(repr), value: repr(value), grad: repr(gradients[k]) }));
        return { nodes: shown, steps, said };
    } catch (error) {
        if (!(error instanceof Stop)) throw error;
        return { message: error.message, at: error.at, end: error.end, place: place(text, error.at) };
    }
});
console.log(JSON.stringify(answers));
"""


def in_node(questions):
    if not shutil.which("node"):
        absent("Node.js runs the page's arithmetic outside a browser and is not installed")
    asked = json.dumps(questions)
    run = subprocess.run(
        ["node", "-e", RUN], cwd=FOLDER, input=asked, capture_output=True, encoding="utf8", check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_golden_values_are_what_python_computes():
    kept, now = json.loads(golden.GOLDEN.read_text("utf8")), golden.golden()
    for key in ("errors", "numbers"):
        assert kept[key] == now[key]
    assert len(kept["cases"]) >= 40
    for one, other in zip(kept["cases"], now["cases"], strict=True):
        assert (one["text"], one["at"]) == (other["text"], other["at"])
        assert same(one["nodes"], other["nodes"])


def test_every_node_has_pythons_value_slopes_and_gradient():
    cases = json.loads(golden.GOLDEN.read_text("utf8"))["cases"]
    for case, answer in zip(cases, in_node(cases), strict=True):
        assert same(answer["nodes"], case["nodes"])
        if not re.search(
            r"exp|log|tanh|sigmoid|\*\*", case["text"]
        ):  # then every operation is rounded as IEEE 754 says
            assert answer["nodes"] == case["nodes"], case["text"]


def test_the_golden_cases_use_every_operation_of_a_value():
    made = {v["op"] for case in golden.golden()["cases"] for v in case["nodes"]}
    kinds = {re.sub(r"-?\d[\d.e+-]*", "c", op) for op in made}
    binary = {form.format(sign) for sign in ("+", "-", "*", "/", "**") for form in ("{}", "{} c")}
    assert kinds >= binary | {"c -", "c /", "c **", "exp", "log", "tanh", "sigmoid", "relu", "dot", ""}


def test_the_sweep_takes_each_result_once_after_its_users_and_shares_add_up():
    cases = json.loads(golden.GOLDEN.read_text("utf8"))["cases"]
    for answer in in_node(cases):
        nodes, taken = answer["nodes"], [step["node"] for step in answer["steps"]]
        assert sorted(taken) == [k for k, v in enumerate(nodes) if v["operands"]]
        for user in taken:
            operands = [k for k in nodes[user]["operands"] if nodes[k]["operands"]]
            assert all(taken.index(user) < taken.index(k) for k in operands)
        for k, v in enumerate(nodes[:-1]):
            shares = [share for step in answer["steps"] for share in step["shares"] if share["to"] == k]
            assert [share["complete"] for share in shares] == [False] * (len(shares) - 1) + [True]
            if None not in (total := shares[-1]["total"], *(share["share"] for share in shares)):  # JSON has no inf
                assert repr(float(total)) == v["grad"] and close(total, sum(share["share"] for share in shares))
        assert all(answer["said"]), "every step is told in words"


def test_errors_of_arithmetic_have_pythons_words_and_a_place():
    errors = json.loads(golden.GOLDEN.read_text("utf8"))["errors"]
    for error, answer in zip(errors, in_node(errors), strict=True):
        assert answer["message"] == error["message"]
        assert error["text"][answer["at"] : answer["end"]] in ("log", "/", "**", "dot")


def test_numbers_are_written_as_python_writes_them():
    numbers = json.loads(golden.GOLDEN.read_text("utf8"))["numbers"]
    assert in_node([{"number": row["repr"]} for row in numbers]) == numbers


MISTAKES = [  # the text, what stands where its reading stopped, words of the sentence
    ("", "", "Write an expression"),
    ("x +", "", "needed, but the text ends"),
    ("x +\ny", "\n", "needed, but the line ends"),
    ("2x", "x", "* for a product"),
    ("x y", "y", "* for a product"),
    ("(x + 1", "", "for the bracket at character 1 is needed"),
    ("x + 1)", ")", "“)” stands here"),
    ("(x y)", "y", "An operation"),
    ("x ^ 2", "^", "a power is written **"),
    ("x × y", "×", "a product is written *"),
    ("x $ y", "$", "has no meaning"),
    ("x² + 1", "²", "a square is written ** 2"),
    ("toString(x)", "toString", "If a product is meant, write toString * ( … )."),
    ("x + 🙂", "🙂", "has no meaning"),
    ("+x", "+", "no plus sign of its own"),
    ("x * / y", "/", "“/” stands here"),
    ("sqrt(x)", "sqrt", "u ** 0.5"),
    ("sin(x)", "sin", "none of the functions exp, log"),
    ("tanh x", "x", "tanh(u)"),
    ("tanh", "", "tanh(u)"),
    ("exp(x, y)", ",", "“)” for the bracket"),
    ("x.sin()", "sin", "one of exp, log"),
    ("x.exp(2)", "2", "nothing between its brackets"),
    ("x.exp", "", "u.exp()"),
    ("dot(x, y)", "x", "a list of factors"),
    ("dot([x y], [1, 2])", "y", "A comma"),
    ("1 + 2", "+", "the number 3"),
    ("x + 1 = y", "=", "a single name"),
    ("x = x * x", "x", "needed to compute itself"),
    ("y = a*x\na = 3", "a", "used before this line"),
    ("y = x\ny = 2*x", "y", "names a result already"),
    ("exp = x", "exp", "is a function"),
    ("(" * 200 + "x" + ")" * 200, "(", "nested 100 deep"),
    ("+".join(["x"] * 400), "+", "300 nodes"),
    ("x*" * 3000 + "x", None, "At most 4000 characters"),
    (")", ")", "is needed, but “)” stands here"),
]


@functools.cache
def read_all():
    texts = [text for text, *_ in MISTAKES]
    return dict(zip(texts, in_node([{"text": text, "at": {"x": 2, "y": 3}} for text in texts]), strict=True))


@pytest.mark.parametrize(("text", "stopped", "words"), MISTAKES)
def test_what_cannot_be_read_is_said_in_words_at_its_place(text, stopped, words):
    answer = read_all()[text]
    assert words in answer["message"]
    assert re.search(r"character \d+( of line \d+)?$", answer["place"])
    if stopped is not None:
        utf16 = text.encode("utf-16-le")
        assert utf16[2 * answer["at"] : 2 * answer["end"]].decode("utf-16-le") == stopped


def test_boxes_and_texts_on_edges_cover_nothing():
    graphs = [{"operands": [v["operands"] for v in case["nodes"]]} for case in golden.golden()["cases"]]
    for graph, found in zip(graphs, in_node(graphs), strict=True):
        rectangles = [(x - 50, y - 30, x + 50, y + 30) for x, y in found["boxes"]]
        rectangles += [(x - 30, y - 15, x + 30, y + 15) for x, y in (e["label"] for e in found["edges"])]
        for (a, b, c, d), (e, f, g, h) in itertools.combinations(rectangles, 2):
            assert c <= e + 0.2 or g <= a + 0.2 or d <= f + 0.2 or h <= b + 0.2, graph  # places are rounded to tenths
        for left, top, right, bottom in rectangles:
            assert min(left, top, found["width"] - right, found["height"] - bottom) >= -0.2
        assert all(found["boxes"][e["from"]][0] < found["boxes"][e["to"]][0] for e in found["edges"])


# --- the page, in a browser ------------------------------------------------------------------------------------------


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def http():
    handler = functools.partial(QuietHandler, directory=WIDGETS)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/autograd/index.html"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    switches = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    choice = {"executable_path": found} if found else {"channel": "chrome"}
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(args=["--no-sandbox", *switches], **choice)
        except BrowserError as error:
            absent(f"no Chromium to look at the page with: {error.message.splitlines()[0]}")
        yield chromium
        chromium.close()


FILE = (FOLDER / "index.html").as_uri()


@pytest.fixture
def opened(browser):
    """Opens the page; at the end there must have been no error and no request to anywhere else."""
    problems, contexts = [], []

    def open_page(url=FILE, **options):
        context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 900}, "reduced_motion": "reduce"} | options
        )
        contexts.append(context)
        page = context.new_page()
        home = url.split("autograd/")[0]
        page.on("request", lambda r: r.url.startswith((home, "data:")) or problems.append(f"asks for {r.url}"))
        page.on("requestfailed", lambda r: problems.append(f"{r.url} failed"))
        page.on("console", lambda m: m.type in ("error", "warning") and problems.append(m.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def table(page):
    """The table as it is shown: name to value, gradient (`None` if empty) and whether the gradient waits for more."""
    rows = page.locator("#table tbody tr").evaluate_all(
        """rows => rows.map(row => [row.dataset.node, ...["value", "gradient"].map(kind => {
            const data = row.querySelector(`.${kind} data`);
            return data && [data.value, data.textContent];
        }), row.querySelector(".gradient").textContent.includes("so far")])"""
    )
    for _, *cells, _ in rows:
        assert all(cell is None or f"{float(cell[0]) + 0.0:.6g}" == cell[1] for cell in cells)
    return {name: (v and float(v[0]), g and float(g[0]), partial) for name, v, g, partial in rows}


def inputs(page):
    return page.locator("#inputs .input").evaluate_all(
        "rows => Object.fromEntries(rows.map(row => [row.dataset.name, Number(row.querySelector('input').value)]))"
    )


def agrees(page):
    """The page, at its last step, with what Python makes of the expression and the inputs on it."""
    python = golden.compute(page.locator("#expression").input_value(), inputs(page))
    shown = table(page)
    assert list(shown) == [v["name"] or f"v{k + 1}" for k, v in enumerate(python)]
    for (value, gradient, partial), v in zip(shown.values(), python, strict=True):
        assert close(value, float(v["value"])) and close(gradient, float(v["grad"])) and not partial
    drawn = page.locator("#graph .node .value").all_text_contents()
    assert drawn == [f"{float(v['value']) + 0.0:.4g}" for v in python]
    assert page.locator("#graph .node .gradient").all_text_contents() == [
        f"{float(v['grad']) + 0.0:.4g}" for v in python
    ]
    slopes = sorted(f"{float(slope) + 0.0:.4g}" for v in python for slope in v["locals"])
    assert sorted(page.locator("#graph .local").all_text_contents()) == slopes
    return python


def write(page, text, **values):
    page.locator("#expression").fill(text)
    for name, x in values.items():
        page.get_by_role("spinbutton", name=name, exact=True).fill(str(x))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_every_example_shows_pythons_numbers(opened, http, scheme):
    page = opened(http if scheme == "http" else FILE)
    examples = page.locator("#preset option").all_text_contents()[1:]
    assert len(examples) >= 5
    for example in examples:
        page.get_by_label("or an example").select_option(example)
        page.get_by_role("button", name="End").click()
        assert agrees(page)


RESTORED = """([text, at]) => document.getElementById("expression").value === text
    && [...document.querySelectorAll("#inputs .input")].every(
        row => Number(row.querySelector("input").value) === at[row.dataset.name])"""


@pytest.mark.slow
def test_the_table_of_golden_values_is_shown(opened):
    page = opened()
    for text, at in golden.CASES:
        fragment = {"f": text, "at": ",".join(f"{name}:{x}" for name, x in at.items()), "step": 999}
        page.evaluate("hash => { location.hash = hash }", urlencode(fragment))
        page.wait_for_function(RESTORED, arg=[text, at])
        assert agrees(page)


@pytest.mark.slow
@pytest.mark.parametrize("hand", ["mouse", "keyboard"])
def test_one_node_at_a_time_forward_and_back(opened, hand):
    page = opened()
    write(page, "x*x + x", x=3)
    page.locator("h1").click()
    names = {"Reset": "Home", "Back": "ArrowLeft", "Forward": "ArrowRight", "End": "End"}

    def press(name):
        page.get_by_role("button", name=name).click() if hand == "mouse" else page.keyboard.press(names[name])

    expected = [  # of x, v2 = x*x and v3 = v2 + x
        ((3, None, False), (None, None, False), (None, None, False)),
        ((3, None, False), (9, None, False), (None, None, False)),
        ((3, None, False), (9, None, False), (12, None, False)),
        ((3, 0, True), (9, 0, True), (12, 1, False)),
        ((3, 1, True), (9, 1, False), (12, 1, False)),
        ((3, 7, False), (9, 1, False), (12, 1, False)),
    ]
    said = [
        "Start: the inputs have their values. Step forward to compute the first result.",
        "Forward, 1 of 2: v2 = x * x = 3 * 3 = 9" + 2 * " local derivative in x: the other factor = 3",
        "Forward, 2 of 2: v3 = v2 + x = 9 + 3 = 12 local derivative in v2: 1 local derivative in x: 1",
        "Backward begins: v3 has gradient 1, as every number moves with itself. All others begin at 0.",
        "Backward, 1 of 2: the gradient of v3 is complete, 1, and it hands back "
        "to v2: 1 × 1 = 1; it has 1, complete to x: 1 × 1 = 1; it has 1 so far",
        "Backward, 2 of 2: the gradient of v2 is complete, 1, and it hands back to x: 1 × 3 = 3; it has 4 so far "
        "to x: 1 × 3 = 3; it has 7, complete This was the last: all gradients are complete.",
    ]

    def check(step):
        assert tuple(table(page).values()) == expected[step]
        assert " ".join(page.locator("#said").inner_text().split()) == said[step]
        assert page.locator("#count").inner_text() == f"{step} of 5"

    press("Reset") if hand == "keyboard" else None
    for step in range(5):
        check(step)
        press("Forward")
    check(5)
    for step in reversed(range(5)):
        press("Back")
        check(step)
    press("End")
    check(5)
    assert page.evaluate("scrollY + scrollX") == 0, "the key was not for the page"
    press("Reset")
    check(0)
    edges = page.locator("#graph .edge.active")
    assert edges.count() == 0
    press("Forward")
    assert edges.count() == 2
    assert page.locator("#graph .node.current .name").text_content() == "v2"
    assert page.locator("#table tr[aria-current=step] th").inner_text() == "v2"


@pytest.mark.slow
@pytest.mark.parametrize("hand", ["mouse", "keyboard"])
def test_play_runs_to_the_end_and_pauses(opened, hand):
    page = opened()
    page.get_by_label("Pace").select_option("fast")
    write(page, "tanh(x*x)", x=0.5)
    page.locator("h1").click()

    def toggle():
        page.locator("#play").click() if hand == "mouse" else page.keyboard.press("Space")

    toggle()
    page.wait_for_function("document.getElementById('count').textContent === '2 of 5'")
    toggle()
    assert page.locator("#play").inner_text() == "Play"
    page.wait_for_timeout(600)
    assert page.locator("#count").inner_text() == "2 of 5"
    toggle()
    page.wait_for_function("document.getElementById('count').textContent === '5 of 5'")
    assert page.locator("#play").inner_text() == "Play"
    assert agrees(page)


@pytest.mark.slow
def test_an_edited_input_changes_all_numbers_at_the_same_step(opened):
    page = opened()
    page.get_by_label("or an example").select_option("logistic loss")
    page.get_by_role("button", name="End").click()
    before = table(page)
    page.get_by_role("spinbutton", name="x", exact=True).fill("-2.25")
    assert inputs(page)["x"] == -2.25
    assert agrees(page)
    after = table(page)
    assert all(before[name][:2] != after[name][:2] for name in ("x", "w", "v5", "v6", "p", "v15"))
    slider = page.get_by_role("slider", name="w, slider")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert inputs(page)["w"] == 0.85
    assert agrees(page)
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.25, box["y"] + box["height"] / 2)
    assert -4 < inputs(page)["w"] < -1
    assert agrees(page)


@pytest.mark.slow
def test_an_input_that_is_no_number_is_refused_in_words(opened):
    page = opened()
    write(page, "x*x", x=3)
    page.get_by_role("button", name="End").click()
    field = page.get_by_role("spinbutton", name="x", exact=True)
    field.fill("")
    assert page.locator("#inputs .problem").inner_text() == "x needs a number, as -0.5 or 1e-3; it stays 3.0."
    assert table(page)["x"] == (3, 6, False)
    field.fill("1e-3")
    assert page.locator("#inputs .problem").inner_text() == ""
    assert table(page)["x"] == (1e-3, 2e-3, False)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_link_restores_expression_inputs_and_step(opened, http, scheme):
    page = opened(http if scheme == "http" else FILE)
    text = "α = exp(x1 / y)\n-(α*α + 1e-3)"
    write(page, text, x1=-1e-7, y=0.30000000000000004)
    for _ in range(5):
        page.get_by_role("button", name="Forward").click()
    page.wait_for_function("location.hash.endsWith('step=5')")  # without being asked to
    page.get_by_role("button", name="Copy the link").click()
    page.wait_for_function("document.getElementById('copied').textContent !== ''")
    link = page.locator("#link").input_value()
    assert link == page.url
    other = opened(link)
    assert other.locator("#expression").input_value() == text
    assert inputs(other) == {"x1": -1e-7, "y": 0.30000000000000004}
    assert other.locator("#count").inner_text() == page.locator("#count").inner_text() == "5 of 11"
    assert table(other) == table(page)
    other.locator("h1").click()
    other.keyboard.press("End")
    assert agrees(other)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fragment",
    [
        "",
        "#",
        "#f",
        "#f=",
        "#f=x*x&at=x:abc,:3,x,y:&step=-7",
        "#f=x*x&at=x:1e999&step=2.5",
        "#f=%28%28",
        "#at=x:3",
        "#f=%E0%A4%A",
    ],
)
def test_a_damaged_link_opens_a_page_that_works(opened, fragment):
    page = opened(FILE + fragment)
    write(page, "x*y", x=2, y=5)
    page.get_by_role("button", name="End").click()
    assert table(page) == {"x": (2, 5, False), "y": (5, 2, False), "v3": (10, 1, False)}


@pytest.mark.slow
def test_any_name_can_be_an_input(opened):
    page = opened(FILE + "#f=constructor*__proto__&at=constructor:2,__proto__:5")
    page.get_by_role("button", name="End").click()
    assert table(page) == {"constructor": (2, 5, False), "__proto__": (5, 2, False), "v3": (10, 1, False)}
    page.locator("#expression").fill("valueOf*toString")  # with values that nobody gave, at the same step
    assert table(page)["v3"] == (1, 1, False)


@pytest.mark.slow
def test_a_mistake_is_said_and_marked_and_the_last_graph_stays(opened):
    page = opened()
    write(page, "x*x + x", x=3)
    page.get_by_role("button", name="End").click()
    field, problem = page.locator("#expression"), page.locator("#problem")
    field.fill("y = x*x\ny + sin(x)")
    assert "sin is none of the functions exp, log, tanh, sigmoid, relu and dot." in problem.inner_text()
    assert "(at character 5 of line 2)" in problem.inner_text()
    assert problem.locator("mark").inner_text() == "sin"
    assert problem.locator("pre").inner_text() == "y + sin(x)"
    assert field.get_attribute("aria-invalid") == "true"
    assert page.get_by_role("button", name="Back").is_disabled()
    assert "last expression" in page.locator("#said").inner_text()
    assert table(page)["x"] == (3, 7, False)
    field.fill("y = x*x\ny + tanh(x)")
    assert problem.inner_text() == ""
    assert field.get_attribute("aria-invalid") is None
    page.get_by_role("button", name="End").click()
    assert agrees(page)
    field.fill("log(x)")
    page.get_by_role("spinbutton", name="x", exact=True).fill("-1")
    assert "log needs a positive number, got -1.0." in problem.inner_text()
    assert problem.locator("mark").inner_text() == "log"
    page.get_by_role("spinbutton", name="x", exact=True).fill("1")
    assert problem.inner_text() == ""
    assert agrees(page)


@pytest.mark.slow
def test_keys_in_a_field_write_and_do_not_step(opened):
    page = opened()
    page.locator("#expression").fill("x*x")
    page.locator("#expression").press("End")
    page.keyboard.type(" + x")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Home")
    assert page.locator("#expression").input_value() == "x*x + x"
    assert page.locator("#count").inner_text() == "0 of 5"
    assert page.locator("#play").inner_text() == "Play"


FOCUS = """() => {
    const e = document.activeElement, style = getComputedStyle(e);
    if (e === document.body) return null;
    return [e.id || e.tagName, e.matches(":focus-visible"), style.outlineStyle, style.outlineWidth];
}"""
NAMELESS = """all => all.filter(e => !(e.ariaLabel || e.labels?.length || e.getAttribute("aria-labelledby")
    || e.textContent.trim())).map(e => e.outerHTML)"""


@pytest.mark.slow
def test_everything_can_be_reached_and_seen_by_keyboard(opened):
    page = opened()
    page.get_by_role("button", name="Forward").click()
    page.locator("h1").click()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen = page.evaluate(FOCUS)
        if seen is None:
            break
        reached.append(seen[0])
        assert seen[1] and seen[2] != "none" and seen[3] != "0px", seen
    wanted = {"preset", "expression", "reset", "back", "play", "forward", "end", "step", "pace", "frame", "smaller"}
    wanted |= {"larger", "fit", "direction", "copy", "link", "input-0"}
    assert set(reached) >= wanted
    nameless = page.locator("button, input, select, textarea, [tabindex]").evaluate_all(NAMELESS)
    assert nameless == []
    assert page.locator("#said").get_attribute("aria-live") == "polite"


@pytest.mark.slow
def test_the_picture_is_moved_and_sized_by_mouse_and_keyboard(opened):
    page = opened()
    page.get_by_label("or an example").select_option("a vanishing chain")
    frame, zoom = page.locator("#frame"), page.locator("#zoom")
    for _ in range(5):
        page.get_by_role("button", name="Larger").click()
    large = zoom.inner_text()
    box = frame.bounding_box()
    frame.evaluate("e => e.scrollTo(300, 0)")
    page.mouse.move(box["x"] + 300, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 60, steps=4)
    page.mouse.up()
    page.mouse.move(box["x"] + 100, box["y"] + 60)
    assert frame.evaluate("e => e.scrollLeft") == 400
    frame.focus()
    page.keyboard.press("Shift+ArrowRight")
    assert frame.evaluate("e => e.scrollLeft") == 480
    page.keyboard.press("-")
    assert zoom.inner_text() != large
    page.keyboard.press("0")
    inside = "e => e.scrollWidth <= e.clientWidth && e.scrollHeight <= e.clientHeight"
    assert frame.evaluate(inside)
    page.get_by_label("Runs").select_option("top to bottom")
    page.get_by_role("button", name="Fit").click()
    assert frame.evaluate(inside)


LETTERS = "e => 13 * e.getBoundingClientRect().width / e.viewBox.baseVal.width"  # their size on the screen, in pixels
IN_SIGHT = """() => {
    const [a, b] = ["#frame", ".node.current rect"].map(e => document.querySelector(e).getBoundingClientRect());
    return a.left <= b.left && b.right <= a.right && a.top <= b.top && b.bottom <= a.bottom;
}"""
OVERFLOW = """all => all.filter(node => {
    const [box, ...texts] = [...node.querySelectorAll("rect, text")].map(e => e.getBoundingClientRect());
    return texts.some(t => t.width && (t.left < box.left - 1 || t.right > box.right + 1));
}).map(node => node.textContent)"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_a_large_graph_can_be_read_and_the_node_in_question_is_in_sight(opened, width, scheme):
    (text, at), *_ = [case for case in golden.CASES if case[0] == golden.LARGE]
    where = quote(",".join(f"{n}:{x}" for n, x in at.items()))
    page = opened(f"{FILE}#f={quote(text)}&at={where}", viewport={"width": width, "height": 844}, color_scheme=scheme)
    nodes = page.locator("#graph .node")
    assert nodes.count() >= 40
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#graph").evaluate(LETTERS) >= 11
    for step in range(0, int(page.locator("#step").get_attribute("max")) + 1, 3):
        page.locator("#step").evaluate("(e, s) => { e.value = s; e.dispatchEvent(new Event('input')) }", step)
        if page.locator(".node.current").count():
            assert page.evaluate(IN_SIGHT)
    page.locator("h1").click()
    page.keyboard.press("End")
    assert agrees(page)
    overflow = page.locator("#graph .node").evaluate_all(OVERFLOW)
    assert overflow == []


CONTRAST = """() => {
    const parts = colour => (colour.match(/[\\d.]+/g) ?? []).map(Number);
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = colour => parts(colour).slice(0, 3).map(v => linear(v / 255))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = e => {
        for (; e; e = e.parentElement) {
            const box = e.tagName === "g" && e.querySelector("rect");
            const colour = box ? getComputedStyle(box).fill : getComputedStyle(e).backgroundColor;
            if (colour !== "none" && parts(colour)[3] !== 0) return colour;
        }
        return "rgb(255, 255, 255)";
    };
    const low = [], apart = ":disabled, option, noscript, .visually-hidden";
    for (const e of document.querySelectorAll("main *")) {
        if (e.closest(apart) || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
        const style = getComputedStyle(e), a = light(e.closest("svg") ? style.fill : style.color), b = light(ground(e));
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) low.push([e.tagName, e.getAttribute("class"), e.textContent.slice(0, 30), ratio.toFixed(2)]);
    }
    return low;
}"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_from_its_ground(opened, scheme):
    page = opened(color_scheme=scheme)
    page.get_by_label("or an example").select_option("logistic loss")
    for step in (1, 14, 17):
        page.locator("#step").evaluate("(e, s) => { e.value = s; e.dispatchEvent(new Event('input')) }", step)
        assert page.evaluate(CONTRAST) == [], "the contrast that WCAG 2 asks of text"
    page.locator("#expression").fill("x +* 2")
    assert page.evaluate(CONTRAST) == []
