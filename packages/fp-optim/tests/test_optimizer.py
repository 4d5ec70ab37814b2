"""Groups, decay by role, state and the pieces, on the plainest rule."""

import copy
import pickle

import numpy as np
import pytest

from fp_optim import SGD, AdaGrad, Adam, AdamW, AMSGrad, Lion, Momentum, Muon, RMSprop
from fp_optim._named import CHUNK
from fp_optim.optimizer import SHARED, WORTHWHILE


def two():
    return {"w": np.array([[1.0, -2.0]]), "b": np.array([3.0])}


GRADS = {"w": np.array([[0.5, 1.0]]), "b": np.array([-1.0])}
ROW = np.ones(5)


def test_a_step_by_hand():
    p = two()
    SGD(p, 0.1, weight_decay=0.5).step(GRADS)
    np.testing.assert_allclose(p["w"], [[0.95 * 1 - 0.05, 0.95 * -2 - 0.1]], rtol=1e-15)
    np.testing.assert_allclose(p["b"], [3.1], rtol=1e-15)  # a bias does not decay


def test_groups_differ_in_rate_and_settings():
    p = two()
    optimizer = SGD(p, 1.0, groups=lambda name, a: {"lr_scale": 0.25, "weight_decay": 1.0} if name == "b" else {})
    optimizer.step(GRADS, lr=0.2)
    np.testing.assert_allclose(p["b"], [0.95 * 3 + 0.05], rtol=1e-15)  # asked for by name, a bias decays too
    np.testing.assert_allclose(p["w"], [[0.9, -2.2]], rtol=1e-15)
    betas = AdamW(two(), groups=lambda name, a: {"betas": (0.5, 0.9)} if a.ndim == 1 else {}).options
    assert betas["b"]["betas"] == (0.5, 0.9) and betas["w"]["betas"] == (0.9, 0.999)


def test_frozen_by_a_scale_of_zero():
    p = two()
    SGD(p, 0.1, groups=lambda name, a: {"lr_scale": 0.0} if name == "w" else {}, weight_decay=1.0).step(GRADS)
    assert p["w"].tolist() == [[1.0, -2.0]]


def test_decay_by_another_role():
    options = SGD(two(), 0.1, weight_decay=0.5, decay=lambda name, a: name == "b").options
    assert options["w"]["weight_decay"] == 0 and options["b"]["weight_decay"] == 0.5


@pytest.mark.claim("optim.pieces")
@pytest.mark.parametrize("make", [SGD, AdamW, Adam, Momentum])
def test_pieces_and_the_whole_agree_to_the_bit(make):
    rng = np.random.default_rng(0)
    start, grads = rng.normal(size=2 * CHUNK + 17), [rng.normal(size=2 * CHUNK + 17) for _ in range(3)]
    results = []
    for whole in (False, True):
        p = {"w": start.copy()}
        optimizer = make(p, lr=0.1, weight_decay=0.5, decay=lambda name, array: True)
        if whole:
            optimizer._size, optimizer._scratch = start.size, {start.dtype: np.empty((1, 2, start.size))}
        for g in grads:
            optimizer.step({"w": g})
        results.append(p["w"])
    np.testing.assert_array_equal(*results)


@pytest.mark.claim("optim.pieces")
@pytest.mark.parametrize("make", [SGD, Momentum, AdaGrad, RMSprop, Adam, AdamW, AMSGrad, Lion])
def test_threads_change_no_bit(make):
    rng = np.random.default_rng(1)
    shapes = {"w": (2 * WORTHWHILE + 17,), "small": (3, 5), "more": (5, WORTHWHILE // 4 + 1)}
    start = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    grads = [{name: rng.normal(size=shape) for name, shape in shapes.items()} for _ in range(3)]
    results = []
    for threads in (1, 2, 3):
        p = {name: array.copy() for name, array in start.items()}
        optimizer = make(p, lr=0.1, weight_decay=0.5, decay=lambda name, array: True, threads=threads)
        assert optimizer.threads == threads
        for g in grads:
            optimizer.step(g)
        results.append([*p.values(), *optimizer.state_dict().values()])
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("place", [0, SHARED])  # in a piece of either thread
def test_what_becomes_of_an_overflow_is_the_callers_choice_in_all_threads(place):
    g = np.zeros(2 * WORTHWHILE, np.float32)
    g[place] = 1e30
    optimizer = Adam({"w": np.ones_like(g)}, threads=2)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        optimizer.step({"w": g})
    with np.errstate(over="ignore"):
        optimizer.step({"w": g})


def test_a_step_of_threads_allocates_nothing_that_grows_with_the_parameters(peak_bytes):
    p = {"w": np.ones(16 * WORTHWHILE, np.float32)}
    optimizer = AdamW(p, threads=2)
    g = {"w": np.full_like(p["w"], 0.5)}
    assert peak_bytes(lambda: optimizer.step(g)) < 100_000  # views and futures; one copy of w would be 16 MB


def test_a_small_model_is_not_worth_a_thread():
    assert AdamW({"w": np.ones((3, WORTHWHILE // 3))}, threads=5).threads == 1
    assert AdamW({"w": np.ones((2, WORTHWHILE), np.float32)}, threads=5).threads == 2


def test_a_state_that_is_loaded_goes_on_to_the_bit():
    p, q = two(), two()
    one, other = AdamW(p), AdamW(q)
    one.step(GRADS)
    assert one.n_steps == 1
    other.load_state_dict({name: array.copy() for name, array in one.state_dict().items()})
    for name in p:
        q[name][...] = p[name]
    one.step(GRADS)
    other.step(GRADS)
    assert other.n_steps == 2
    for name in p:
        np.testing.assert_array_equal(p[name], q[name])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SGD(two(), -1), "the learning rate must be finite and not negative, got -1"),
        (lambda: SGD(two(), 1, weight_decay=-1), "weight_decay must be finite and not negative, got -1"),
        (lambda: SGD(two(), 1, groups=lambda n, a: {"lr_scale": -1}), "lr_scale must be finite and not negative"),
        (
            lambda: SGD(two(), 1, groups=lambda n, a: {"beta": 1}),
            "SGD has no setting beta, given for w; it has lr_scale",
        ),
        (lambda: SGD(two(), 1, threads=0), "threads must be at least 1, got 0"),
        (lambda: SGD({}, 1), "at least one parameter"),
        (lambda: SGD({"w": np.ones(2, int)}, 1), "parameter w must be of floating-point numbers, got int64"),
        (lambda: AdamW(two(), groups=lambda n, a: {"betas": (1, 0)}), r"betas must lie in \[0, 1\), got \(1, 0\)"),
        (lambda: SGD(two(), 1).step({"w": GRADS["w"]}), "missing: b"),
        (lambda: SGD(two(), 1, check_finite=True).step(GRADS | {"b": np.array([np.nan])}), "not finite: b"),
        (lambda: SGD(two(), 1).step(GRADS, lr=np.inf), "the learning rate must be finite"),
        (lambda: SGD(two(), 1).load_state_dict({}), "missing: step"),
        (lambda: SGD({"w": ROW[:3], "v": ROW[2:]}, 1), "parameters w and v share memory and would be moved twice"),
        (lambda: SGD({"w": ROW, "tied": ROW}, 1), "share memory"),
        (lambda: SGD(two(), 1).step(GRADS | {"b": None}), "missing: b"),
        (lambda: SGD(two(), 1).step(GRADS | {"b": [1.0]}), "not an array of real numbers: b, got list"),
        (
            lambda: SGD(two(), 1, check_finite=True).step(GRADS | {"b": np.ones(1, complex)}),
            "not an array of real numbers: b, got complex128",
        ),
        (lambda: AdamW(two(), betas=(0.9,)), r"the two betas must lie in \[0, 1\), got \(0.9,\)"),
        (lambda: Lion(two(), betas=(0.9, 0.9, 0.9)), r"the two betas must lie in"),
        (lambda: SGD(two(), 1).load_state_dict({"step": np.array(-1)}), "a count below zero: step, got -1"),
        (lambda: SGD(two(), 1).load_state_dict({"step": 1}), "not an array of int64: step, got int"),
        (lambda: SGD(two(), 1).load_state_dict({"step": np.array(1.0)}), "not an array of int64: step, got float64"),
    ],
)
def test_bad_input(make, sentence, unenforced):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_what_is_no_array_is_refused_by_name(unenforced):
    with pytest.raises(TypeError, match="parameter w must be a NumPy array, as a tensor's data is, got list"):
        SGD({"w": [1.0]}, 1)


def test_neighbours_in_one_buffer_are_two_parameters():
    buffer = np.ones(6)
    SGD({"one": buffer[:3], "none": buffer[1:1], "other": buffer[3:]}, 1.0).step(
        {"one": np.ones(3), "none": np.ones(0), "other": np.full(3, 2.0)}
    )
    assert buffer.tolist() == [0, 0, 0, -1, -1, -1]


def test_a_state_of_another_type_is_refused_and_nothing_changes(unenforced):
    optimizer = Momentum(two(), 1)
    state = optimizer.state_dict() | {"step": np.array(3), "buffer.b": np.ones(1, complex)}
    with pytest.raises(ValueError, match=r"not an array of float64: buffer\.b, got complex128"):
        optimizer.load_state_dict(state)
    assert optimizer.n_steps == 0


def test_a_gradient_in_the_memory_of_its_parameter_is_refused():
    w = np.ones((2, 2))
    optimizer = SGD({"w": w}, 0.1)
    with pytest.raises(ValueError, match="the gradient of w shares memory with it"):
        optimizer.step({"w": w})
    assert optimizer.n_steps == 0


@pytest.mark.parametrize("make", [SGD, AdamW, Momentum])
def test_a_rate_of_numpy_does_not_widen_the_step(make):
    steps = []
    for lr in (0.1, np.float64(0.1)):
        w = np.ones((2, 2), np.float32)
        make({"w": w}, lr=lr).step({"w": np.full((2, 2), 0.3, np.float32)}, lr=lr)
        steps.append(w)
    np.testing.assert_array_equal(*steps)


def buffer_of(names="abc", dtype=np.float64):
    """Parameters side by side in one buffer, with its numbers."""
    numbers = np.arange(1.0, 3 * len(names) + 1).astype(dtype)
    return numbers, dict(zip(names, np.split(numbers, len(names)), strict=True))


@pytest.mark.parametrize("separate", [False, True])
def test_a_gradient_in_the_memory_of_another_parameter_is_refused(separate):
    numbers, parameters = buffer_of()
    if separate:
        parameters = {name: array.copy() for name, array in parameters.items()}
    optimizer = SGD(parameters, 0.1)
    grads = {name: np.ones(3) for name in parameters} | {"c": parameters["b"][:]}
    before = numbers.copy()
    with pytest.raises(ValueError, match="the gradient of c shares memory with b"):
        optimizer.step(grads)
    np.testing.assert_array_equal(numbers, before)
    assert optimizer.n_steps == 0


@pytest.mark.parametrize("make", [AdamW, Momentum, AdaGrad, Muon])
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_a_copy_goes_on_by_itself_and_moves_the_arrays_that_it_names(make, duplicate):
    rng = np.random.default_rng(2)
    numbers = rng.normal(size=24)
    parameters = {"a": numbers[:12].reshape(4, 3), "b": numbers[12:].reshape(3, 4)}
    grads = [{name: rng.normal(size=array.shape) for name, array in parameters.items()} for _ in range(3)]
    optimizer = make(parameters, lr=0.1, weight_decay=0.5)
    optimizer.step(grads[0])
    other = duplicate(optimizer)
    start = {name: array.copy() for name, array in optimizer.parameters.items()}
    moved = []
    for one in (optimizer, other):
        for name, array in start.items():
            one.parameters[name][...] = array
        for g in grads[1:]:
            one.step(g)
        moved.append({name: array.copy() for name, array in one.parameters.items()})
        assert one.n_steps == 3
        assert all((moved[-1][name] != start[name]).all() for name in start)
    for name, array in moved[0].items():
        np.testing.assert_array_equal(array, moved[1][name])
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name])


def test_a_copy_with_threads_has_its_own():
    optimizer = AdamW({"w": np.ones(2 * WORTHWHILE, np.float32)}, threads=2)
    other = copy.deepcopy(optimizer)
    assert other.threads == 2
    other.step({"w": np.ones(2 * WORTHWHILE, np.float32)})
    assert (other.parameters["w"] < 1).all() and (optimizer.parameters["w"] == 1).all()


def test_settings_cannot_be_changed_without_effect():
    options = AdamW(two()).options
    for change in (lambda: options["b"].update(lr_scale=0), lambda: options["b"].__setitem__("lr_scale", 0)):
        with pytest.raises((TypeError, AttributeError)):
            change()


def test_neighbours_in_a_buffer_that_was_closed_later_are_moved_one_by_one():
    numbers, parameters = buffer_of()
    numbers.flags.writeable = False  # the views stay open
    SGD(parameters, 1.0).step({name: np.ones(3) for name in parameters})
    assert numbers.tolist() == list(range(9))


def test_gradients_may_change_place_type_and_order_from_step_to_step(unenforced):
    rng = np.random.default_rng(3)
    _, joined = buffer_of(dtype=np.float32)
    separate = {name: array.copy() for name, array in joined.items()}
    one, other = AdamW(joined, lr=0.1), AdamW(separate, lr=0.1)
    assert (len(one._spans), len(other._spans)) == (1, 3)
    kept = dict(zip("abc", np.split(rng.normal(size=9).astype(np.float32), 3), strict=True))
    wide = dict(zip("abc", np.split(rng.normal(size=9), 3), strict=True))
    apart = {name: 2 * g for name, g in kept.items()}
    turned = dict(zip("bca", np.split(rng.normal(size=9).astype(np.float32), 3), strict=True))
    whole = {name: np.full(3, 2) for name in "abc"}
    stepped = {name: np.repeat(g, 2)[::2] for name, g in kept.items()}
    for grads in (kept, kept, wide, kept, apart, kept | {"b": apart["b"]}, turned, whole, stepped, kept, wide, wide):
        one.step(grads)
        other.step(grads)
    for name in "abc":
        np.testing.assert_array_equal(joined[name], separate[name])
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(array, other.state_dict()[name])


def test_a_gradient_that_is_lost_later_is_missed(unenforced):
    _, parameters = buffer_of()
    grads = dict(zip("abc", np.split(np.ones(9), 3), strict=True))
    optimizer = AdamW(parameters)
    optimizer.step(grads)
    for lost in (grads | {"b": None}, {name: g for name, g in grads.items() if name != "b"}):
        with pytest.raises(ValueError, match="missing: b"):
            optimizer.step(lost)
    assert optimizer.n_steps == 1
