"""Defends: a backup is of one moment, comes back on any kind of database, and is refused when it is damaged or when
something would be lost."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hibari.accounts import Accounts
from hibari.backup import read_contents, restore_backup, write_backup
from hibari.backup.archive import ROWS, Contents, Writer
from hibari.backup.snapshot import rows
from hibari.cli import main
from hibari.contracts import Conflict, DatabaseError, InputError
from hibari.db import Database, migrate
from hibari.db.migrate import revisions
from hibari.jobs import Claims, Jobs, NewJob
from hibari.media.storage import Storage
from postgres_server import emptied


def new_job(owner: str, prompt: str) -> NewJob:
    request = {
        "assignment": {"prompt": prompt, "options": {"seed": 1}, "tool": None},
        "shown": {"prompt": prompt, "seconds": "1", "size": "16x16", "model": "testcard"},
    }
    return NewJob(owner=owner, model="testcard", request=request)


def fill(database: Database, storage: Storage) -> list[str]:
    """A finished video, one that runs and has a checkpoint, and one that waits; their ids."""
    people = Accounts(database)
    owner = people.create("ada")
    people.create_key(owner.id, "ada")
    jobs = Jobs(database)
    ids = [jobs.create(new_job(owner.id, prompt)).job.id for prompt in ("a cat", "日本 🎈", "a dog")]
    claims = Claims(database, "test")
    done = claims.claim()
    assert done is not None
    for name in ("video", "thumbnail", "spritesheet"):
        storage.put(f"{done.job.id}/1/{name}", name.encode() * 1000)
    claims.complete(
        done, {name: f"{done.job.id}/1/{name}" for name in ("video", "thumbnail", "spritesheet")} | {"fps": 8}
    )
    running = claims.claim()
    assert running is not None
    storage.put(f"{running.job.id}/1/checkpoint", b"half")
    claims.heartbeat(running, step=2, steps=4, checkpoint=f"{running.job.id}/1/checkpoint")
    return ids


def all_rows(database: Database) -> list[tuple[str, dict[str, Any]]]:
    with database.read() as connection:
        return list(rows(connection))


def all_files(storage: Storage) -> dict[str, bytes]:
    return {key: b"".join(storage.read(key)) for key in storage.keys("")}


def sqlite(path: Path) -> Database:
    database = Database(f"sqlite:///{path}")
    migrate(database)
    return database


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Database]:
    database = sqlite(tmp_path / "source.db")
    yield database
    database.close()


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "files")


def test_there_and_back_between_all_kinds(
    shared_database: Database, storage: Storage, tmp_path: Path
) -> None:
    """From either kind into SQLite, and from there back into the first."""
    ids = fill(shared_database, storage)
    rows_before, files_before = all_rows(shared_database), all_files(storage)
    contents = write_backup(shared_database, storage, tmp_path / "one.tar")
    assert (contents.rows["jobs"], contents.revision, len(contents.files)) == (3, revisions()[-1], 4)
    assert (tmp_path / "one.tar").stat().st_mode & 0o777 == 0o600
    assert all_rows(shared_database) == rows_before, "it changes nothing"

    other, other_files = Database(f"sqlite:///{tmp_path}/other.db"), Storage(tmp_path / "other")
    restore_backup(other, other_files, tmp_path / "one.tar")
    assert all_rows(other) == rows_before
    assert all_files(other_files) == files_before

    write_backup(other, other_files, tmp_path / "two.tar")
    first_again = Storage(tmp_path / "again")
    restore_backup(emptied(shared_database), first_again, tmp_path / "two.tar")
    assert all_rows(shared_database) == rows_before
    assert all_files(first_again) == files_before
    jobs = Jobs(shared_database)
    owner = jobs.get(ids[0]).owner
    assert jobs.create(new_job(owner, "one more")).job.id not in ids, "numbers go on behind the old ones"
    assert [job.id for job in jobs.page(newest_first=False).jobs][:3] == ids
    other.close()


def test_what_is_there_is_not_lost_without_force(source: Database, storage: Storage, tmp_path: Path) -> None:
    fill(source, storage)
    backup = tmp_path / "one.tar"
    write_backup(source, storage, backup)
    content = backup.read_bytes()
    with pytest.raises(Conflict, match="already"):
        write_backup(source, storage, backup)
    assert backup.read_bytes() == content

    target, files = sqlite(tmp_path / "target.db"), Storage(tmp_path / "target")
    files.put("video_old/1/video", b"old")
    with pytest.raises(Conflict, match="storage is not empty"):
        restore_backup(target, files, backup)
    Accounts(target).create("eve")
    with pytest.raises(Conflict, match="is not empty"):
        restore_backup(target, files, backup)
    assert [account.name for account in Accounts(target).all()] == ["eve"]
    assert all_files(files) == {"video_old/1/video": b"old"}
    restore_backup(target, files, backup, force=True)
    assert all_rows(target) == all_rows(source)
    assert all_files(files) == all_files(storage)
    restore_backup(target, files, backup, force=True)  # once more over the same
    assert all_files(files) == all_files(storage)
    target.close()


def test_a_damaged_backup_touches_nothing(source: Database, storage: Storage, tmp_path: Path) -> None:
    fill(source, storage)
    backup = tmp_path / "one.tar"
    write_backup(source, storage, backup)
    whole = backup.read_bytes()
    flipped = whole.replace(b"video" * 10, b"vidEo" * 10, 1)
    lost_row = whole.replace(b'"a dog"', b'"a fox"', 1)
    assert flipped != whole != lost_row
    target, files = sqlite(tmp_path / "target.db"), Storage(tmp_path / "target")
    for content, message in (
        (flipped, "is damaged: files/"),
        (lost_row, f"is damaged: {ROWS}"),
        (whole[: len(whole) // 2 // 512 * 512], "damaged|no manifest"),
        (b"not a tar file", "no backup"),
        (b"", "no backup"),
    ):
        backup.write_bytes(content)
        with pytest.raises(InputError, match=message):
            restore_backup(target, files, backup, force=True)
    with pytest.raises(InputError, match="cannot read"):
        restore_backup(target, files, tmp_path / "none.tar")
    assert all_rows(target) == []
    assert files.keys("") == []
    target.close()


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path, source: Database, storage: Storage) -> None:
    path = tmp_path / "link.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("files/a")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(InputError, match="no backup"):
        restore_backup(source, storage, path)


def test_it_is_of_one_moment_while_videos_come_and_go(
    source: Database, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A video is deleted after the first of its files was copied."""
    finished, running, _ = fill(source, storage)
    copy_to = Storage.copy_to
    happened: list[str] = []

    def copy_and_change(self: Storage, key: str, path: Path) -> None:
        copy_to(self, key, path)
        if not happened:
            happened.append(key)
            Jobs(source).delete(finished)
            self.remove(finished)

    monkeypatch.setattr(Storage, "copy_to", copy_and_change)
    contents = write_backup(source, storage, tmp_path / "one.tar")
    assert happened
    assert not [key for key in contents.files if key.startswith(finished)]
    assert contents.without_files == ()
    assert read_contents(tmp_path / "one.tar") == contents
    target, files = Database(f"sqlite:///{tmp_path}/target.db"), Storage(tmp_path / "target")
    restore_backup(target, files, tmp_path / "one.tar")
    assert set(all_files(files)) == {f"{running}/1/checkpoint"}, "nothing of what was deleted comes back"
    target.close()


def test_a_checkpoint_that_was_replaced_and_files_that_are_lost(
    source: Database, storage: Storage, tmp_path: Path
) -> None:
    finished, running, waiting = fill(source, storage)
    storage.remove(f"{running}/1")
    storage.remove(f"{finished}/1")
    contents = write_backup(source, storage, tmp_path / "one.tar")
    assert (contents.begin_again, contents.without_files) == ((running,), (finished,))
    target = Database(f"sqlite:///{tmp_path}/target.db")
    restore_backup(target, Storage(tmp_path / "target"), tmp_path / "one.tar")
    assert Jobs(target).get(running).checkpoint is None
    assert Jobs(target).get(waiting).request["shown"]["prompt"] == "a dog"
    target.close()


def test_a_backup_of_an_earlier_revision_is_brought_up_to_date(tmp_path: Path) -> None:
    first = revisions()[0]
    lines = tmp_path / ROWS
    account = {"id": "acct_1", "name": "ada", "created_at": 1.0, "paused_at": None, "served_at": None,
               "max_running": None, "max_queued": None, "max_stored_bytes": 7}  # fmt: skip
    lines.write_text(json.dumps(["accounts", account]) + "\n")

    def written(path: Path, revision: str) -> Path:
        with path.open("wb") as file:
            writer = Writer(file)
            sha256 = writer.add(ROWS, lines)
            writer.finish(Contents("0.0.1", revision, 1.0, {"accounts": 1}, sha256, {}))
        return path

    target, files = Database(f"sqlite:///{tmp_path}/target.db"), Storage(tmp_path / "target")
    restore_backup(target, files, written(tmp_path / "old.tar", first))
    (ada,) = Accounts(target).all()
    assert (ada.name, ada.max_stored_bytes) == ("ada", 7)
    with pytest.raises(DatabaseError, match=r"use 0\.0\.1"):
        restore_backup(target, files, written(tmp_path / "new.tar", "9999"))
    with pytest.raises(Conflict, match="restore into a new database"):
        restore_backup(target, files, tmp_path / "old.tar", force=True)
    target.close()


def test_the_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HIBARI_DATABASE", "HIBARI_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    backup = str(tmp_path / "one.tar")
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert main(["backup", backup, "--data-dir", one]) == 2
    assert "nothing to back up" in capsys.readouterr().err
    database = sqlite(tmp_path / "one" / "hibari.db")
    fill(database, Storage(tmp_path / "one" / "files"))
    database.close()
    assert main(["backup", backup, "--data-dir", one]) == 0
    assert capsys.readouterr().out == f"{backup} has 3 videos and 4 files\n"
    assert main(["restore", backup, "--data-dir", two]) == 0
    assert capsys.readouterr().out == "3 videos and 4 files are back\n"
    assert main(["restore", backup, "--data-dir", two]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["restore", backup, "--data-dir", two, "--force"]) == 0
