from __future__ import annotations

from dataclasses import replace

import pytest
from bed import BedError, BedUnavailable
from evaluation.options import Options
from evaluation.running import run_each

from midcut.results.evaluation import Evaluation, write_evaluation


def works(options):
    write_evaluation(options.out / "works", Evaluation(title="it works"))


def fails(_):
    raise BedError("a process did not start; its log:\nTraceback\nValueError: what is wrong")


def unavailable(_):
    raise BedUnavailable("not here")


def test_one_that_fails_does_not_end_the_others(tmp_path, capsys):
    assert run_each({"fails": fails, "works": works}, Options(out=tmp_path), ()) == ["fails"]
    output = capsys.readouterr()
    assert output.err == (
        "tools/evaluate: fails: BedError: a process did not start; its log: ValueError: what is wrong\n"
    )
    assert output.out == f"works: {tmp_path / 'works' / 'evaluation.json'}\n"


def test_without_a_bed_all_end(tmp_path):
    with pytest.raises(BedUnavailable):
        run_each({"unavailable": unavailable, "works": works}, Options(out=tmp_path), ())
    assert not (tmp_path / "works").exists()


def test_one_that_was_finished_with_the_same_options_is_left(tmp_path, capsys):
    options = Options(out=tmp_path)
    run_each({"works": works}, options, ())
    capsys.readouterr()
    assert run_each({"works": fails}, replace(options, resume=True), ()) == []
    assert capsys.readouterr().out.startswith("works: finished already")
    assert run_each({"works": fails}, replace(options, resume=True, seed=1), ()) == ["works"]
    # What is there now is of no whole run: it begins anew.
    assert not (tmp_path / "works" / "evaluation.json").exists()
    assert run_each({"works": works}, replace(options, resume=True), ()) == []


def test_one_that_can_resume_finds_what_there_was(tmp_path):
    def resumes(options):
        assert (options.out / "works" / "evaluation.json").exists()
        works(options)

    works(Options(out=tmp_path))
    assert run_each({"works": resumes}, Options(out=tmp_path, resume=True), ("works",)) == []
