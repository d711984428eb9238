"""A question for the watcher -> its answer, asked once for all who want the same meanwhile."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from qmp_exporter.channel.messages import Answer, Question
from qmp_exporter.web.watcher import Answered, Watcher


class _Made(NamedTuple):
    number: int  # of the answer, since the process began
    answered: Answered


class SharedAnswers:
    """Asks one question at a time; those who come meanwhile wait, and share the next answer."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._lock = asyncio.Lock()
        self._waiting: Counter[Question] = Counter()
        self._made: dict[Question, _Made] = {}  # only while somebody waits for it
        self._begun = 0  # answers

    async def to(self, question: Question, is_gone: Callable[[], bool] = lambda: False) -> Answered:
        """`is_gone`: nobody is there any more who would read it; the answer is empty then.

        :raise NoAnswer: the watcher has none.
        """
        asked_at = self._begun
        self._waiting[question] += 1
        try:
            async with self._lock:
                made = self._made.get(question)
                if made is not None and made.number > asked_at:  # else it may be older than the question
                    return made.answered
                if is_gone():
                    return Answered(Answer(), b"")
                self._begun += 1
                made = self._made[question] = _Made(self._begun, await self._watcher.ask(question))
                return made.answered
        finally:
            self._waiting[question] -= 1
            if not self._waiting[question]:
                del self._waiting[question]
                self._made.pop(question, None)
