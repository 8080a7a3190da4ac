"""A model of Triton as a station of a queueing network: a bounded queue, processes that work, batches.

What is modelled is what the served configurations say: so many instances, each takes the oldest requests up to a batch,
a queue with ``max_queue_size`` that refuses at once, and a longest wait that is looked at when a request's turn comes.

What is modelled too is when Triton's scheduler looks at a queue of bounded waits. One thread of each model hands
requests to instances. While its queue is empty it sleeps for half a second at a time, and a request wakes it only where
an instance is idle (``Enqueue`` and ``BatcherThread`` of core's ``dynamic_batch_scheduler.cc``, and
``PayloadSlotAvailable`` of ``rate_limiter.cc``, which does not fetch ahead where waits are bounded). So a request that
comes while all instances work is seen at the end of the thread's sleep, even if an instance is free before. Once the
thread has seen that requests wait, it hands them on as soon as an instance is free, until the queue is empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum

import simpy

_SMALLEST_S = 1e-9
Steps = Generator[simpy.Event, "End", None]


class End(str, Enum):
    """End of a request at a station."""

    DONE = "done"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass
class Study:
    """One study: when it arrived, what it costs at each model, and what became of it. All in seconds."""

    arrived_s: float
    preprocess_s: float
    classifier_s: float
    report_s: float
    deadline_s: float = float("inf")
    """Moment from which its caller waits no more; it is not begun after it."""
    begun_s: float = float("nan")
    """Time at which its preprocessing began, of the attempt that was answered."""
    ended_s: float = float("nan")
    """Time at which it was answered; NaN where it was not."""
    refusals: int = 0
    """Attempts that were rejected or expired."""

    @property
    def wait_s(self) -> float:
        """Seconds from the arrival to the begin of preprocessing, pauses of the client included."""
        return self.begun_s - self.arrived_s

    @property
    def response_s(self) -> float:
        """Seconds from the arrival to the answer."""
        return self.ended_s - self.arrived_s


Seconds = Callable[[Sequence[Study]], float]
"""Function that returns how long a batch takes."""


@dataclass(frozen=True)
class Limits:
    """A model's configuration: ``instance_group``, ``max_batch_size`` and the queue's policy."""

    instances: int = 1
    waiting: float = float("inf")
    """``max_queue_size``; one request more is rejected."""
    wait_s: float = float("inf")
    """``default_timeout_microseconds``; a request that waited longer expires when its turn comes."""
    batch: int = 1
    delay_s: float = 0.0
    """``max_queue_delay_microseconds``: how long an instance waits for a batch to fill."""
    preferred: int = 1
    """Requests for which no instance waits any longer."""
    look_s: float = 0.0
    """Seconds that the scheduler sleeps while its queue is empty; 0 where each request wakes it."""
    slowdown: float = 1.0
    """Factor by which work takes longer while another instance is at work too: they share cores."""


@dataclass
class _Request:
    study: Study
    since_s: float
    done: simpy.Event


@dataclass
class Station:
    """One model. Its instances are processes of ``env``."""

    env: simpy.Environment
    limits: Limits
    seconds: Seconds
    batches: list[int] = field(default_factory=list)
    """Sizes of the batches so far."""

    def __post_init__(self) -> None:
        self._queue: deque[_Request] = deque()
        self._idle: deque[simpy.Event] = deque()
        self._at_work, self._changed = 0, self.env.event()
        self._asleep, self._slept_s = self.limits.look_s > 0, self.env.now
        for _ in range(self.limits.instances):
            self.env.process(self._work())

    @property
    def waiting(self) -> int:
        """Requests in the queue, as ``nv_inference_pending_request_count`` counts them."""
        return len(self._queue)

    def submit(self, study: Study) -> simpy.Event:
        """Take a request; the event that is returned succeeds with its :class:`End`."""
        request = _Request(study, self.env.now, self.env.event())
        if len(self._queue) >= self.limits.waiting:
            return request.done.succeed(End.REJECTED)
        self._queue.append(request)
        if self._idle or not self._asleep:
            self._hand_on()
        else:
            self.env.process(self._look(self._slept_s))
        return request.done

    def _look(self, slept_s: float) -> Generator[simpy.Event, None, None]:
        """Hand requests on when the scheduler's sleep is over, if it still is the one that began at ``slept_s``."""
        yield self.env.timeout(self.limits.look_s - (self.env.now - slept_s) % self.limits.look_s)
        if self._asleep and self._slept_s == slept_s:
            self._hand_on()

    def _hand_on(self) -> None:
        """Have an idle instance take what waits; the first to become free does where none is idle."""
        self._asleep = False
        if self._idle:
            self._idle.popleft().succeed()

    def _work(self) -> Steps:
        while True:
            while self._asleep or not self._queue:
                self._idle.append(self.env.event())
                yield self._idle[-1]
            if len(self._queue) < self.limits.preferred:
                missing_s = self._queue[0].since_s + self.limits.delay_s - self.env.now
                if missing_s > 0:
                    yield self.env.timeout(missing_s)
            batch = self._next_batch()
            if self._queue:
                self._hand_on()
            else:
                self._asleep, self._slept_s = self.limits.look_s > 0, self.env.now
            if batch:
                self.batches.append(len(batch))
                yield from self._be_busy(self.seconds([request.study for request in batch]))
                for request in batch:
                    request.done.succeed(End.DONE)

    def _be_busy(self, alone_s: float) -> Steps:
        """Work for so many seconds, or longer while other instances are at work too."""
        self._change(1)
        while alone_s > _SMALLEST_S:
            began_s, factor = self.env.now, self.limits.slowdown if self._at_work > 1 else 1.0
            yield self.env.timeout(alone_s * factor) | self._changed
            alone_s -= (self.env.now - began_s) / factor
        self._change(-1)

    def _change(self, instances: int) -> None:
        """Count instances that begin or end to work, and wake those whose pace it changes."""
        self._at_work += instances
        if self.limits.slowdown != 1:
            self._changed.succeed()
            self._changed = self.env.event()

    def _next_batch(self) -> list[_Request]:
        batch: list[_Request] = []
        while self._queue and len(batch) < self.limits.batch:
            request = self._queue.popleft()
            now = self.env.now
            if now - request.since_s > self.limits.wait_s or now > request.study.deadline_s:
                request.done.succeed(End.EXPIRED)
            else:
                batch.append(request)
        return batch
