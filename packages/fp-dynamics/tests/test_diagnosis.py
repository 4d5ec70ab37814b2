"""Mirrors src/fp_dynamics/diagnosis.py: each rule on both sides of its threshold."""

import math

import numpy as np
import pytest

from fp_dynamics.diagnosis import RULES, Diagnosis, Finding, diagnose


def calm(n=60, probes=None, layers=None, **changes):
    """Records of a run that learns; `changes` are functions of the index."""
    records = []
    for k in range(n):
        loss = 3.6 - k / 100 + 0.02 * (-1) ** k
        record = {"step": k + 1, "loss": loss, "loss_after": loss - 0.05, "grad_norm": 1.0, "lr": min(k + 1, 9) / 900}
        record |= {key: change(k, record[key]) for key, change in changes.items()}
        if layers is not None:
            record["layers"] = layers(k)
        records.append(record)
    if probes is not None:
        records[0]["probes"], records[-1]["probes"] = (dict(healthy() | p) for p in probes)
    return records


def healthy():
    return {
        "leak": 0.0,
        "label_offset": 1,
        "losses_by_offset": [3.0, 2.8, 3.1],
        "gradient_cosine": 1.0,
        "gradient_ratio": 1.0,
        "spread": {"a": 0.9, "b": 0.8},
        "scores": [{"score_std": 1.0, "score_ratio": 1.1, "d_head": 16}] * 2,
        "vocab_size": 36,
        "logit_std": 0.1,
    }


def names(records):
    return [finding.name for finding in diagnose(records)]


def test_a_healthy_run_is_examined_in_full_and_nothing_found():
    found = diagnose(calm(probes=({}, {}), layers=lambda k: {"r": {"activation": "relu", "dead_share": 0.1}}))
    assert found == [] and found.unexamined == {}
    assert str(found) == "nothing found"


@pytest.mark.parametrize(
    ("name", "first", "last", "harmless"),
    [
        ("mask leak", {"leak": 0.04}, {"leak": 0.3}, {"leak": 1e-5}),
        ("mask leak", {}, {"leak": 2e-3}, {"leak": 9e-4}),
        ("labels shifted", {"label_offset": 0}, {"label_offset": 0}, {}),
        ("labels shifted", {"label_offset": 2}, {"label_offset": 2}, {}),
        (
            "labels shifted",
            {"label_offset": None},
            {"label_offset": None, "losses_by_offset": [0.5, 3.0, 3.0]},
            {"losses_by_offset": [2.5, 3.0, 3.0]},
        ),
        ("stale gradients", {}, {"gradient_cosine": 0.7, "gradient_ratio": 20.0}, {"gradient_cosine": 0.999}),
        ("symmetric init", {"spread": {"a": 0.0}}, {"spread": {"a": 1e-4, "b": 1.0}}, {"spread": {"a": 0.3}}),
        ("symmetric init", {"spread": {"a": 0.0}}, {"spread": {"a": 0.2, "b": 1.0}}, {"spread": {"a": 0.02}}),
        (
            "missing 1/sqrt(d)",
            {"scores": [{"score_std": 4.0, "score_ratio": 3.7, "d_head": 16}]},
            {},
            {},
        ),
    ],
)
def test_a_probe_beyond_its_threshold_is_named_and_one_within_is_not(name, first, last, harmless):
    assert names(calm(probes=(first, last))) == [name]
    finding = diagnose(calm(probes=(first, last)))[0]
    assert finding.severity == "error" and finding.remedy and "step" in finding.evidence
    assert names(calm(probes=({}, harmless))) == []


def test_copying_is_not_asked_for_where_the_batch_shows_its_targets():
    assert names(calm(probes=({}, {"losses_by_offset": [0.5, 3.0, 3.0]}))) == []


def test_a_matrix_that_begins_at_zero_is_not_symmetric_if_it_moves():
    assert names(calm(probes=({"spread": {}}, {"spread": {"a": 0.4}}))) == []


def test_a_large_ratio_after_training_is_no_missing_division():
    trained = {"scores": [{"score_std": 4.0, "score_ratio": 3.7, "d_head": 16}]}
    assert names(calm(probes=({}, trained))) == []
    narrow = {"scores": [{"score_std": 2.0, "score_ratio": 1.9, "d_head": 4}]}
    found = diagnose(calm(probes=(narrow, {})))
    assert found == [] and "narrow" in found.unexamined["missing 1/sqrt(d)"]


@pytest.mark.parametrize(("every", "expected"), [(3, ["rate too high"]), (10, [])])
def test_a_rate_is_too_high_if_one_step_in_five_raises_its_own_batch(every, expected):
    assert names(calm(loss_after=lambda k, x: x + 1.0 if k % every == 0 else x)) == expected


def test_overshooting_at_a_low_rate_or_where_a_run_begins_at_full_rate_is_not_a_rate_too_high():
    def after(k, x):
        return x + 1.0 if k < 12 or k >= 40 else x

    assert names(calm(loss_after=after, lr=lambda k, x: 0.01 if k < 40 else 1e-4)) == ["no warmup"]
    assert names(calm(loss_after=after, lr=lambda k, x: x if k < 40 else 1e-4)) == ["rate too high"]


def test_a_ball_that_swings_a_little_is_no_rate_too_high():
    assert names(calm(loss_after=lambda k, x: x + (0.09 if k % 2 else -0.06))) == []


def test_losses_alone_show_a_rate_that_is_too_high():
    records = [{"step": k + 1, "loss": 3.6 + (2.0 if k % 3 == 0 else -1.0)} for k in range(50)]
    records[0]["loss"] = 3.6
    found = diagnose(records)
    assert [f.name for f in found] == ["rate too high"] and "above the first" in found[0].evidence


def test_what_is_not_finite_is_named_with_its_step():
    found = diagnose(calm(loss=lambda k, x: math.nan if k == 41 else x))
    assert [f.name for f in found] == ["not finite"] and "step 42" in found[0].evidence
    diverged = diagnose(calm(loss=lambda k, x: x if k < 20 else math.inf, loss_after=lambda k, x: math.inf))
    assert [f.name for f in diverged][:2] == ["rate too high", "not finite"]


def full(k, x):
    return 0.01


def spike(k, x):
    return x + 1.5 if k == 3 else x


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"lr": full, "loss": spike}, ["no warmup"]),
        ({"loss": spike}, []),  # there is a warmup, and something else made the spike
        ({"lr": full}, []),  # full rate, and nothing happened
        ({"lr": full, "loss": lambda k, x: x + 0.1 if k == 3 else x}, []),  # noise
    ],
)
def test_warmup_is_missed_if_the_first_steps_at_full_rate_lose_ground(changes, expected):
    assert names(calm(**changes)) == expected


def test_a_loss_that_stays_above_the_first_is_a_rate_too_high_even_if_each_step_helps_its_own_batch():
    assert names(calm(loss=lambda k, x: x + 2 if 12 <= k < 30 else x, loss_after=lambda k, x: 0.0)) == ["rate too high"]


@pytest.mark.parametrize(("ratio", "rise", "expected"), [(6.0, 0.2, True), (2.0, 0.2, False), (6.0, -0.1, False)])
def test_a_first_step_of_many_lengths_counts_if_the_loss_rises_a_little(ratio, rise, expected):
    found = names(
        calm(
            lr=full,
            loss=lambda k, x: 3.6 + rise if k == 3 else x,
            loss_after=lambda k, x: 0.0,
            layers=lambda k: {"output": {"update_ratio": ratio}},
        )
    )
    assert found == (["no warmup"] if expected else [])


@pytest.mark.parametrize(("ratio", "after", "expected"), [(3.0, 0.1, True), (0.3, 0.1, False), (3.0, -0.1, False)])
def test_a_first_step_longer_than_the_weights_counts_if_it_overshoots(ratio, after, expected):
    found = names(
        calm(
            lr=full,
            loss_after=lambda k, x: x + after if k == 2 else x,
            layers=lambda k: {"output": {"update_ratio": ratio}},
        )
    )
    assert found == (["no warmup"] if expected else [])


@pytest.mark.parametrize(("kind", "name"), [("relu", "dead ReLUs"), ("gelu", "dead units")])
def test_dead_units_are_named_by_their_activation_and_since_when(kind, name):
    def layers(k):
        return {"f": {"activation": kind, "dead_share": 0.8 if k >= 30 else 0.2}}

    found = diagnose(calm(layers=layers))
    assert [f.name for f in found] == [name] and "since step 31" in found[0].evidence
    assert names(calm(layers=lambda k: {"f": {"activation": kind, "dead_share": 0.4}})) == []


@pytest.mark.parametrize(
    ("loss", "expected"), [(math.log(36) + 0.9, []), (math.log(36) + 1.1, ["first loss too high"])]
)
def test_the_first_loss_is_compared_with_a_shrug(loss, expected):
    assert names(calm(probes=({}, {}), loss=lambda k, x: loss if k == 0 else x)) == expected


def test_causes_come_before_what_they_bring_about():
    def layers(k):
        return {"f": {"activation": "relu", "dead_share": 0.9}}

    records = calm(
        probes=({}, {"leak": 1.0, "gradient_cosine": 0.5}), layers=layers, loss_after=lambda k, x: x + 1, lr=full
    )
    records[0]["loss"] = 9.0
    assert names(records) == ["mask leak", "stale gradients", "rate too high", "dead ReLUs", "first loss too high"]
    assert [f.severity for f in diagnose(records)] == ["error"] * 2 + ["warning"] * 2 + ["note"]


def test_a_bare_table_is_examined_as_far_as_it_goes():
    found = diagnose([{"step": k + 1, "loss": 3.6 - k / 100} for k in range(60)])
    assert found == []
    assert found.unexamined.keys() == RULES.keys() - {"rate too high", "not finite"}
    assert "not examined: mask leak (needs probes" in str(found)


def test_a_run_directory_is_read(tmp_path):
    (tmp_path / "settings.toml").write_text("n_steps = 60")
    rows = [f"{r['step']},{r['loss'] + (3.0 if k > 12 and k % 2 else 0)},{r['lr']}" for k, r in enumerate(calm())]
    (tmp_path / "metrics.csv").write_text("\n".join(["step,train_loss,lr", "0,,", *rows, ""]))
    found = diagnose(tmp_path)
    assert [f.name for f in found] == ["rate too high"]
    assert "0.01" in found[0].evidence and "dead ReLUs" in found.unexamined
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"vocab_size": 5}')
    assert [f.name for f in diagnose(str(tmp_path))] == ["rate too high", "first loss too high"]


def test_short_runs_are_not_judged_by_their_rate():
    found = diagnose(calm(n=9, loss_after=lambda k, x: x + 1))
    assert found == [] and {"rate too high", "no warmup"} <= found.unexamined.keys()


def test_a_run_without_a_loss_is_refused():
    for records in ([], [{"step": 0}]):
        with pytest.raises(ValueError, match="nothing to diagnose"):
            diagnose(records)


def test_a_diagnosis_reads_like_a_letter():
    letter = str(Diagnosis([Finding("mask leak", "it leaks", "mask it", "error")], {"dead ReLUs": "no layers"}))
    assert letter.splitlines() == [
        "1. mask leak (error)",
        "   evidence: it leaks",
        "   remedy: mask it",
        "not examined: dead ReLUs (no layers)",
    ]


def test_numbers_of_numpy_do():
    records = [{key: np.float64(value) for key, value in record.items()} for record in calm()]
    assert names(records) == []


def test_a_loss_that_is_no_number_is_not_blamed_on_the_rate_unless_others_rose():
    assert names(calm(loss=lambda k, x: math.nan)) == ["not finite"]
    assert names(calm(loss=lambda k, x: x if k < 30 else math.nan)) == ["not finite"]
    rose = names(calm(loss=lambda k, x: x if k < 20 else 9.0 if k < 25 else math.nan))
    assert rose[:2] == ["rate too high", "not finite"]


def test_a_model_that_was_trained_before_has_noisy_losses_and_large_scores():
    noise = np.random.default_rng(500).normal(0, 0.25, 60)
    noise[0] = -0.5  # the first batch was an easy one
    scores = [{"score_std": 9.0, "score_ratio": 4.0, "d_head": 16}]

    def records(first, rising=0.0):
        found = [{"step": k + 1, "loss": first + e + rising * (k > 20), "lr": 0.1} for k, e in enumerate(noise)]
        found[0]["probes"] = {"vocab_size": 40, "scores": scores}
        return found

    found = diagnose(records(1.5))
    assert found == [] and "trained before" in found.unexamined["missing 1/sqrt(d)"]
    assert names(records(1.5, rising=4.0)) == ["rate too high"]
    assert "missing 1/sqrt(d)" in names(records(math.log(40) + 0.5))


def test_of_few_inputs_no_unit_is_called_dead():
    def layers(inputs):
        return lambda k: {"f": {"activation": "relu", "dead_share": 0.6, "inputs": inputs}}

    assert names(calm(layers=layers(1))) == [] and names(calm(layers=layers(64))) == ["dead ReLUs"]
