"""A run that was cut off goes on; one of other arguments begins anew."""

import json

import pytest

from mmzoo.training.resume.partial_results import PartialResults


def never():
    raise AssertionError("made twice")


def test_a_result_is_made_once(tmp_path):
    path = tmp_path / "new" / "partial.json"
    done = PartialResults(path, {"seeds": 5})
    assert "one" not in done and not path.exists()
    assert done.get("one", lambda: {"values": [1, 2]}) == {"values": [1, 2]}
    assert done.get("one", never) == {"values": [1, 2]}
    again = PartialResults(path, {"seeds": 5})
    assert "one" in again and again.get("one", never) == {"values": [1, 2]}
    assert again.seconds == done.seconds > 0


def test_a_failure_loses_nothing(tmp_path):
    path = tmp_path / "partial.json"
    done = PartialResults(path, [1])
    done.get("one", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        done.get("two", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    again = PartialResults(path, [1])
    assert again.get("one", never) == 1 and "two" not in again
    assert again.get("two", lambda: 2) == 2
    assert list(json.loads(path.read_text())["done"]) == ["one", "two"]


def test_other_arguments_begin_anew(tmp_path):
    path = tmp_path / "partial.json"
    PartialResults(path, {"seeds": 5, "steps": 2}).get("one", lambda: 1)
    other = PartialResults(path, {"seeds": 6, "steps": 2})
    assert "one" not in other and other.seconds == 0
    assert PartialResults(path, {"steps": 2, "seeds": 5}).get("one", never) == 1  # any order
    assert other.get("one", lambda: 3) == 3
    assert "one" not in PartialResults(path, {"seeds": 5, "steps": 2})
