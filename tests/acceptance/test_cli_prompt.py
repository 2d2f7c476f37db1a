"""Defends: `hibari prompt` as a person uses it: a real process, one line a word, one JSON object, clear errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from hibari import catalog
from hibari.contracts import GenerationRequest, InvalidRequest


def hibari(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HIBARI_THREADS": "1", "HIBARI_DEVICE": "cpu", "HIBARI_MODEL": "mini"}
    return subprocess.run(
        [sys.executable, "-m", "hibari", "prompt", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,  # a hang, and not a busy machine
        check=False,
    )


def test_words_are_explained_for_people_and_for_programs() -> None:
    done = hibari("a crimson hound jumps by the ocean")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["hound", "subject", "close", "to", "'dog'", lines[1].split()[-1]]
    assert lines[-1].split(maxsplit=1) == ["try", "a red dog jumps at sea"]

    done = hibari("a crimson hound jumps by the ocean", "--json")
    told = json.loads(done.stdout)
    assert set(told) == {"prompt", "words", "missing", "limits", "suggestion"}
    assert {"text", "kind", "status", "nearest", "similarity"} <= set(told["words"][0])


@pytest.mark.parametrize("prompt", ["", "   ", "x" * 10_000])
def test_a_prompt_that_generate_refuses_is_refused_in_the_same_words(prompt: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        GenerationRequest.resolve(catalog.spec("mini"), prompt, seed=0)
    done = hibari(prompt)
    assert done.returncode == 2
    assert done.stderr == f"hibari: error: {refused.value}\n"


def test_a_model_without_a_vocabulary_says_so() -> None:
    done = hibari("a cat", "--model", "testcard", "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert (error["type"], error["field"]) == ("InvalidRequest", "model")
    assert "draws the prompt's letters; any word will do" in error["message"]
