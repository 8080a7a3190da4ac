"""The night's studies: a steady stream of good ones, and what callers do wrong."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import TracebackType

from chaos.studies import Studies, phantom_of
from glioserve_client import VolumeStudy
from glioserve_contract import GlioserveError
from glioserve_phantom.dicom import dicom_files
from night.pods import Pod, Release
from support.studies.bad_studies import NOT_DICOM, send

WHOLE_EVERY = 20
"""One study in so many is whole DICOM, worked on from its bytes; the preprocessing of all others is kept."""
DEADLINE_S, IMPATIENT_S = 60.0, 1.5
SOME_AT_ONCE = 4


class Traffic:
    """Good studies at a steady rate to the pods that take them, in turn, as a context manager."""

    def __init__(self, release: Release, per_s: float) -> None:
        self._release, self._pause_s = release, 1 / per_s
        self.fates: Counter[str] = Counter()
        """Number of studies by what became of them."""
        self.answered: list[tuple[str, str]] = []
        """Pod and request id of the good studies that were answered."""
        self._stop, self._rest = threading.Event(), threading.Event()
        self._drawing = threading.Lock()
        self._pool = ThreadPoolExecutor(64, thread_name_prefix="caller")
        self._thread = threading.Thread(target=self._run, name="traffic")
        self._studies = Studies()
        self._files = dicom_files(phantom_of(7), identified=False)

    def __enter__(self) -> Traffic:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._rest.set()
        self._thread.join()
        self._pool.shutdown()

    def bad(self, number: int) -> None:
        """Send so many studies that are not DICOM, some at a time, and wait until each has been refused."""
        with ThreadPoolExecutor(SOME_AT_ONCE) as pool:
            list(pool.map(lambda _: self._raw(self._release.pod, "bad"), range(number)))

    def at_once(self, number: int, kind: str, timeout_s: float | None = None) -> None:
        """Begin to send so many studies, each once; ``timeout_s`` bounds their wait in the queue.

        They are no DICOM: for a queue that makes no difference, and once it moves they are done at once.
        """
        for _ in range(number):
            self._pool.submit(self._raw, self._release.pod, kind, timeout_s)

    def impatient(self, number: int) -> None:
        """Send so many studies at once whose callers give up after :data:`IMPATIENT_S`, and wait until they have."""
        with ThreadPoolExecutor(number) as pool:
            list(pool.map(lambda _: self._kept(self._release.pod, "impatient", IMPATIENT_S), range(number)))

    def to(self, pod: Pod, number: int) -> None:
        """Send so many good studies to one pod, some at a time, and wait for the answers."""
        with ThreadPoolExecutor(SOME_AT_ONCE) as pool:
            list(pool.map(lambda _: self._kept(pod, "a site's"), range(number)))

    def others(self, pod: Pod, number: int) -> None:
        """Send so many studies that the pod has to work on to one pod, some at a time, and wait for the answers."""
        with ThreadPoolExecutor(SOME_AT_ONCE) as pool:
            list(pool.map(lambda _: self._worked_on(pod), range(number)))

    def keep_busy(self, callers: int) -> None:
        """Have so many callers send such studies to the pod, each the next one as soon as the last has ended."""
        self._rest.clear()
        for _ in range(callers):
            self._pool.submit(self._busy, self._release.pod)

    def let_rest(self) -> None:
        """Have these callers send no more."""
        self._rest.set()

    def score(self, pod: Pod) -> float:
        """Return the score that a pod gives the good study."""
        return float(pod.client.predict(self._studies.same(), timeout_s=DEADLINE_S).score)

    def _raw(self, pod: Pod, kind: str, timeout_s: float | None = None) -> None:
        self.fates[f"{kind}: {send(pod.url, [NOT_DICOM], timeout_s, self._release.authority.file)}"] += 1

    def _run(self) -> None:
        for turn in count(1):
            if self._stop.wait(self._pause_s):
                return
            pods = self._release.takers()
            if pods:
                self._pool.submit(self._whole if turn % WHOLE_EVERY == 0 else self._kept, pods[turn % len(pods)])

    def _busy(self, pod: Pod) -> None:
        while not self._rest.is_set():
            self._worked_on(pod)

    def _worked_on(self, pod: Pod) -> None:
        with self._drawing:
            study = self._studies.other()
        self._send(pod, study, "worked on", DEADLINE_S)

    def _kept(self, pod: Pod, kind: str = "good", timeout_s: float = DEADLINE_S) -> None:
        self._send(pod, self._studies.same(), kind, timeout_s)

    def _send(self, pod: Pod, study: VolumeStudy, kind: str, timeout_s: float) -> None:
        fate = "answered"
        try:
            prediction = pod.client.predict(study, timeout_s=timeout_s)
            self.answered.append((pod.name, prediction.request_id))
        except GlioserveError as error:
            fate = error.token
        self.fates[f"{kind}: {fate}"] += 1

    def _whole(self, pod: Pod) -> None:
        fate = send(pod.url, self._files, None, self._release.authority.file)
        self.fates[f"whole: {fate}"] += 1
