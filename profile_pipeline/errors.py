"""The errors a person is meant to read.

What belongs here: exception types that callers tell apart. What does not: wording, which stays where the
fault is found, because only there the record, file or setting is known.
"""


class PipelineError(Exception):
    """Something a person can mend. Its text is one sentence: what is wrong, with what, and what to do.

    The command line prints the text on stderr and exits with 1; Dagster shows it as the failure of the step.
    """


class TransientError(PipelineError):
    """A fault that may pass by itself, such as a file being rewritten; the only kind that is retried."""
