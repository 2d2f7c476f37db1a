"""Defends: owners find their videos again, on either database; order is kept, and no folder loses a video."""

from __future__ import annotations

import pytest
from queue_bench import Queue

from hibari.contracts import Conflict, InvalidRequest, LimitReached, NotFound
from hibari.db import Database
from hibari.jobs import Gallery, Policy, State, Wanted
from hibari.jobs.gallery import MAX_AT_ONCE


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


def found(queue: Queue, **wanted: object) -> list[str]:
    page = queue.jobs.page(owner=queue.owner(), wanted=Wanted(**wanted))  # pyright: ignore[reportArgumentType]
    return [job.id for job in page.jobs]


def test_a_search_finds_all_words_in_any_case_and_nobody_elses(queue: Queue) -> None:
    bear = queue.add(prompt="Ein \uff22är tanzt, 100 % _echt_").id
    cat = queue.add(prompt="A CAT dances").id
    queue.add("bob", prompt="a cat dances")
    assert found(queue, words="cat") == found(queue, words="  DANCE ca ") == [cat]
    assert found(queue, words="BÄR") == found(queue, words="100 %") == found(queue, words="_echt_") == [bear]
    assert found(queue, words="a_cat") == found(queue, words="cat bär") == []
    assert found(queue, words="") == [cat, bear]
    assert found(queue, words="\0") == found(queue, words="\ud800") == []
    with pytest.raises(InvalidRequest):
        found(queue, words="x" * 201)


def test_filters_work_together_and_pages_stay_where_they_are(queue: Queue) -> None:
    gallery = Gallery(queue.database)
    made = [
        queue.add(prompt=f"kite {number}", kind="remix" if number % 2 else "prompt").id for number in range(6)
    ]
    queue.claim()
    queue.jobs.cancel(made[5])
    assert found(queue, states=[State.QUEUED, State.RUNNING], begun=False) == made[4::-1]
    assert found(queue, states=[State.RUNNING], begun=True) == []
    assert found(queue, states=[State.CANCELLED]) == made[5:]
    assert found(queue, kind="remix", states=[State.QUEUED]) == [made[3], made[1]]
    assert found(queue, model="testcard\0") == []
    gallery.change(queue.owner(), [made[0], made[2], made[3]], favourite=True)
    assert found(queue, favourite=True) == [made[3], made[2], made[0]]
    assert found(queue, favourite=True, kind="prompt", words="KITE") == [made[2], made[0]]
    assert found(queue, favourite=False, folder="") == [made[5], made[4], made[1]]

    wanted = Wanted(favourite=True)
    first = queue.jobs.page(owner=queue.owner(), limit=1, wanted=wanted)
    assert first.has_more
    gallery.change(queue.owner(), [made[3]], favourite=False)  # the place remains one
    queue.add(prompt="a new one")
    second = queue.jobs.page(owner=queue.owner(), limit=5, after=first.jobs[0].id, wanted=wanted)
    assert [job.id for job in second.jobs] == [made[2], made[0]]


def test_a_folder_goes_and_its_videos_stay(queue: Queue) -> None:
    gallery = Gallery(queue.database, queue.clock)
    owner, other = queue.owner(), queue.owner("bob")
    sea = gallery.create_folder(owner, "  The sea ")
    assert (sea.name, sea.jobs) == ("The sea", 0)
    video, left = queue.add().id, queue.add().id
    theirs = queue.add("bob").id
    (moved,) = gallery.change(owner, [video, theirs, video, "nonsense"], folder=sea.id)
    assert (moved.id, moved.folder) == (video, sea.id)
    assert queue.jobs.get(theirs).folder is None
    renamed = gallery.rename_folder(owner, sea.id, "Sea")
    assert gallery.folders(owner) == [renamed]
    assert gallery.folders(owner)[0].jobs == 1
    assert found(queue, folder=sea.id) == [video]
    assert found(queue, folder="") == [left]
    for act in (
        lambda: gallery.rename_folder(other, sea.id, "mine"),
        lambda: gallery.delete_folder(other, sea.id),
        lambda: gallery.change(other, [theirs], folder=sea.id),
        lambda: gallery.change(owner, [theirs], favourite=True),
        lambda: gallery.change(owner, [video], folder="folder_\0"),
    ):
        with pytest.raises(NotFound):
            act()
    with pytest.raises(Conflict, match="there is a folder 'Sea' already"):
        gallery.create_folder(owner, "Sea")
    gallery.create_folder(other, "Sea")
    for wrong in ("", " ", "x" * 101, "a\nb"):
        with pytest.raises(InvalidRequest):
            gallery.create_folder(owner, wrong)
    gallery.delete_folder(owner, sea.id)
    assert gallery.folders(owner) == []
    assert found(queue, folder="") == [left, video]


def test_many_are_deleted_at_once_and_those_that_run_stop(queue: Queue) -> None:
    made = [queue.add().id for _ in range(3)]
    theirs = queue.add("bob").id
    claim = queue.claim()
    assert claim.job.id == made[0]
    assert queue.jobs.delete_all([made[2], made[0], theirs, "x"], owner=queue.owner()) == [made[0], made[2]]
    assert found(queue) == [made[1]]
    assert queue.jobs.get(theirs).state is State.QUEUED
    assert made[0] in queue.upkeep.to_purge() or queue.upkeep.to_purge() == [made[2]]
    with pytest.raises(NotFound):
        queue.jobs.delete_all([made[0]], owner=queue.owner())
    with pytest.raises(InvalidRequest, match="at most 100"):
        queue.jobs.delete_all([made[1]] * (MAX_AT_ONCE + 1), owner=queue.owner())


def test_a_family_is_told_up_and_down_and_names_what_is_gone(queue: Queue) -> None:
    gallery, owner = Gallery(queue.database), queue.owner()
    root, other = queue.add().id, queue.add().id
    blend = queue.add(sources=(root, other)).id
    remix = queue.add(sources=(blend,), remixed_from=blend).id
    sibling = queue.add(sources=(root,)).id
    twice = queue.add(sources=(remix, remix)).id
    family = gallery.family(blend, owner=owner)
    assert family.jobs[0].id == blend
    assert {job.id for job in family.jobs} == {blend, root, other, remix, twice}
    assert (family.gone, family.has_more) == ((), False)
    assert {job.id for job in gallery.family(root, owner=owner).jobs} == {root, blend, sibling, remix, twice}
    queue.jobs.delete(root)
    family = gallery.family(remix, owner=owner)
    assert {job.id for job in family.jobs} == {remix, blend, other, twice}
    assert family.gone == (root,)
    many = [queue.add(sources=(other,)).id for _ in range(120)]
    family = gallery.family(other, owner=owner)
    assert (len(family.jobs), family.has_more) == (100, True)
    assert many[0] in {job.id for job in family.jobs}
    with pytest.raises(NotFound):
        gallery.family(blend, owner=queue.owner("bob"))


def test_samples_count_against_no_limit_and_come_last(database: Database) -> None:
    queue = Queue(database, Policy(max_queued=1, max_running=1, max_stored_bytes=10, lease_s=10))
    sample = queue.add(sample=True, priority=-1, expected_bytes=100)
    own = queue.add(expected_bytes=10)
    assert queue.stored.used_bytes(queue.owner()) == 10
    with pytest.raises(LimitReached):
        queue.add()
    assert queue.claim().job.id == own.id
    queue.jobs.delete(own.id)
    assert queue.claim("w2").job.id == sample.id
    second = queue.add()
    assert queue.claim("w3").job.id == second.id, "a sample that runs keeps nobody waiting"
    assert queue.accounts.give_samples(queue.owner())
    assert not queue.accounts.give_samples(queue.owner())
