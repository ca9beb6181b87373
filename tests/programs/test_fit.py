"""The fit finds what simulated runs were made with, and its intervals hold it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sweep_records import record, simulated, simulated_repeats

from hpc_lstm.sweep import results, summary
from hpc_lstm.sweep.groups import Group, group_records
from hpc_lstm.sweep.model.extrapolation import extrapolate
from hpc_lstm.sweep.model.fit import Fit, bootstrap, fit_model, residuals
from hpc_lstm.sweep.model.jitter import Jitter
from hpc_lstm.sweep.model.simulation import Network

NETWORK = Network(barrier_alpha_s=2e-5, alpha_s=5e-5, byte_s=2e-9)
STEP = Jitter(mean=0.02, std=0.001, skew=1.5, persistent=0.0004)


def sweep(seed: int, repeats: int = 3, ranks: tuple[int, ...] = (1, 2, 4, 8)) -> list[Group]:
    """Two sizes of the network, simulated."""
    generator, records = np.random.default_rng(seed), []
    for size in (40_000, 400_000):
        for n in ranks:
            fields = [
                {"repeat": repeat, "point": len(records) + repeat, "axes": {"model.units": size}}
                for repeat in range(repeats)
            ]
            records += simulated_repeats(STEP, NETWORK, size, n, generator, 200, fields)
    return group_records(records)


def test_known_numbers_are_found() -> None:
    fitted = fit_model(sweep(0, repeats=6))
    assert fitted is not None
    assert fitted.network.barrier_alpha_s == pytest.approx(NETWORK.barrier_alpha_s, rel=0.05)
    assert fitted.network.alpha_s == pytest.approx(NETWORK.alpha_s, rel=0.05)
    assert fitted.network.byte_s == pytest.approx(NETWORK.byte_s, rel=0.05)
    assert fitted.imbalance == pytest.approx(STEP.persistent / STEP.mean, rel=0.3)
    jitter = fitted.settings[0].jitter
    assert jitter.mean == pytest.approx(STEP.mean, rel=0.02)
    assert jitter.std == pytest.approx(STEP.std, rel=0.05)
    assert jitter.skew == pytest.approx(STEP.skew, rel=0.3)
    assert max(abs(error) for _, _, error in residuals(fitted)) < 0.02


def test_a_rank_that_was_held_up_in_a_few_runs_says_nothing_of_the_others() -> None:
    groups = sweep(0, repeats=6)
    expected = fit_model(groups)
    largest = groups[0].by_ranks[max(groups[0].by_ranks)]
    for run in largest[:2]:
        run["busy"]["means_s"][0] *= 1.5
    fitted = fit_model(groups)
    assert expected is not None
    assert fitted is not None
    assert fitted.imbalance == pytest.approx(expected.imbalance, rel=0.3)


def test_noisy_averages_are_fitted_at_their_mean() -> None:
    generator, records = np.random.default_rng(5), []
    for number, size in enumerate((40_000, 400_000)):
        for repeat in range(200):
            one = simulated(
                STEP, NETWORK, size, 2, generator, 2, repeat=repeat, point=number, axes={"s": size}
            )
            records.append(one | {"average_s": one["average_s"] * generator.exponential()})
    fitted = fit_model(group_records(records))
    assert fitted is not None
    assert fitted.network.cycle_s(2, 400_000) == pytest.approx(NETWORK.cycle_s(2, 400_000), rel=0.2)


def test_one_size_takes_its_latency_from_the_meetings() -> None:
    groups = [one for one in sweep(3, ranks=(1, 2)) if one.axes["model.units"] == 400_000]
    fitted = fit_model(groups)
    assert fitted is not None
    assert fitted.network.alpha_s == fitted.network.barrier_alpha_s
    assert fitted.network.cycle_s(2, 400_000) == pytest.approx(NETWORK.cycle_s(2, 400_000), rel=0.01)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """95 % intervals of the efficiency at 1,024 ranks, from 4 repeats; by chance alone 4 of 30 miss at the worst."""
    at = 1024
    hits = 0
    for seed in range(30):
        groups = sweep(seed, repeats=4, ranks=(1, 4))
        fitted = fit_model(groups)
        assert fitted is not None

        def efficiency(one: Fit) -> np.ndarray:
            return one.efficiency(one.settings[0], [at])

        (estimate,) = bootstrap(groups, fitted, efficiency, pooled=False, draws=60)
        truth = STEP.mean / (STEP.mean + STEP.excess(at)[0] + NETWORK.cycle_s(at, 40_000))
        assert estimate.low is not None
        assert estimate.high is not None
        hits += estimate.low <= truth <= estimate.high
    assert hits >= 26


def test_points_near_the_limit_of_a_crowded_machine_stay_in_the_model() -> None:
    """One repeat of three met a busy machine: drawn twice, it must not mark the point."""
    nodes = [{"node": "n1", "processor": "P", "cpus": 2, "cores": 2, "interfaces": []}]
    measured = [r for one in sweep(4, ranks=(1, 2)) for records in one.by_ranks.values() for r in records]
    for one in measured:
        one["environment"] = one["environment"] | {"nodes": nodes}
        one["other_load"] = 0.9 if one["repeat"] == 0 and one["ranks"] == 2 else 0.0
    groups = group_records(measured)
    fitted = fit_model(groups)
    assert fitted is not None
    found = extrapolate(groups, fitted)
    assert [one["name"] for one in found] == ["units 40000", "units 400000"]
    assert all(low is not None for one in found for low in one["low"])


def test_the_table_is_written_before_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(groups: list[Group]) -> None:
        raise FloatingPointError

    monkeypatch.setattr(results.fitting, "fit_model", fail)
    with pytest.raises(FloatingPointError):
        results.write_results([record(1), record(2, point=1)], tmp_path)
    assert (tmp_path / "scaling.csv").stat().st_size
    assert (tmp_path / "scaling.h5").stat().st_size


def test_ranks_that_shared_cores_count_for_nothing() -> None:
    alone = sweep(1, ranks=(1, 2))
    spoiled = [
        record(
            4, repeat, point=90, axes=one.axes, rate=1.0, shared=True, cores=2, meeting_s=9.0, average_s=9.0
        )
        for one in alone
        for repeat in range(3)
    ]
    records = [r for one in alone for rs in one.by_ranks.values() for r in rs]
    with_shared, without = fit_model(group_records([*records, *spoiled])), fit_model(alone)
    assert with_shared is not None
    assert without is not None
    assert with_shared.network == without.network
    assert [s.jitter for s in with_shared.settings] == [s.jitter for s in without.settings]


def test_two_ranks_with_cores_of_their_own_are_the_least() -> None:
    groups = group_records([record(1), record(2, point=1, shared=True, cores=1)])
    assert fit_model(groups) is None
    assert "takes two ranks with cores (or GPUs) of their own" in summary.model_text(groups, None, [])
    unfinished = summary.model_text(group_records([record(1)], 1), None, [])
    assert unfinished == "No model: It takes runs on two ranks or more, and none is measured."


def test_transports_have_no_model_in_common(tmp_path: Path) -> None:
    records = [
        record(ranks, point=number, axes={"average.transport": name}, config=config)
        for name in ("host", "nccl")
        for config in [{"average": {"every": 1, "transport": name}}]
        for number, ranks in enumerate((1, 2), 2 * (name == "nccl"))
    ]
    assert fit_model(group_records(records)) is None
    assert fit_model(group_records(records[:2])) is not None
    said = results.write_results(records, tmp_path).text
    assert "No model: The runs average by different transports (host, nccl)" in said
    assert not (tmp_path / "scaling-extrapolation.png").exists()


@pytest.mark.parametrize(
    ("ranks", "over"), [((1, 2), "one rank ("), ((2, 4), "one rank as modelled where it is not measured (")]
)
def test_what_an_extrapolation_is_over_is_said(ranks: tuple[int, ...], over: str) -> None:
    groups = sweep(2, repeats=1, ranks=ranks)
    fitted = fit_model(groups)
    assert fitted is not None
    assert f"extrapolates, over {over}" in summary.model_text(groups, fitted, extrapolate(groups, fitted))


def test_one_repeat_has_no_interval() -> None:
    groups = sweep(2, repeats=1)
    fitted = fit_model(groups)
    assert fitted is not None
    found = extrapolate(groups, fitted)
    assert found[0]["low"][0] is None
    assert "one repeat" in summary.model_text(groups, fitted, found)


def test_a_rank_whose_batch_shrinks_is_not_extrapolated() -> None:
    groups = group_records(
        [record(1, batch_size=16), record(2, point=1, batch_size=8, meeting_s=1e-5, average_s=1e-4)]
    )
    fitted = fit_model(groups)
    assert fitted is not None
    assert extrapolate(groups, fitted) == []
    assert "No extrapolation" in summary.model_text(groups, fitted, [])
