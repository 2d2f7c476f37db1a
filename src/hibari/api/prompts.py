"""The route that says what a model will make of a prompt. Who knows that needs torch, so it is a process of its own."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, Queue
from threading import Lock, Thread, Timer
from typing import IO, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from hibari import catalog
from hibari.api.asked import ShortText
from hibari.api.keys import Given, Reader
from hibari.contracts import GenerationRequest

logger = logging.getLogger(__name__)
router = APIRouter(tags=["videos"])

WAIT_S = 5.0  # for an answer; a longer one is fetched at the next question
TURN_S = 1.0
IDLE_S = 300.0  # then its memory is given back

Kind = Literal[
    "subject",
    "colour",
    "size",
    "count",
    "motion",
    "place",
    "light",
    "weather",
    "look",
    "camera",
    "relation",
]


class AskedHelp(BaseModel):
    """POST /prompt_help."""

    model_config = ConfigDict(extra="forbid")

    prompt: ShortText
    model: str | None = None


class HelpWord(BaseModel):
    """A word or phrase, and what it is read as: `known`, `close` to `nearest` (or `also`), `far` from all that the
    model was taught, `unread` as it comes too late, `ignored`."""

    text: str
    kind: Kind | None
    status: Literal["known", "close", "far", "unread", "ignored"]
    nearest: str | None
    similarity: float | None
    also: str | None


class HelpMissing(BaseModel):
    """Something that the prompt leaves open."""

    kind: Kind
    text: str
    options: list[str]


class PromptHelp(BaseModel):
    """What a model will make of a prompt. `available` is false where its words are not known; while `ready` is false,
    ask again in a moment."""

    model: str
    available: bool
    ready: bool
    words: list[HelpWord] = Field(default_factory=list[HelpWord])
    missing: list[HelpMissing] = Field(default_factory=list[HelpMissing])
    limits: list[str] = Field(default_factory=list[str])
    suggestion: str = ""


@router.post("/prompt_help")
def prompt_help(asked: AskedHelp, request: Request, parts: Given, _identity: Reader) -> PromptHelp:
    """Which words of a prompt a model was taught, what it takes the others for, and a fuller wording; nothing is
    made."""
    spec = parts.spec(asked.model)
    # A model without weights knows no words, and of one that was published by others they are not known.
    readers: Readers = request.app.state.readers
    if spec.weights is None or spec.name not in catalog.MODELS or not asked.prompt.strip():
        return PromptHelp(model=spec.name, available=False, ready=True)
    GenerationRequest.resolve(spec, asked.prompt, seed=0)  # what cannot be made is refused here
    told = readers.ask(spec.name, asked.prompt)
    if told is None:
        available = not readers.knows_nothing_of(spec.name)
        return PromptHelp(model=spec.name, available=available, ready=not available)
    return PromptHelp.model_validate({**told, "model": spec.name, "available": True, "ready": True})


class Readers:
    """Processes that read prompts, one a model; each begins with the first question and ends when none comes."""

    def __init__(
        self, command: Sequence[str] = (sys.executable, "-m", "hibari", "prompt", "--lines")
    ) -> None:
        self._command = command
        self._readers: dict[str, _Reader] = {}
        self._unknown: set[str] = set()
        self._lock = Lock()

    def ask(self, model: str, prompt: str) -> dict[str, Any] | None:
        """The answer, or None where there is none yet, or never will be."""
        with self._lock:
            if model in self._unknown:
                return None
            reader = self._readers.get(model)
            if reader is None or reader.is_over:
                if reader is not None and not reader.has_answered:  # it says why on the server's log
                    self._unknown.add(model)
                    return None
                reader = self._readers[model] = _Reader([*self._command, "--model", model])
        return reader.ask(prompt)

    def close(self) -> None:
        """End them all."""
        with self._lock:
            for reader in self._readers.values():
                reader.close()

    def knows_nothing_of(self, model: str) -> bool:
        """Whether no answer is to be expected."""
        return model in self._unknown


class _Reader:
    """One process: a prompt a line goes in, an answer a line comes out. It ends with its input, so with the server too,
    however that ends."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._answers: Queue[dict[str, Any]] = Queue()
        self._lock = Lock()
        self._waiting = 0  # questions that were given up on, whose answers still come
        self.has_answered = False
        pipes = self._process.stdout, self._process.stdin
        self._thread = Thread(target=self._read, args=pipes, daemon=True)
        self._thread.start()
        self._idle = self._timer()

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def ask(self, prompt: str) -> dict[str, Any] | None:
        if not self._lock.acquire(timeout=TURN_S):
            return None
        try:
            self._idle.cancel()
            self._idle = self._timer()
            while self._waiting:
                self._answers.get(timeout=WAIT_S)
                self._waiting -= 1
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(prompt).encode() + b"\n")
            self._process.stdin.flush()
            self._waiting = 1
            answer = self._answers.get(timeout=WAIT_S)
            self._waiting = 0
            return answer
        except (Empty, OSError, ValueError):  # not yet, or it has ended
            return None
        finally:
            self._lock.release()

    def close(self) -> None:
        """End it, and wait for that."""
        self._idle.cancel()
        self._process.kill()
        self._thread.join()

    def _read(self, stdout: IO[bytes], stdin: IO[bytes]) -> None:
        with stdout:
            for line in stdout:
                self.has_answered = True
                self._answers.put(json.loads(line))
        self._process.wait()
        with suppress(OSError):  # what was still to be said to it
            stdin.close()
        logger.info("the reader of prompts has ended with %d", self._process.returncode)

    def _timer(self) -> Timer:
        timer = Timer(IDLE_S, self._close)
        timer.daemon = True
        timer.start()
        return timer

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
