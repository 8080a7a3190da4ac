"""The capacity simulation: against the formulae of queueing theory, and the bounds of a pod and of the autoscaler."""

import json
import math

import numpy as np
import pytest
import simpy

STUDIES = 40_000


@pytest.fixture
def parts():
    import capacity.arrivals
    import capacity.costs
    import capacity.fleet
    import capacity.pod
    import capacity.single_pod
    import capacity.sleeper
    import capacity.stations

    return capacity


def run_station(parts, limits, arrivals, seconds):
    """Send studies to one station; return how each ended and how long those waited that were done."""
    env = simpy.Environment()
    station = parts.stations.Station(env, limits, lambda batch: sum(study.preprocess_s for study in batch))
    ends, waits = [], []

    def send(study):
        ends.append((yield station.submit(study)))
        if ends[-1] is parts.stations.End.DONE:
            waits.append(env.now - study.arrived_s - study.preprocess_s)

    def arrive():
        for moment, work_s in zip(arrivals, seconds, strict=True):
            yield env.timeout(moment - env.now)
            env.process(send(parts.stations.Study(moment, work_s, 0.0, 0.0)))

    env.process(arrive())
    env.run()
    return ends, np.array(waits), station


def poisson(rate, seed=1):
    return np.cumsum(np.random.default_rng(seed).exponential(1 / rate, STUDIES))


def erlang_c(servers, load):
    """The share of arrivals that wait in M/M/c."""
    full = load**servers / math.factorial(servers) / (1 - load / servers)
    return full / (sum(load**k / math.factorial(k) for k in range(servers)) + full)


def test_two_at_work_slow_each_other_down(parts):
    """Two studies of 2 s, 1 s apart: one second alone, then both at half the pace, and the second's end alone."""
    limits = parts.stations.Limits(2, slowdown=2.0)
    _, waits, station = run_station(parts, limits, [0.0, 1.0, 10.0], [2.0, 2.0, 2.0])
    ended = waits + np.array([2.0, 3.0, 12.0])  # run_station takes off the arrival and the time alone
    assert ended == pytest.approx([3.0, 4.0, 12.0])
    assert station.batches == [1, 1, 1]


def test_a_traced_studys_time_alone_is_found(parts):
    spans = np.array([[0.0, 3.0], [1.0, 4.0], [10.0, 12.0]])
    together = parts.single_pod.shares_together(spans)
    assert together == pytest.approx([2 / 3, 2 / 3, 0.0])
    traced = parts.single_pod.Traced(spans[:, 0], spans[:, 0], spans[:, 0], {"preprocess": spans @ [-1, 1]}, together)
    assert traced.alone_s(2.0) == pytest.approx([2.0, 2.0, 2.0])


@pytest.mark.parametrize(("servers", "utilisation"), [(1, 0.5), (2, 0.7)])
def test_exponential_work_waits_as_erlang_says(parts, servers, utilisation):
    seconds = np.random.default_rng(2).exponential(1.0, STUDIES)
    load = servers * utilisation
    _, waits, _ = run_station(parts, parts.stations.Limits(servers), poisson(load), seconds)
    assert waits.mean() == pytest.approx(erlang_c(servers, load) / (servers - load), rel=0.08)
    assert (waits > 1e-9).mean() == pytest.approx(erlang_c(servers, load), rel=0.05)


def test_equal_work_waits_as_pollaczek_and_khinchine_say(parts):
    _, waits, _ = run_station(parts, parts.stations.Limits(1), poisson(0.7), np.ones(STUDIES))
    assert waits.mean() == pytest.approx(0.7 / (2 * (1 - 0.7)), rel=0.08)


def test_a_full_queue_turns_away_as_erlang_says(parts):
    """M/M/2 with room for three to wait: the share that finds five."""
    seconds = np.random.default_rng(3).exponential(1.0, STUDIES)
    ends, _, _ = run_station(parts, parts.stations.Limits(2, waiting=3), poisson(1.8), seconds)
    weights = [1.0, 1.8] + [1.8**2 / 2 * 0.9**n for n in range(4)]
    rejected = sum(end is parts.stations.End.REJECTED for end in ends) / STUDIES
    assert rejected == pytest.approx(weights[-1] / sum(weights), rel=0.08)


def test_what_waited_too_long_expires_when_its_turn_comes(parts):
    limits = parts.stations.Limits(1, wait_s=5.0)
    ends, waits, _ = run_station(parts, limits, [0.0, 1.0, 1.5], [6.0, 1.0, 1.0])
    assert sorted(end.value for end in ends) == ["done", "done", "expired"]
    assert waits.tolist() == [0.0, 5.0]


def test_a_batch_takes_what_waits_up_to_its_size(parts):
    """The first study waits for others until the delay is over; ten more come while its batch is worked on."""
    limits = parts.stations.Limits(1, batch=8, delay_s=0.5, preferred=4)
    arrivals = [0.0, 0.1, *np.linspace(1.0, 2.0, 10)]
    _, _, station = run_station(parts, limits, arrivals, [2.0, 2.0, *[0.1] * 10])
    assert station.batches == [2, 8, 2]


def test_what_comes_while_all_work_is_seen_when_the_schedulers_sleep_is_over(parts):
    """It sleeps from 0.1 on, when it has handed on the second study, and so until 0.6, 1.1 and 1.6.

    The third study comes at 0.3 and is seen at 0.6, the fourth meets a scheduler that watches: both begin when an
    instance is free, at 1.0 and 1.1, and from then on it sleeps. The fifth comes at 1.2 and is seen at 1.6, though an
    instance is free at 1.5. The sixth comes at 9.0 and finds both free, as does the seventh, which wakes the scheduler.
    """
    arrivals, seconds = [0.0, 0.1, 0.3, 0.7, 1.2, 9.0, 9.1], [1.0, 1.0, 0.5, 5.0, 1.0, 1.0, 1.0]
    _, waits, _ = run_station(parts, parts.stations.Limits(2, look_s=0.5), arrivals, seconds)
    begun = sorted(waits + np.array([0.0, 0.1, 0.3, 1.2, 0.7, 9.0, 9.1]))  # run_station has them by their end
    assert begun == pytest.approx([0.0, 0.1, 1.0, 1.1, 1.6, 9.0, 9.1])
    limits = parts.stations.Limits(2, look_s=0.5)
    waits = parts.sleeper.simulate(np.array(arrivals), np.array(seconds), limits)
    assert waits + arrivals == pytest.approx([0.0, 0.1, 1.0, 1.1, 1.6, 9.0, 9.1])


def kind(parts, start_s=30.0):
    limits = parts.stations.Limits(1, parts.pod.MAX_WAITING_ANSWERS)
    return parts.pod.Kind(limits, parts.pod.one_after_another, 4.0, 0, start_s)


def burst(parts, count, work_s=10.0):
    return [parts.stations.Study(1.0 + n * 1e-3, work_s, 0.1, 0.1, 121.0) for n in range(count)]


def test_a_pod_works_on_two_lets_sixteen_wait_and_turns_the_next_away(parts):
    env = simpy.Environment()
    pod = parts.pod.Pod(env, kind(parts), 0.0)
    ends = []

    def send(study):
        yield env.timeout(study.arrived_s)
        ends.append((yield from pod.answer(study)).value)

    for study in burst(parts, 20):
        env.process(send(study))
    env.run(until=2.0)
    assert (ends, pod.waiting, pod.in_flight) == (["rejected"] * 2, 16, 18)


def test_clients_send_again_what_was_turned_away(parts):
    """20 studies of 1 s: two find the queue full, and are answered all the same."""
    outcome = parts.fleet.Fleet(kind(parts), 1, seed=1).run(burst(parts, 20, 1.0), 300.0)
    refusals = sum(study.refusals for study in outcome.studies)
    assert refusals >= 2
    assert (outcome.lost, outcome.turned_away) == (0, refusals / (refusals + 20))
    assert (outcome.mean_pods, outcome.most_pods) == (1.0, 1)


def test_what_is_not_answered_before_its_deadline_is_lost(parts):
    outcome = parts.fleet.Fleet(kind(parts), 1, seed=1).run(burst(parts, 20, 50.0), 300.0)
    assert outcome.lost == 16  # two at once and two more, 50 s each, within 120 s
    assert math.isinf(outcome.percentile_s(0.99))


@pytest.mark.parametrize(
    ("pods", "waiting", "wish"), [(1, 2, 1), (2, 9, 5), (10, 21, 10), (10, 23, 12), (3, 0, 1), (2, 400, 20)]
)
def test_the_autoscaler_wishes_as_kubernetes_does(parts, pods, waiting, wish):
    """The ratio to two a pod, within a tenth of 1 nothing changes, and the chart's bounds."""
    assert parts.costs.charts_autoscaler(20).wish(pods, waiting) == wish


def test_the_autoscaler_follows_a_load_that_one_pod_cannot_take(parts):
    def run(scaled):
        arrivals = np.random.default_rng(5).exponential(2.0, 900).cumsum()  # 0.5 a second for half an hour, 10 s each
        studies = [parts.stations.Study(t, 10.0, 0.1, 0.1, t + 120.0) for t in map(float, arrivals)]
        scaler = parts.costs.charts_autoscaler(8) if scaled else None
        return parts.fleet.Fleet(kind(parts), 1, seed=1).run(studies, 3600.0, scaler)

    alone, scaled = run(scaled=False), run(scaled=True)
    assert 3 <= scaled.most_pods <= 8
    assert 1.0 < scaled.mean_pods < scaled.most_pods
    assert scaled.lost < alone.lost / 3
    again = run(scaled=True)
    assert [s.ended_s for s in again.answered] == [s.ended_s for s in scaled.answered]


def test_arrivals_follow_the_hours(parts):
    weights = [0] * 8 + [1] * 4 + [3] * 4 + [0] * 8
    found = parts.arrivals.arrivals_s(1600, 5, np.random.default_rng(1), weights)
    hours = np.bincount((found / 3600).astype(int) % 24, minlength=24) / 5
    assert hours[:8].sum() == hours[16:].sum() == 0
    assert hours[8:12] == pytest.approx([100] * 4, rel=0.2)
    assert hours[12:16] == pytest.approx([300] * 4, rel=0.1)
    assert parts.arrivals.busiest_hour(1600, weights) == 300


def test_a_trace_of_triton_is_read(parts):
    """Two studies in the order in which Triton writes them: steps first; the earlier study is not asked for."""
    lines = []
    for study, begin in ((1, 0), (5, 1_000_000_000)):
        for step, (model, queue_ns, work_ns) in enumerate(
            (("preprocess", 500_000_000, 2_000_000_000), ("classifier", 0, 40_000_000), ("report", 0, 5_000_000)), 1
        ):
            stamps = {
                "QUEUE_START": begin,
                "COMPUTE_START": begin + queue_ns,
                "COMPUTE_END": begin + queue_ns + work_ns,
            }
            lines.append({"id": study + step, "model_name": model, "parent_id": study})
            lines += [{"id": study + step, "timestamps": [{"name": n, "ns": ns}]} for n, ns in stamps.items()]
        lines.append({"id": study, "model_name": "glioma"})
        ends = {"REQUEST_START": begin, "REQUEST_END": begin + 2_545_000_000}
        lines += [{"id": study, "timestamps": [{"name": n, "ns": ns}]} for n, ns in ends.items()]
    traced = parts.single_pod.read_trace(json.dumps(lines), 1)
    assert (traced.arrivals_s.tolist(), traced.waits_s.tolist()) == ([0.0], [0.5])
    assert traced.responses_s.tolist() == [2.545]
    work = {model: times.tolist() for model, times in traced.work_s.items()}
    assert work == {"preprocess": [2.0], "classifier": [0.04], "report": [0.005]}
    wait, response = parts.single_pod.simulate(traced.arrivals_s, traced.work_s)
    assert wait.tolist() == [0.0]
    assert response == pytest.approx([2.045])


def test_the_kept_costs_are_read(parts):
    costs = parts.costs.measured()
    assert 1.0 < costs.speed_up < 2.0
    assert min(costs.classifier_cpu_s.values()) < costs.preprocess_cpu_s
