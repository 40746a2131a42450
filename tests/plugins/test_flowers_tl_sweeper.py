"""A sweep that can't be composed ends before its first job."""

import pytest


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["-m", "strategy=feature_extraction,fine_tunning"],
            "There is no strategy 'fine_tunning': did you mean 'fine_tu",
        ),
        (["-m", "seed=0,x", "hydra/launcher=parallel"], "seed=x must be a whole number."),
        (["-m", "seed=0,1", "trainer.max_epoch=1,2"], "There is no key 'trainer.max_epoch': did you mean"),
        (["experiment=article", "seed=0,x"], "seed=x must be a whole number."),
        (
            ["sweep=data_size", "seed=0", "hydra.sweeper.max_batch_size=1", "optimizer=adam,adem"],
            "There is no optimizer 'adem'",
        ),
    ],
)
def test_what_can_not_be_composed_stops_a_sweep_before_any_job_and_folder(run_command, tiny, tmp_path, words, sentence):
    keys = [word for word in tiny() if not word.startswith("trainer.max_epochs")]
    process = run_command("train", *keys, *words, cwd=tmp_path)
    assert process.returncode == 1
    assert process.stderr.startswith(f"Error: {sentence}")
    assert process.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
