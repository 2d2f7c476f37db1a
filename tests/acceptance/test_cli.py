"""Defends: the command as a person uses it. Real processes, the model `testcard`, a playable file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from hibari.media import decode_frames

PROMPT = 'a red balloon\'s "ride" costs $5'
ENVIRONMENT = {
    **os.environ,
    "HIBARI_MODEL": "testcard",
    "HIBARI_THREADS": "1",
    "HIBARI_DEVICE": "cpu",
    "HIBARI_CACHE": tempfile.mkdtemp(prefix="hibari-test-cache-"),
}
COMMAND = [sys.executable, "-m", "hibari"]


def hibari(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=300,  # a hang, and not a busy machine
        check=False,
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_sentence_becomes_a_video(tmp_path: Path) -> None:
    done = hibari(
        *("generate", PROMPT, "-o", "a.mp4", "--size", "320x180", "--seconds", "1.5", "--fps", "24"),
        *("--steps", "3", "--seed", "7", "--negative", "rain", "--json"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert done.stderr == ""
    assert report["path"] == "a.mp4"
    assert set(report["timings"]) == {"load_s", "generate_s", "write_s"}
    assert names(tmp_path) == ["a.mp4"]

    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.codec_context.pix_fmt) == (320, 180, "yuv420p")
        assert stream.average_rate == 24
        assert float((stream.duration or 0) * (stream.time_base or Fraction(0))) == pytest.approx(1.5)
    frames = list(decode_frames(tmp_path / "a.mp4"))
    assert len(frames) == 36
    assert frames[0].std() > 20, "a test card is not one colour"

    shown = hibari("show", "a.mp4", "--json", folder=tmp_path)
    assert shown.returncode == 0
    recipe = json.loads(shown.stdout)
    assert recipe == report["recipe"]
    request = recipe["request"]
    assert (request["prompt"], request["negative_prompt"]) == (PROMPT, "rain")
    assert (request["model"], request["seed"], request["steps"]) == ("testcard", 7, 3)
    assert (request["width"], request["height"], request["fps"]) == (320, 180, 24)
    assert {"hibari", "torch"} <= set(recipe["versions"])
    assert any("resized" in sentence for sentence in recipe["postprocess"])
    assert PROMPT in hibari("show", "a.mp4", folder=tmp_path).stdout


def test_two_processes_make_one_video(tmp_path: Path) -> None:
    """And what `torch.distributed` says on its own stays out of the output."""
    done = hibari(
        *("generate", PROMPT, "-o", "a.png", "--seconds", "0", "--steps", "2", "--guidance", "2"),
        *("--processes", "2", "--json"),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["recipe"]["extra"]["processes"] == 2
    (picture,) = decode_frames(tmp_path / "a.png")
    assert picture.std() > 20, "a test card is not one colour"


def test_the_creative_tools(tmp_path: Path) -> None:
    made = hibari(
        "generate", "a cat", "-o", "a.mp4", "--seconds", "2", "--seed", "7", "--keep-latent", folder=tmp_path
    )
    assert made.returncode == 0, made.stderr
    assert names(tmp_path) == ["a.mp4", "a.mp4.latent"]
    frames = list(decode_frames(tmp_path / "a.mp4"))

    def run(*arguments: str) -> list[dict[str, Any]]:
        done = hibari("generate", *arguments, "--json", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    (extended,) = run("--extend", "a.mp4", "--seconds", "1", "-o", "longer.mp4")
    assert extended["recipe"]["request"]["prompt"] == "a cat"
    longer = list(decode_frames(tmp_path / "longer.mp4"))
    assert len(longer) == 17 + 8
    assert np.abs(longer[15].astype(int) - frames[15]).mean() < 3  # twice through the video codec

    connected = run("a bird", "--connect", "a.mp4", "longer.mp4", "-o", "both.mp4")
    assert connected[0]["recipe"]["extra"]["tool"] == "connect"
    remixed = run("a dog", "--remix", "a.mp4", "--strength", "subtle", "-o", "dog.mp4")
    assert remixed[0]["recipe"]["request"]["seed"] == 7
    story = run("--card", "0:a cat", "--card", "1:a dog", "--image", "a.mp4", "--seconds", "2", "-o", "s.mp4")
    assert [card["prompt"] for card in story[0]["recipe"]["request"]["cards"]] == ["a cat", "a dog"]

    several = run("a cat", "--variations", "2", "--seed", "5", "--seconds", "1", "-o", "v.gif")
    assert [one["path"] for one in several] == ["v-5.gif", "v-6.gif"]
    assert {"v-5.gif", "v-6.gif"} <= set(names(tmp_path))


def test_a_tool_that_cannot_work_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("dear aunt")
    done = hibari("generate", "a cat", "--extend", "letter.mp4", "-o", "a.mp4", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("hibari: error: letter.mp4 is not a video")
    assert names(tmp_path) == ["letter.mp4"]


@pytest.mark.parametrize("suffix", ["webm", "gif", "webp"])
def test_other_formats(suffix: str, tmp_path: Path) -> None:
    done = hibari("generate", PROMPT, "-o", f"a.{suffix}", "--seconds", "1", "--seed", "7", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(decode_frames(tmp_path / f"a.{suffix}"))) == 8
    shown = hibari("show", f"a.{suffix}", "--json", folder=tmp_path)
    assert json.loads(shown.stdout)["request"]["prompt"] == PROMPT


def test_the_same_seed_makes_the_same_frames_and_another_does_not(tmp_path: Path) -> None:
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        arguments = ("generate", PROMPT, "-o", f"{name}.mp4", "--seconds", "1", "--seed", seed)
        assert hibari(*arguments, folder=tmp_path).returncode == 0
    a, b, c = ((tmp_path / f"{name}.mp4").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_without_a_name_nothing_is_overwritten_and_the_seed_is_told(tmp_path: Path) -> None:
    first = hibari("generate", "Ein Bär, 2 m groß!", "--seconds", "0", "--seed", "7", folder=tmp_path)
    second = hibari("generate", "Ein Bär, 2 m groß!", "--seconds", "0", "--seed", "7", folder=tmp_path)
    assert "seed 7" in first.stdout
    assert second.returncode == 0
    assert names(tmp_path) == ["ein-bär-2-m-groß-7-2.png", "ein-bär-2-m-groß-7.png"]

    quiet = hibari("generate", "cat", "--seconds", "0", "--quiet", folder=tmp_path)
    assert quiet.stderr == ""
    (path,) = quiet.stdout.splitlines()
    seed = json.loads(hibari("show", path, "--json", folder=tmp_path).stdout)["request"]["seed"]
    assert str(seed) in path


def test_a_given_name_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    assert hibari("generate", "cat", "-o", "a.png", "--seconds", "0", folder=tmp_path).returncode == 0
    (frame,) = decode_frames(tmp_path / "a.png")
    assert frame.shape == (128, 128, 3)


def test_the_threads_do_not_change_the_frames(tmp_path: Path) -> None:
    for name, threads in (("a", "1"), ("b", "2")):
        arguments = ("generate", PROMPT, "-o", f"{name}.mp4", "--seconds", "1", "--seed", "7")
        assert hibari(*arguments, folder=tmp_path, HIBARI_THREADS=threads).returncode == 0
    for one, two in zip(decode_frames(tmp_path / "a.mp4"), decode_frames(tmp_path / "b.mp4"), strict=True):
        assert np.array_equal(one, two)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([""], "prompt is empty"),
        (["   "], "prompt is empty"),
        (["x" * 10_000], "10,000 characters"),
        (["cat", "--size", "0x0"], "size is 0x0"),
        (["cat", "--size", "9000x9000"], "size is 9000x9000"),
        (["cat", "--size", "127x127"], "must be even"),
        (["cat", "--size", "large"], "size is 'large'; wanted WIDTHxHEIGHT"),
        (["cat", "--seconds", "-1"], "seconds is -1"),
        (["cat", "--seconds", "nan"], "seconds is nan"),
        (["cat", "--seconds", "1e9"], "seconds is 1e+09"),
        (["cat", "--seconds", "long"], "valid number"),
        (["cat", "--fps", "0"], "fps is 0"),
        (["cat", "--steps", "0"], "steps is 0"),
        (["cat", "--guidance", "-3"], "guidance is -3"),
        (["cat", "--seed", "-1"], "seed is -1"),
        (["cat", "--model", "sora"], "no model 'sora'; known models: mini, mini-fast, testcard"),
        (["cat", "--model", "testcart"], "did you mean testcard?"),
        (["cat", "-o", "missing/a.mp4"], "does not exist"),
        (["cat", "-o", "folder.mp4"], "it is a folder"),
        (["cat", "-o", "/proc/a.mp4"], "cannot write /proc/a.mp4"),
        (["cat", "-o", "a.mpeg"], "it can be one of .mp4"),
        (["cat", "-o", "a.png"], ".png holds one"),
        (["cat", "--colour", "red"], "No such option: --colour"),
        ([], "the prompt is empty"),
        (["cat", "--image", "missing.png"], "cannot read missing.png: there is no such file"),
        (["cat", "--connect", "a.mpeg", "missing.mp4"], "cannot read missing.mp4"),
        (["cat", "--card", "a dog"], "wanted SECONDS:PROMPT"),
        (["cat", "--card", "2:@missing.png"], "cannot read missing.png"),
        (["cat", "--sampler", "magic"], "no sampler 'magic'; known are euler"),
        (["cat", "--guidance-interval", "0.9", "0.1"], "must rise, within 0 to 1"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "a.mpeg").write_bytes(b"old")
    done = hibari("generate", *arguments, folder=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("hibari: error: ")
    assert words in line
    assert done.stdout == ""
    assert names(tmp_path) == ["a.mpeg", "folder.mp4"]
    assert (tmp_path / "a.mpeg").read_bytes() == b"old"


def test_with_json_an_error_is_json_too(tmp_path: Path) -> None:
    done = hibari("generate", "cat", "--fps", "99", "--json", folder=tmp_path)
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert (error["type"], error["field"]) == ("InvalidRequest", "fps")
    assert done.stderr == f"hibari: error: {error['message']}\n"


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    done = hibari("generate", "cat", folder=tmp_path, HIBARI_THREADS="many")
    assert done.returncode == 2
    assert done.stderr.startswith("hibari: error: HIBARI_THREADS is 'many'")
    assert names(tmp_path) == []


@pytest.mark.parametrize("file", ["missing.mp4", "letter.mp4", "."])
def test_show_says_what_is_wrong_with_a_file(file: str, tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("dear aunt")
    done = hibari("show", file, folder=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("hibari: error: ")


LONG = ("--size", "1080p", "--fps", "30", "--seconds", "60")


@pytest.mark.parametrize(
    ("moment", "sent", "code"),
    [("making", signal.SIGINT, 130), ("writing", signal.SIGINT, 130), ("writing", signal.SIGTERM, 143)],
)
def test_stopping_leaves_what_was_there(moment: str, sent: int, code: int, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"old")
    with subprocess.Popen(
        [*COMMAND, "generate", PROMPT, "-o", "a.mp4", *LONG],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        assert process.stdout
        for line in process.stderr:
            if line.startswith(moment):
                break
        process.send_signal(sent)
        rest = process.stderr.read()
        out = process.stdout.read()
    assert process.returncode == code
    assert rest.splitlines()[-1].startswith("hibari: error: stopped")
    assert "Traceback" not in rest
    assert out == ""
    assert names(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"no right to mount a small tmpfs: {mount.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up(small_disk: Path) -> None:
    (small_disk / "a.mp4").write_bytes(b"old")
    done = hibari(
        "generate", PROMPT, "-o", "a.mp4", "--size", "720p", "--fps", "30", "--quiet", folder=small_disk
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("hibari: error: cannot write a.mp4: the disk is full (")
    assert names(small_disk) == ["a.mp4"]
    assert (small_disk / "a.mp4").read_bytes() == b"old"


def test_a_disk_that_is_full_already(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(32 * 1024))
    done = hibari("generate", PROMPT, "-o", "a.mp4", folder=small_disk)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()  # not even "loading": nobody waits for nothing
    assert "the disk is full (0.0 MB free)" in line
    assert names(small_disk) == ["ballast"]


def test_doctor_says_what_runs(tmp_path: Path) -> None:
    done = hibari("doctor", "--json", folder=tmp_path)
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert report["ok"] is True
    assert {finding["name"]: finding["ok"] for finding in report["models"]}["testcard"] is True
    machine = {finding["name"]: finding for finding in report["machine"]}
    assert {"python", "memory", "disk", "torch", "text encoder", "codec h264", "codec vp9"} <= set(machine)
    assert names(tmp_path) == []


def test_doctor_says_why_not(tmp_path: Path) -> None:
    done = hibari("doctor", folder=tmp_path, HIBARI_DEVICE="cuda", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert "NO  model testcard" in done.stdout
    assert "torch finds no CUDA GPU" in done.stdout


def test_models_lists_the_table(tmp_path: Path) -> None:
    listed = json.loads(hibari("models", "--json", folder=tmp_path).stdout)
    assert [model["name"] for model in listed] == ["mini", "mini-fast", "testcard"]
    assert "testcard" in hibari("models", folder=tmp_path).stdout


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["generate", "--help"], ["models"], ["show", "a.png"]]
)
def test_what_needs_no_torch_does_not_wait_for_it(arguments: list[str], tmp_path: Path) -> None:
    if "show" in arguments:
        assert hibari("generate", "cat", "-o", "a.png", "--seconds", "0", folder=tmp_path).returncode == 0
    script = (
        "import sys; from hibari.cli import main; code = main(sys.argv[1:]);"
        "sys.exit('torch was imported' if 'torch' in sys.modules else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
