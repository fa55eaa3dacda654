"""Given a state folder, then its rooms go by one name for as long as it is there, and by no other folder's."""

from __future__ import annotations

from guidevane.local.identity import identity


def test_given_two_folders_then_each_keeps_a_name_of_its_own(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for each in folders:
        each.mkdir()
    first, second = (identity(each) for each in folders)
    assert first != second
    assert [identity(each) for each in folders] == [first, second]


def test_given_a_name_that_a_full_disk_cut_off_then_another_is_drawn_and_kept(tmp_path):
    (tmp_path / "platform.id").touch()
    assert identity(tmp_path).isalnum()
    assert identity(tmp_path) == identity(tmp_path)
