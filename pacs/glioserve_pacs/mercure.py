"""``result.json`` of a processing module of mercure: what its archive and its notifications show.

mercure reads ``__mercure_notification`` with ``text`` and ``requested``, and archives the whole object. It carries no
identity.
"""

from __future__ import annotations

import json

from glioserve_contract import NOT_FOR_CLINICAL_USE, GlioserveError
from glioserve_pacs.answering import Made

FILE = "result.json"


def of_answer(made: Made) -> dict[str, str]:
    """Return the file of an answer by its name; a notification is requested where the answer needs a look."""
    prediction = made.prediction
    label = prediction.label.value if prediction.label is not None else ""
    quality, model = prediction.quality.verdict, prediction.model
    text = f"Probability of recurrence {prediction.score:.3f}: {label or 'no label'}, quality {quality}"
    content = {
        "score": prediction.score,
        "label": label,
        "threshold": prediction.threshold,
        "quality": quality,
        "abstained_because": list(prediction.abstained_because),
        "model": {"name": model.name, "version": model.version, "digest": model.digest},
        "notice": prediction.notice,
        "__mercure_notification": {"text": f"{text}. {prediction.notice}", "requested": not label},
    }
    return {FILE: json.dumps(content, indent=2) + "\n"}


def of_failure(error: GlioserveError) -> str:
    """Return the file's text where there is no answer; a notification is requested."""
    content = {
        "code": error.token,
        "detail": error.detail,
        "action": error.action,
        "notice": NOT_FOR_CLINICAL_USE,
        "__mercure_notification": {"text": f"No answer: {error}", "requested": True},
    }
    return json.dumps(content, indent=2) + "\n"
