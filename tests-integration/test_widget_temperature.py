"""
The temperature explorer: its arithmetic is that of the packages, and its page shows what they compute.

What needs Node.js or Chromium is skipped where they are absent, and fails where `CI=true` says that they must be there.
"""

import contextlib
import functools
import importlib.util
import io
import json
import math
import os
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import sync_playwright

from fp_markov import sampling
from fp_markov.information import entropy, perplexity
from fp_transformer.decoding import distribution

WIDGETS = Path(__file__).parents[1] / "book" / "widgets"
FOLDER = WIDGETS / "temperature"

# An entropy adds up to 2048 terms, each with the rounding errors of its probability, at most 3e-13 of it.
CLOSE_SUM = {"rtol": 1e-12, "atol": 1e-13}


def close(V):
    """
    How near two correct softmaxes of V scores lie.

    The page adds V exponentials one after the other, which rounds the sum by at most V units of 2^-53, NumPy in pairs;
    the exponentials themselves may differ in their last bits.
    """
    return {"rtol": (V + 20) * 2.0**-53, "atol": 1e-300}


def load(name):
    spec = importlib.util.spec_from_file_location(f"temperature_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden_values, page_build = load("golden"), load("build")


def absent(reason):
    """Skip on a desk, fail in continuous integration."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


# --- the arithmetic, in Node -----------------------------------------------------------------------------------------

ANSWER = """
const engine = require(process.argv[1]);
const words = { inf: Infinity, "-inf": -Infinity, nan: NaN };
const read = logits => logits.map(z => words[z] ?? z);
const write = logits => logits.map(z => (Number.isFinite(z) ? z : z > 0 ? "inf" : z < 0 ? "-inf" : "nan"));
const settings = ({ temperature = 1, top_k = null, top_p = null, min_p = null }) =>
    ({ temperature, topK: top_k, topP: top_p, minP: min_p });

function answer(given) {
    const logits = read(given.logits), set = settings(given.settings);
    try {
        const steps = engine.stages(logits, set), p = engine.distribution(logits, set), H = engine.entropy(p);
        const draw = engine.drawer(logits, set), generator = new engine.Generator(7);
        const last = steps[steps.length - 1].logits;
        return {
            stages: steps.map(step => write(step.logits)), distribution: p, entropy: H, bits: H / Math.LN2,
            effective: Math.exp(H), drawn: Array.from({ length: 40 }, () => draw(generator)), next: generator.random(),
            kept: last.flatMap((z, i) => (z > -Infinity ? [i] : [])),
        };
    } catch (error) {
        return { message: error.message, kind: error.name };
    }
}

const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
const uniform = ([seed, n]) => {
    const generator = new engine.Generator(seed);
    return Array.from({ length: n }, () => generator.random());
};
process.stdout.write(JSON.stringify({
    cases: (given.cases ?? []).map(answer),
    uniform: (given.uniform ?? []).map(uniform),
    expected_variation: (given.expected_variation ?? []).map(({ p, n }) => engine.expectedVariation(p, n)),
    total_variation: (given.total_variation ?? []).map(([p, q]) => engine.totalVariation(p, q)),
}));
"""


def in_node(**given):
    """What engine.js answers."""
    node = shutil.which("node") or absent("Node.js runs the explorer's arithmetic and is not installed")
    run = subprocess.run(
        [node, "-e", ANSWER, str(FOLDER / "engine.js")],
        input=json.dumps(given),
        capture_output=True,
        encoding="utf8",
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def golden():
    return json.loads(golden_values.FILE.read_text("utf8"))


def assert_same_case(found, wanted):
    assert found.get("message") is None, found
    assert found["kept"] == wanted["kept"]
    assert (found["drawn"], found["next"]) == (wanted["drawn"], wanted["next"])
    for step, expected in zip(found["stages"], wanted["stages"], strict=True):
        np.testing.assert_allclose(np.array(step, float), np.array(expected, float), rtol=1e-15)  # one division
    np.testing.assert_allclose(found["distribution"], wanted["distribution"], **close(len(wanted["logits"])))
    for name in ("entropy", "bits", "effective"):
        np.testing.assert_allclose(found[name], wanted[name], **CLOSE_SUM)


def test_the_golden_values_are_what_the_packages_compute(golden):
    computed = json.loads(json.dumps(golden_values.golden()))
    assert [case["name"] for case in golden["cases"]] == list(golden_values.CASES)
    assert golden["uniform"] == computed["uniform"]
    assert golden["refused"] == computed["refused"]
    for old, new in zip(golden["cases"], computed["cases"], strict=True):
        assert (old["logits"], old["settings"]) == (new["logits"], new["settings"])
        assert_same_case(old, new)
    for old, new in zip(golden["expected_variation"], computed["expected_variation"], strict=True):
        assert old == new | {"value": pytest.approx(old["value"], rel=1e-12)}  # sums of a hundred terms


def test_the_engine_computes_the_golden_values(golden):
    answers = in_node(cases=golden["cases"])["cases"]
    for found, wanted in zip(answers, golden["cases"], strict=True):
        assert_same_case(found, wanted)


def test_the_engine_refuses_what_python_refuses_with_the_same_sentence(golden):
    answers = in_node(cases=golden["refused"])["cases"]
    assert [answer["message"] for answer in answers] == [case["message"] for case in golden["refused"]]
    assert {answer["kind"] for answer in answers} == {"RangeError"}


def test_the_engine_agrees_on_random_scores_and_settings():
    rng, cases = np.random.default_rng(3), []
    while len(cases) < 300:
        V = int(rng.integers(1, 40))
        logits = rng.choice([0.5, 3.0, 40.0]) * rng.normal(size=V)
        logits[rng.random(V) < 0.1] = -np.inf
        if rng.random() < 0.3:
            logits = np.round(logits)  # with equals
        if not np.isfinite(logits).any():
            continue
        choices = {
            "temperature": float(rng.choice([0.0, 0.01, 0.5, 1.0, 3.0, 100.0])),
            "top_k": int(rng.integers(1, V + 1)),
            "top_p": float(1 - rng.random()),
            "min_p": float(1 - rng.random()) ** 3,
        }
        settings = {name: value for name, value in choices.items() if rng.random() < 0.6}
        if not golden_values.near_border(logits, settings):
            cases.append(golden_values.case("random", logits.tolist(), settings))
    for found, wanted in zip(in_node(cases=cases)["cases"], cases, strict=True):
        assert_same_case(found, wanted)


def test_the_generator_is_numpys(golden):
    seeds = [int(seed) for seed in golden["uniform"]]
    found = in_node(uniform=[[seed, 5] for seed in seeds] + [[5, 3000]])["uniform"]
    assert found[:-1] == list(golden["uniform"].values())
    assert found[-1] == np.random.default_rng(5).random(3000).tolist()


def test_the_expected_variation_is_the_mean_over_all_samples(golden):
    found = in_node(expected_variation=golden["expected_variation"])["expected_variation"]
    wanted = [case["value"] for case in golden["expected_variation"]]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-15)  # logarithms of factorials up to 100!


def test_the_expected_variation_of_two_draws_by_hand():
    # two throws of a fair coin: both sides once, distance 0, or one side twice, distance 1/2, each with probability 1/2
    (found,) = in_node(expected_variation=[{"p": [0.5, 0.5], "n": 2}])["expected_variation"]
    assert found == pytest.approx(1 / 4, rel=1e-14)


def test_the_expected_variation_is_what_large_samples_show():
    p, n = distribution(np.array(golden_values.SPREAD)), 100_000
    rng = np.random.default_rng(0)
    distances = np.abs(rng.multinomial(n, p, size=2000) / n - p).sum(axis=1) / 2
    (found,) = in_node(expected_variation=[{"p": p.tolist(), "n": n}])["expected_variation"]
    assert abs(found - distances.mean()) < 4 * distances.std() / math.sqrt(2000)  # four standard errors of the mean


def test_the_total_variation_is_half_the_sum_of_differences():
    p, q = np.random.default_rng(1).dirichlet(np.ones(11), size=2)
    assert in_node(total_variation=[[p.tolist(), q.tolist()], [[1, 0], [0, 1]], [[1, 0], [1, 0]]])[
        "total_variation"
    ] == pytest.approx([np.abs(p - q).sum() / 2, 1, 0], rel=1e-13)  # eleven terms


# --- the model that the build trains ---------------------------------------------------------------------------------


def read_distributions(folder):
    name, _, data = (folder / "distributions.js").read_text("utf8").partition("=")
    assert name.strip() == "window.FP_DISTRIBUTIONS"
    return json.loads(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The widgets as the site holds them."""
    root = tmp_path_factory.mktemp("explorer")
    folder = root / "widgets" / "temperature"
    folder.mkdir(parents=True)
    shutil.copy(WIDGETS / "common.css", folder.parent)
    for file in FOLDER.iterdir():
        if file.suffix in (".html", ".css", ".js"):
            shutil.copy(file, folder)
    page_build.write(folder)
    return root


def test_the_build_trains_the_same_model_each_time(site, tmp_path):
    environment = os.environ | {"PYTHONHASHSEED": "12"}
    subprocess.run([sys.executable, FOLDER / "build.py", tmp_path], check=True, env=environment)
    built = site / "widgets" / "temperature" / "distributions.js"
    assert (tmp_path / "distributions.js").read_bytes() == built.read_bytes()


def test_the_build_writes_distributions_of_different_kinds(site):
    data = read_distributions(site / "widgets" / "temperature")
    assert [context["text"] for context in data["contexts"]] == list(page_build.CONTEXTS)
    assert len({context["id"] for context in data["contexts"]}) == len(page_build.CONTEXTS) >= 12
    effective = []
    for context in data["contexts"]:
        logits = np.array(context["logits"])
        assert logits.shape == (len(data["tokens"]),)
        # log-probabilities, each rounded by at most 5e-5: so far is the logarithm of their sum from zero at most
        assert abs(np.log(np.exp(logits).sum())) <= 5.1e-5
        effective.append(perplexity(float(entropy(distribution(logits)))))
    assert min(effective) < 2, "a context after which the model is sure"
    assert max(effective) > 100, "a context after which it is not"
    version = distribution(np.array(data["contexts"][0]["logits"]))
    assert data["tokens"][int(version.argmax())] == "."  # "Changed in version 3" goes on with a point


# --- the page, in a browser ------------------------------------------------------------------------------------------


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def addresses(site):
    """Where the page is, served and as a file."""
    handler = functools.partial(QuietHandler, directory=site)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        page = "widgets/temperature/index.html"
        yield {"http": f"http://127.0.0.1:{server.server_port}/{page}", "file": f"{site.as_uri()}/{page}"}
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
            absent(f"no Chromium to look at the explorer with: {error.message.splitlines()[0]}")
        yield chromium
        chromium.close()


@contextlib.contextmanager
def opened(browser, address, fragment="", **options):
    """The page; at the end it must have reported no error and asked no other machine for anything."""
    site = address.partition("widgets/")[0]
    with browser.new_context(**{"viewport": {"width": 1200, "height": 900}} | options) as context:
        page = context.new_page()
        trouble = []
        page.on("request", lambda r: r.url.startswith((site, "data:")) or trouble.append(f"asked for {r.url}"))
        page.on("console", lambda m: m.type in ("error", "warning") and trouble.append(m.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("requestfailed", lambda r: trouble.append(f"{r.url} failed"))
        page.goto(address + fragment)
        yield page
        page.wait_for_timeout(350)  # the address and the spoken summary follow when a change has come to rest
        assert trouble == []


@pytest.fixture(params=["http", "file"])
def page(request, browser, addresses):
    with opened(browser, addresses[request.param]) as page:
        yield page


def shown(page):
    """What the page shows, by its own numbers and as people read them."""
    return page.evaluate("""() => ({
        rows: [...document.querySelectorAll("#rows > li")].map(item => ({
            ...item.dataset, text: item.querySelector(".shares").innerText,
            logit: item.querySelector(".logit")?.value,
            widths: [...item.querySelectorAll(".bars > i")].map(bar => bar.getBoundingClientRect().width),
        })),
        table: [...document.querySelectorAll("#stages > tr")].map(line => ({
            ...line.dataset, cells: [...line.cells].map(cell => cell.innerText),
        })),
        distance: { ...document.querySelector("#distance").dataset },
        problem: document.querySelector("#problem").innerText,
        link: document.querySelector("#link").value,
        python: document.querySelector("#python").textContent,
    })""")


def scores_of(page):
    """The logits that stand in the page's fields."""
    return np.array([float(row["logit"]) for row in shown(page)["rows"]])


def assert_shows(page, logits, n=0, seed=7, **settings):
    """The page shows what the packages compute for these scores and settings."""
    seen = shown(page)
    assert seen["problem"] == ""
    before, after = distribution(logits), distribution(logits, **settings)
    rows = seen["rows"]
    own = [row for row in rows if row["id"] != "others"]
    ids = [int(row["id"]) for row in own]
    np.testing.assert_allclose([float(row["before"]) for row in own], before[ids], **close(logits.size))
    np.testing.assert_allclose([float(row["after"]) for row in own], after[ids], **close(logits.size))
    if len(own) < len(rows):
        rest = np.setdiff1d(np.arange(logits.size), ids)
        np.testing.assert_allclose(float(rows[-1]["after"]), after[rest].sum(), **CLOSE_SUM)
    for row, p, q in zip(own, before[ids], after[ids], strict=True):
        assert f"{100 * p:.2f} %" in row["text"] or p < 1e-4, row
        assert ("cut" if q == 0 else f"{100 * q:.2f} %") in row["text"] or 0 < q < 1e-4, row
    steps = golden_values.stages(logits, {name: value for name, value in settings.items() if value is not None})
    expected = [before, *(distribution(step) for step in steps)]
    for line, p in zip(seen["table"], expected, strict=True):
        H = float(entropy(p))
        np.testing.assert_allclose(
            [float(line[name]) for name in ("entropy", "bits", "effective")],
            [H, H / math.log(2), perplexity(H)],
            **CLOSE_SUM,
        )
        assert line["cells"][1] == str((p > 0).sum())
        assert line["cells"][3:] == [f"{x:.{d}f}" for x, d in ((H, 3), (H / math.log(2), 3), (perplexity(H), 2))]
    if n == 0:
        assert seen["distance"] == {}
        return
    rng = np.random.default_rng(seed)
    drawn = [int(sampling.draw(logits, rng, **settings)) for _ in range(n)]
    shares = np.bincount(drawn, minlength=logits.size) / n
    assert [float(row["drawn"]) for row in own] == shares[ids].tolist()
    assert float(seen["distance"]["distance"]) == pytest.approx(np.abs(shares - after).sum() / 2, rel=1e-12, abs=1e-15)


def drag(page, selector, share):
    """Move a slider's thumb with the mouse to a share of its length."""
    slider = page.locator(selector)
    slider.scroll_into_view_if_needed()
    box, place = slider.bounding_box(), float(slider.evaluate("e => (e.value - e.min) / (e.max - e.min)"))
    thumb = 16  # pixels; its middle runs from half of it to half of it before the end
    x = [box["x"] + thumb / 2 + p * (box["width"] - thumb) for p in (place, share)]
    y = box["y"] + box["height"] / 2
    page.mouse.move(x[0], y)
    page.mouse.down()
    page.mouse.move(x[1], y, steps=7)
    page.mouse.up()


@pytest.mark.slow
def test_by_mouse_the_settings_reshape_the_distribution_as_pythons_do(page):
    peaked = scores_of(page)
    assert_shows(page, peaked)
    drag(page, "#t-slider", 0.7)
    t = float(page.locator("#t").input_value())
    assert 2 < t < 5
    assert_shows(page, peaked, temperature=t)
    page.locator("#p-on").click()
    assert_shows(page, peaked, temperature=t, top_p=0.9)
    drag(page, "#p-slider", 0.6)
    p = float(page.locator("#p").input_value())
    assert 0.5 < p < 0.7
    page.locator("#k-on").click()
    page.locator("#m-on").click()
    drag(page, "#m-slider", 0.5)
    m = float(page.locator("#m").input_value())
    assert_shows(page, peaked, temperature=t, top_k=3, top_p=p, min_p=m)
    drag(page, "#t-slider", 0)
    assert_shows(page, peaked, temperature=0, top_k=3, top_p=p, min_p=m)
    page.get_by_role("button", name="Reset the settings").click()
    assert_shows(page, peaked)


@pytest.mark.slow
def test_by_keyboard_everything_can_be_reached_and_changed(page):
    peaked = scores_of(page)
    page.locator("#source").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "t-slider"
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert page.locator("#t").input_value() == "0.562"
    assert_shows(page, peaked, temperature=0.562)
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.type("1e6")
    assert_shows(page, peaked, temperature=1e6)
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.id") == "k-on"
    assert_shows(page, peaked, temperature=1e6, top_k=3)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert_shows(page, peaked, temperature=1e6, top_k=4)
    page.keyboard.press("Tab")
    page.keyboard.press("Control+A")
    page.keyboard.press("Delete")  # an empty field leaves the step out
    assert_shows(page, peaked, temperature=1e6)
    page.locator("#source").focus()
    page.keyboard.type("Ties")
    page.wait_for_function("document.getElementById('source').value === 'ties'")
    page.get_by_role("button", name="Draw 10", exact=True).focus()
    page.keyboard.press("Enter")
    assert_shows(page, scores_of(page), n=10, temperature=1e6)


@pytest.mark.slow
def test_scores_are_changed_added_removed_and_cut(page):
    logits = scores_of(page)
    drag(page, "#rows > li:nth-child(2) .slide", 0.9)
    changed = scores_of(page)
    assert changed[1] > 6
    assert (np.delete(changed, 1) == np.delete(logits, 1)).all()
    assert page.locator("#source").input_value() == "hand"
    assert_shows(page, changed)
    page.get_by_label("Logit of token 1", exact=True).fill("-inf")
    changed[0] = -np.inf
    assert_shows(page, changed)
    page.get_by_role("button", name="Remove token 3").click()
    changed = np.delete(changed, 2)
    assert page.evaluate("document.activeElement.ariaLabel") == "Remove token 3"
    page.get_by_role("button", name="Add a token").click()
    page.keyboard.press("Control+A")
    page.keyboard.type("<b>new</b> & 'old'")
    page.get_by_label("Logit of token 8", exact=True).fill("7.25")
    changed = np.append(changed, 7.25)
    page.locator("#t").fill("0.5")
    page.locator("#k").fill("2")
    page.get_by_role("button", name="Draw 1000").click()
    assert_shows(page, changed, n=1000, temperature=0.5, top_k=2)
    for _ in range(7):
        page.get_by_role("button", name="Remove token 1", exact=True).click()
    assert page.locator("#k").input_value() == "1", "top-k never asks for more tokens than there are"
    assert page.get_by_role("button", name="Remove token 1", exact=True).is_disabled()
    assert_shows(page, changed[7:], n=1000, temperature=0.5, top_k=1)
    assert "<b>new</b> & 'old'" in page.locator("#drawn").inner_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "text", "sentence"),
    [
        ("#t", "-1", "the temperature must be zero or more and finite, got -1. Zero is greedy."),
        ("#k", "9", "top_k must lie between 1 and the vocabulary's 8 tokens, got 9. Leave it out to keep all."),
        ("#p", "1.5", "top_p is a probability mass in (0, 1], got 1.5. Leave it out to keep all tokens."),
        ("#t", "warm", "“warm” is no number."),
        ("#t", "0,5", "“0,5” is no number. The decimal sign is a point."),
        ("#t", "", "A number is needed here."),
    ],
)
def test_what_python_refuses_the_page_refuses_and_keeps_what_it_had(browser, addresses, field, text, sentence):
    with opened(browser, addresses["file"]) as page:
        logits = scores_of(page)
        page.locator("#t").fill("2")
        page.locator(field).fill(text)
        assert shown(page)["problem"] == sentence
        assert page.locator(field).get_attribute("aria-invalid") == "true"
        assert page.locator("#problem").get_attribute("role") == "alert"
        page.locator("#source").focus()
        assert_shows(page, logits, temperature=2)
        assert page.locator(field).get_attribute("aria-invalid") is None


@pytest.mark.slow
def test_every_context_of_the_trained_model_shows_its_distribution(site, page):
    data = read_distributions(site / "widgets" / "temperature")
    page.locator("#t").fill("0.8")
    page.locator("#k").fill("8")
    page.locator("#p").fill("0.95")
    page.locator("#m").fill("0.02")
    settings = {"temperature": 0.8, "top_k": 8, "top_p": 0.95, "min_p": 0.02}
    for context in data["contexts"]:
        page.locator("#source").select_option(context["id"])
        assert_shows(page, np.array(context["logits"]), **settings)
        assert f"“{context['text']}”" in page.locator("#about").inner_text()
    logits = np.array(data["contexts"][-1]["logits"])
    page.get_by_role("button", name="Draw 1000").click()
    page.get_by_role("button", name="Show 20 more").click()
    assert page.locator("#rows > li").count() == 41
    assert_shows(page, logits, n=1000, **settings)
    page.get_by_role("button", name="Edit the top 12 by hand").click()
    top = logits[np.argsort(-logits, kind="stable")[:12]]
    assert scores_of(page).tolist() == top.tolist()
    assert_shows(page, top, n=1000, **settings)


@pytest.mark.slow
def test_draws_add_up_and_are_those_of_numpys_generator(page):
    logits = scores_of(page)
    for name, n in (("Draw 1", 1), ("Draw 10", 11), ("Draw 1000", 1011)):
        page.get_by_role("button", name=name, exact=True).click()
        assert_shows(page, logits, n=n)
    page.locator("#seed").fill("12345678901")
    assert_shows(page, logits, n=1011, seed=12345678901)
    page.locator("#t").fill("0")
    assert_shows(page, logits, n=1011, seed=12345678901, temperature=0)
    assert float(shown(page)["distance"]["expected"]) == 0
    page.get_by_role("button", name="Clear").click()
    assert_shows(page, logits, temperature=0)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_shared_address_restores_what_was_seen(browser, addresses, scheme):
    with opened(browser, addresses[scheme]) as page:
        page.get_by_label("Logit of token 2", exact=True).fill("-inf")
        page.get_by_label("Name of token 1", exact=True).fill("ä&=#+ 100%")
        page.locator("#t").fill("1.3")
        page.locator("#m").fill("0.05")
        page.locator("#seed").fill("99")
        page.get_by_role("button", name="Draw 1000").click()
        first, name = shown(page), page.get_by_label("Name of token 1", exact=True).input_value()
        page.wait_for_timeout(350)
        assert page.url == first["link"]
        page.reload()
        assert shown(page) == first
    with opened(browser, first["link"]) as page:
        assert shown(page) == first
        assert page.get_by_label("Name of token 1", exact=True).input_value() == name
        page.evaluate("location.hash = '#s=the-value-of-the&t=0.5&p=0.8&n=10'")  # a link on the same page, followed
        page.wait_for_function("document.getElementById('source').value === 'the-value-of-the'")
        second = shown(page)
    with opened(browser, addresses[scheme], "#s=the-value-of-the&t=0.5&p=0.8&n=10") as page:
        assert shown(page) == second


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fragment", "named"),
    [
        ("#s=nothing", "the scores “nothing”"),
        ("#s=hand&w=a&z=1,2", "its scores"),
        ("#s=hand&w=a&z=", "its scores"),
        ("#s=hand&w=a&w=b&z=-inf,-inf", "its scores"),
        ("#s=hand&w=a&w=b&z=1,inf", "its scores"),
        ("#t=-1&k=0&p=2&m=x&seed=1.5&n=1e9", "t=-1; k=0; p=2; m=x; seed=1.5; n=1e9"),
        ("#s=constructor", "the scores “constructor”"),
    ],
)
def test_an_address_that_makes_no_sense_is_said_to(browser, addresses, fragment, named):
    with opened(browser, addresses["file"], fragment) as page:
        assert named in shown(page)["problem"]
        page.locator("#t").fill("1")
        assert_shows(page, np.array([4, 1.5, 1, 0.5, 0, -0.5, -1, -2]))


@pytest.mark.slow
@pytest.mark.parametrize("fragment", ["#s=cut&t=1.7&k=4&n=50&seed=3", "#s=to-be&t=0.6&p=0.7&n=50", "#s=ties&t=0&n=3"])
def test_the_python_it_offers_computes_what_it_shows(site, browser, addresses, fragment, monkeypatch):
    with opened(browser, addresses["file"], fragment) as page:
        seen = shown(page)
    monkeypatch.chdir(site / "widgets" / "temperature")
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(seen["python"], "the page", "exec"), names)
    assert printed.getvalue()
    own = [row for row in seen["rows"] if row["id"] != "others"]
    ids = [int(row["id"]) for row in own]
    np.testing.assert_allclose([float(row["after"]) for row in own], names["p"][ids], **close(names["p"].size))
    assert [float(row["drawn"]) for row in own] == (names["counts"] / names["counts"].sum())[ids].tolist()
    assert float(seen["table"][-1]["entropy"]) == pytest.approx(
        names["H"], rel=CLOSE_SUM["rtol"], abs=CLOSE_SUM["atol"]
    )


@pytest.mark.slow
def test_the_link_is_copied(browser, addresses):
    with opened(browser, addresses["http"], permissions=["clipboard-read", "clipboard-write"]) as page:
        page.get_by_role("button", name="Copy the link").click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == shown(page)["link"]


@pytest.mark.slow
def test_bars_are_as_long_as_their_numbers_say(browser, addresses):
    with opened(browser, addresses["file"], "#t=1.5&n=1000") as page:
        rows = shown(page)["rows"]
        numbers = np.array([[float(row[word]) for word in ("before", "after", "drawn")] for row in rows])
        widths = np.array([row["widths"] for row in rows])
        scale = widths.max() / numbers.max()
        np.testing.assert_allclose(
            widths, np.maximum(numbers * scale, 1), atol=0.1
        )  # a sixteenth of a pixel, and 1 at least


NAMELESS = """() => [...document.querySelectorAll("input, select, button, summary, svg, pre")].filter(e => {
    const labels = [...(e.labels ?? [])].map(label => label.textContent);
    return ![e.ariaLabel ?? "", ...labels, e.tagName === "SELECT" ? "" : e.textContent].join("").trim();
}).map(e => e.outerHTML)"""


@pytest.mark.slow
def test_every_control_has_a_name_and_changes_are_announced(browser, addresses):
    for fragment in ("", "#s=to-be"):
        with opened(browser, addresses["file"], fragment) as page:
            assert page.evaluate(NAMELESS) == []
            page.locator("#t").fill("0.5")
            page.wait_for_function("document.getElementById('status').textContent.startsWith('Temperature 0.5')")
            assert page.locator("#status").get_attribute("aria-live") == "polite"
            assert page.get_by_role("slider", name="Temperature, slider").get_attribute("aria-valuetext") == "0.5"
            assert page.get_by_role("listitem").count() == page.locator("#rows > li").count()
            assert page.get_by_role("row").count() == page.locator("#stages > tr").count() + 1


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize(
    "fragment", ["#s=long-tail&t=2&k=9&p=0.9&m=0.1&n=1000", "#s=to-be&t=0.01&k=9&p=0.9&m=0.1&n=1000"]
)
def test_nothing_is_wider_than_its_screen(browser, addresses, width, fragment):
    for scheme in ("light", "dark"):
        view = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme}
        with opened(browser, addresses["file"], fragment, **view) as page:
            page.locator("summary").click()
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            table = page.locator(".scrolled")
            assert table.evaluate("e => e.scrollWidth <= e.clientWidth"), "the table fits without scrolling"
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, ground[4:-1].split(","))) > 384) == (scheme == "light")


@pytest.mark.slow
def test_without_the_models_file_the_page_still_explains_scores_by_hand(site, browser, tmp_path):
    copy = tmp_path / "widgets"
    shutil.copytree(site / "widgets", copy)
    (copy / "temperature" / "distributions.js").unlink()
    with browser.new_context() as context:
        page = context.new_page()
        page.goto((copy / "temperature" / "index.html").as_uri())
        assert_shows(page, scores_of(page))
        assert page.locator("optgroup").count() == 1
