"""What is asked of the runners, each question in a file of its own: tables of cases where that is possible."""

from __future__ import annotations

from .calls import CALLS
from .case import FULL, QUICK, TINY, Case, Part, Question, Reading, Scale, Setup, Unmade
from .density import DENSITY
from .network import NETWORK
from .scaling import SCALING
from .start import START
from .work import WORK

__all__ = ["FULL", "QUESTIONS", "QUICK", "TINY", "Case", "Part", "Question", "Reading", "Scale", "Setup", "Unmade"]

QUESTIONS: dict[str, Question] = {question.name: question for question in (CALLS, START, WORK, NETWORK, DENSITY, SCALING)}
