"""The remote task: it gets a Python file as the job's attachment, and gives back what it found."""

from __future__ import annotations

import json
from typing import Any

import outsourced
from survey_tasks.metrics import excerpt, measure


@outsourced.task
def survey_file(filename: str) -> dict[str, Any]:
    """The metrics of the attached file; a fuller report is saved as the job's result file."""
    job = outsourced.current_job
    source = job.attachment.path().read_bytes()
    metrics = {"file": filename, **measure(source, filename).as_dict()}
    report = job.workdir / "report.json"
    begin = excerpt(source, line=metrics["longest_function"]["line"])
    report.write_text(json.dumps({**metrics, "longest_function_begins": begin}, indent=2))
    job.save_file(report)
    return metrics
