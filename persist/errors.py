"""What can go wrong, and what to do about it.

Every error that a user can cause carries three things: where it stands (file, row, column), what is wrong (with the
value), and the remedy. The command line prints them as one line and leaves with the exit code of the class.
"""


class PersistError(Exception):
    """An error with a place, a fault and a remedy; ``str(error)`` is the one line that the user reads."""

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what, where, remedy)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"; {self.remedy}" if self.remedy else ""
        return f"{place}{self.what}{advice}".replace("\n", " ")


class UsageError(PersistError):
    """Options that do not fit together, or a file that cannot be read or written."""


class DataError(PersistError):
    """A table that cannot be read as burden or treatments."""


class ScheduleError(PersistError):
    """A treatment plan that is not of the grammar."""


class RatesError(PersistError):
    """A rates or priors file with a wrong name or value."""


class StoreError(PersistError):
    """A result file that is not ours, is damaged, or is of another schema version."""


class FitError(PersistError):
    """A posterior that could not be computed at all (a poor one is marked, not raised)."""


class PrecisionError(PersistError):
    """The library was called in float32; cell numbers and clocks need float64."""

    exit_code = 1
