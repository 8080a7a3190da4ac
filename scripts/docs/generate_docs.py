"""Write what is made from the contract and from kept figures: tables of docs/, JSON Schemas, the exceptions' stub.

``--check`` writes nothing and reports what is out of date. A generated part of a page stands between
``<!-- generated: NAME -->`` and ``<!-- end -->``; what is around it is prose. A generated file is wholly so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from glioserve_client.filing.codes import Concept
from glioserve_contract import CONTRACT_VERSION, ErrorCode, GlioserveError
from glioserve_contract.errors import classes
from glioserve_contract.errors.base import class_of, families
from glioserve_contract.limits import (
    MAX_INFLATED_BYTES,
    MAX_INSTANCES,
    MAX_REQUEST_BYTES,
    MAX_STUDY_S,
    MAX_VOLUME_VOXELS,
    MAX_WAIT_S,
    MAX_WAITING_STUDIES,
)
from glioserve_contract.metrics import (
    CLIENT_METRICS,
    DCGM_METRICS,
    KUBE_METRICS,
    MODEL_METRICS,
    SUPERVISOR_METRICS,
    TRITON_METRICS,
    Metric,
)
from glioserve_contract.parameters import PARAMETERS
from glioserve_contract.tensors import MODELS, Tensor
from glioserve_dicom.identity import IDENTIFYING_ATTRIBUTES, KEPT_ATTRIBUTES, Treatment
from glioserve_triton.process.floors import floors
from glioserve_triton.supervisor.supervisor import Limits
from identity_lists import deidentification
from json_schemas import schema_files
from measured_tables import TABLES, Cells

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def error_tree() -> str:
    """Return the tree of exception classes, each family with its meaning and each leaf with its token."""
    digits = {family: start for start, family in families().items()}
    tokens = {class_of(code): code.token for code in ErrorCode}

    def branch(parent: type[GlioserveError], indent: str) -> list[tuple[str, str]]:
        lines = []
        children = [item for item in (*digits, *tokens) if item.__bases__[0] is parent]
        for number, child in enumerate(children, 1):
            last = number == len(children)
            note = tokens.get(child) or f"{digits[child]:x<4}: {child.__doc__}"
            lines.append((f"{indent}{'└── ' if last else '├── '}{child.__name__}", note))
            lines += branch(child, indent + ("    " if last else "│   "))
        return lines

    rows = [(GlioserveError.__name__, "every error of ours"), *branch(GlioserveError, "")]
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(["```text", *(f"{name:<{width}}{note}" for name, note in rows), "```"])


def error_classes() -> str:
    """Return the stub by which editors and type checkers know the classes that are made at import."""
    names = sorted(family.__name__ for family in families().values())
    lines = [
        '"""One exception class for each code of the table; `make docs` writes it."""\n',
        "from glioserve_contract.errors.base import (",
        *(f"    {name}," for name in names),
        ")\n",
        "__all__ = [",
        *(f'    "{name}",' for name in classes.__all__),
        "]\n",
        *(f"class {class_of(code).__name__}({class_of(code).__bases__[0].__name__}): ..." for code in ErrorCode),
    ]
    return "\n".join(lines) + "\n"


def errors() -> str:
    """Return the table of every error code."""
    rows = [
        (f"`{c.token}`", f"`{c.name}`", f"`{c.row.status.value}`", c.row.retry.value, c.row.summary, c.row.action)
        for c in ErrorCode
    ]
    return table(("token", "name", "gRPC status", "retry", "what it means", "what to do"), rows)


def tensors() -> str:
    """Return the tables of every tensor of every model."""
    parts = []
    for model in MODELS:
        batch = f"max_batch_size {model.max_batch_size}" if model.max_batch_size else "no batching"
        rows = [(*_tensor_row(t), "optional input" if t.optional else "input") for t in model.inputs]
        rows += [(*_tensor_row(t), "output") for t in model.outputs]
        head = ("tensor", "type", "shape", "axes", "unit", "what it is", "")
        parts.append(f"### `{model.name}` ({model.kind}, {batch})\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def _tensor_row(tensor: Tensor) -> tuple[str, ...]:
    shape = ", ".join(str(d) for d in tensor.shape)
    return f"`{tensor.name}`", tensor.dtype, f"[{shape}]", tensor.axes, tensor.unit, tensor.description


def parameters() -> str:
    """Return the table of the request parameters."""
    fields = {bool: "bool_param", str: "string_param", int: "int64_param"}
    rows = [(f"`{p.name}`", f"{p.type_name} (`{fields[p.type]}`)", p.description, p.without) for p in PARAMETERS]
    return table(("parameter", "type", "what it does", "without it"), rows)


def contract_version() -> str:
    """Return the sentence that names the contract that the page describes."""
    return f"This page describes contract **{CONTRACT_VERSION}**, as `REPORT.contract_version` has it."


def kept() -> str:
    """Return the table of what the client sends of a DICOM file."""
    rows = [(t.value, ", ".join(f"`{k}`" for k, v in KEPT_ATTRIBUTES.items() if v is t)) for t in Treatment]
    return table(("treatment", "attributes"), rows)


def identifying() -> str:
    """Return the list of the attributes that the server refuses."""
    return ", ".join(f"`{k}`" for k in IDENTIFYING_ATTRIBUTES)


def known_holes() -> str:
    """Return the floors and the holes of Triton that are published."""
    found = floors()
    rows = [(hole.cve, hole.fixed_in, hole.impact) for hole in found.holes]
    head = (
        f"As of {found.dated}: security floor **{found.security}**, function floor **{found.function}**. "
        f"The embedded server is 2.51.0 ({found.release_of('2.51.0')})."
    )
    return head + "\n\n" + table(("hole", "closed in", "what it allows"), rows)


def _metrics(declared: Sequence[Metric]) -> str:
    rows = []
    for metric in declared:
        labels = [f"`{n.name}`: {', '.join(v or 'none' for v in n.values) or n.origin}" for n in metric.labels]
        buckets = ", ".join(f"{bound:g}" for bound in metric.buckets)
        rows.append((f"`{metric.name}`", metric.kind.value, "; ".join(labels), buckets, metric.description))
    return table(("metric", "type", "labels", "buckets", "what it is"), rows)


def model_metrics() -> str:
    """Return the table of the Python models' metrics."""
    return _metrics(MODEL_METRICS)


def supervisor_metrics() -> str:
    """Return the table of the supervisor's metrics."""
    return _metrics(SUPERVISOR_METRICS)


def client_metrics() -> str:
    """Return the table of the Python client's metrics."""
    return _metrics(CLIENT_METRICS)


def other_metrics() -> str:
    """Return the table of the metrics of others that rules and dashboards read."""
    return table(
        ("metric", "of", "what it is"),
        [
            *((f"`{name}`", "Triton", description) for name, description in TRITON_METRICS.items()),
            *((f"`{name}`", "dcgm-exporter", description) for name, description in DCGM_METRICS.items()),
            *((f"`{name}`", "kube-state-metrics", description) for name, description in KUBE_METRICS.items()),
        ],
    )


def bounds() -> str:
    """Return the table of what one study, and all that wait, may take."""
    mib = 1 << 20
    rows = [
        ("files of a request", f"{MAX_INSTANCES}", "", ErrorCode.STUDY_TOO_LARGE, "dicom/test_pitfalls_refused.py"),
        (
            "bytes of a request", f"{MAX_REQUEST_BYTES // mib} MiB", "at the gateway: `limits.max_request_bytes`",
            ErrorCode.STUDY_TOO_LARGE, "gateway/test_what_may_be_asked.py",
        ),
        (
            "bytes of a deflated file", f"{MAX_INFLATED_BYTES // mib} MiB inflated", "", ErrorCode.STUDY_TOO_LARGE,
            "dicom/test_pitfalls_refused.py",
        ),
        ("voxels of a volume", f"{MAX_VOLUME_VOXELS} (512 x 512 x 512)", "", ErrorCode.STUDY_TOO_LARGE,
         "preprocess/test_volumes.py"),
        (
            "one step's work on a study", f"{MAX_STUDY_S:g} s", "", ErrorCode.STUDY_TIMEOUT,
            "triton_server/serving/test_wanted.py",
        ),
        (
            "a stage's work before it is taken for a hang", f"{Limits().hung_after_s:g} s", "`--stage-timeout-s`",
            ErrorCode.STAGE_LOST, "triton_server/running/test_supervisor.py",
        ),
        (
            "memory of a stage, before it is replaced between two requests", f"{Limits().memory_bytes // mib} MiB",
            "`--stage-memory-limit-mib`", None, "triton_server/running/test_supervisor.py",
        ),
        (
            "studies that wait", f"{MAX_WAITING_STUDIES}", "`max_queue_size` of the model", ErrorCode.UNAVAILABLE,
            "integration/test_overload.py",
        ),
        (
            "waiting in one queue", f"{MAX_WAIT_S:g} s", "the request's `timeout`, shorter", ErrorCode.UNAVAILABLE,
            "integration/test_overload.py",
        ),
    ]  # fmt: skip
    lines = [
        (what, most, by or "is fixed", f"`{code.row.token}`" if code else "no study is lost", f"`tests/{test}`")
        for what, most, by, code, test in rows
    ]
    return table(("what", "at most", "changed by", "refused with", "shown by"), lines)


def limits() -> str:
    """Return the bounds that a caller meets."""
    return (
        f"Limits of one request: {MAX_INSTANCES} files, {MAX_REQUEST_BYTES >> 20} MiB, {MAX_VOLUME_VOXELS} voxels a "
        f"volume (`{ErrorCode.STUDY_TOO_LARGE.token}`).\n"
        f"A queue takes {MAX_WAITING_STUDIES} studies; one more is refused at once (`UNAVAILABLE`, `Exceeds maximum "
        f"queue size`), and none waits for longer than {MAX_WAIT_S:g} s.\n"
        "A gateway's limits may be lower ([gateway.md](gateway.md#options), [operations.md](operations.md#bounds))."
    )


def result_codes() -> str:
    """Return the table of the concepts that results are coded with."""
    return table(
        ("code", "scheme", "meaning", "used for"), [(f"`{c.code}`", c.scheme, c.meaning, c.used_for) for c in Concept]
    )


def measured(make: Callable[[], tuple[Cells, list[Cells]]]) -> str:
    """Return the table of a benchmark's kept figures."""
    return table(*make())


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "error tree": ("errors.md", error_tree),
    "errors": ("errors.md", errors),
    "contract version": ("wire.md", contract_version),
    "limits": ("wire.md", limits),
    "parameters": ("wire.md", parameters),
    "tensors": ("wire.md", tensors),
    "kept": ("privacy.md", kept),
    "identifying": ("privacy.md", identifying),
    "metrics of the models": ("metrics.md", model_metrics),
    "metrics of the supervisor": ("metrics.md", supervisor_metrics),
    "metrics of the client": ("metrics.md", client_metrics),
    "metrics of others": ("metrics.md", other_metrics),
    "result codes": ("results.md", result_codes),
    "known-holes": ("security.md", known_holes),
    "bounds": ("operations.md", bounds),
    **{name: (page, partial(measured, make)) for name, (page, make) in TABLES.items()},
}
FILES = {
    "client/glioserve_contract/errors/classes.pyi": error_classes,
    "docs/deidentification.json": deidentification,
    **schema_files(),
}


def render(text: str, name: str, body: str) -> str:
    """Return ``text`` with the part ``name`` replaced."""
    start, end = f"<!-- generated: {name} -->\n", "\n<!-- end -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"no place for {name!r}: {start!r} … {end!r}")
    return before + start + body + end + after


def main(check: bool) -> int:
    """Return 0 when everything is (or now is) up to date."""
    stale = []
    for name, (file, make) in PARTS.items():
        path = DOCS / file
        old = path.read_text(encoding="utf-8")
        new = render(old, name, make())
        if new != old:
            stale.append(f"docs/{file}: {name}")
            if not check:
                path.write_text(new, encoding="utf-8")
    for file, make in FILES.items():
        path = ROOT / file
        if not path.exists() or path.read_text(encoding="utf-8") != make():
            stale.append(file)
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(make(), encoding="utf-8")
    if stale:
        print(("out of date, run `make docs`: " if check else "written: ") + ", ".join(stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
