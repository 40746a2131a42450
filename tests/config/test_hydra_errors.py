"""An error of a config is one sentence that names the key or the choice, and the nearest right one."""

from hydra.errors import MissingConfigException

from flowers_tl.config import hydra_errors


def test_a_missing_launcher_is_one_sentence(monkeypatch):
    error = MissingConfigException("Could not load 'hydra/launcher/submitit_slurm'", "hydra/launcher/submitit_slurm")
    monkeypatch.setattr(hydra_errors, "find_spec", lambda name: None)
    assert (
        hydra_errors.explain_error(error)
        == "Slurm's launcher needs submitit: pip install '.[sweep]' in a checkout of the project."
    )
