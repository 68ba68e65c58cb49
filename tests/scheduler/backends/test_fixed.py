"""What workers that stay as they are answer."""

from fitcast import Pool
from fitcast.scheduler.backends.fixed import FixedWorkers
from fitcast.scheduler.backends.protocol import Limit, WorkerLoss

MIB = 2**20


def test_the_machine_s_speed_is_its_workers():
    workers = FixedWorkers((Pool("a", 1, 400 * MIB),))
    assert workers.machine_speed == 0.0
    workers.note_machine_speed(1.5)
    assert workers.machine_speed == 1.5


def test_every_pool_has_what_it_has_and_of_losses_nothing_is_known():
    workers = FixedWorkers((Pool("a", 1, 400 * MIB, 2), Pool("b", 2, 400 * MIB)))
    assert workers.limits() == {"a": Limit(2, 2), "b": Limit(1, 1)}
    assert workers.why_lost({"x", "y"}) == {"x": WorkerLoss(), "y": WorkerLoss()}
