from pathlib import Path

from gateway.api.metrics.catalogue import GatewayMetrics, exposition
from gateway.api.metrics.slots import MetricsFile


def test_the_files_of_all_workers_are_summed_also_of_dead_ones(tmp_path: Path) -> None:
    workers = [GatewayMetrics(tmp_path, slot) for slot in range(2)]
    for worker in workers:
        worker.count_reservation("accepted")
        worker.began()
        worker.ended("reserve", 201, 0.003)
    workers[0].close()
    again = GatewayMetrics(tmp_path, 0)
    again.count_reservation("accepted")
    for shown in (exposition(again), exposition(workers[1])):
        text = shown.decode()
        assert 'dropgate_reservations_total{outcome="accepted"} 3.0' in text
        assert 'dropgate_http_requests_total{route="reserve",status="2xx"} 2.0' in text
        assert 'dropgate_http_request_seconds_bucket{le="0.0025",route="reserve"} 0.0' in text
        assert 'dropgate_http_request_seconds_bucket{le="0.005",route="reserve"} 2.0' in text
        assert 'dropgate_http_request_seconds_bucket{le="+Inf",route="reserve"} 2.0' in text
        assert 'dropgate_http_request_seconds_sum{route="reserve"} 0.006' in text
        assert "dropgate_http_in_flight 0.0" in text
    for worker in (again, workers[1]):
        worker.close()


def test_a_killed_workers_requests_are_no_longer_in_flight(tmp_path: Path) -> None:
    killed = GatewayMetrics(tmp_path, 0)
    killed.began()
    successor = GatewayMetrics(tmp_path, 0)
    assert "dropgate_http_in_flight 0.0" in exposition(successor).decode()
    successor.close()
    killed.close()


def test_another_layout_is_another_file(tmp_path: Path) -> None:
    old, new = MetricsFile(tmp_path, 0, ["a"]), MetricsFile(tmp_path, 0, ["b", "a"])
    old.values[0] = 7.0
    assert new.totals() == [0.0, 0.0]
    assert old.totals() == [7.0]
    old.close()
    new.close()
