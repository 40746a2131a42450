"""An error of a config is one sentence that names the key or the choice, and the nearest right one."""

from hydra.errors import MissingConfigException

from flowers_tl.config import error_messages as refusals


def test_a_missing_launcher_is_one_sentence(monkeypatch):
    error = MissingConfigException("Could not load 'hydra/launcher/submitit_slurm'", "hydra/launcher/submitit_slurm")
    monkeypatch.setattr(refusals, "find_spec", lambda name: None)
    assert (
        refusals.explain_error(error)
        == "Slurm's launcher needs submitit: pip install '.[sweep]' in a checkout of the project."
    )
