"""What a run does at the moment, on the terminal; and what went wrong, which stays."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

__all__ = ["Shown"]


class Shown:
    """A bar on the terminal, where there is one; elsewhere only what is said."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._progress.add_task("begins", total=None)

    def __enter__(self) -> Shown:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, steps: int) -> None:
        self._progress.update(self._task, total=steps)

    def step(self, text: str) -> None:
        self._progress.update(self._task, description=escape(text[:60].ljust(60)), advance=1)

    def say(self, text: str) -> None:
        self._progress.console.print(escape(text), highlight=False, soft_wrap=True)

    def runners(self, versions: dict[str, str], skipped: dict[str, str]) -> None:
        table = Table("runner", "version", box=None)
        for name, version in versions.items():
            table.add_row(name, escape(version))
        for name, reason in skipped.items():
            table.add_row(f"[dim]{name}", f"[dim]skipped: {escape(reason)}")
        self._progress.console.print(table)
