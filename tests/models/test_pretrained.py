"""Weights are what the config says, or an error that names what is wrong with them."""

import urllib.error

import pytest
import torch

from flowers_tl.models import pretrained as module
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.pretrained import load_weights
from flowers_tl.utils.errors import UserError


@pytest.fixture
def source():
    torch.manual_seed(1)
    return StagedNetwork("mobilenet_v3_small", 5)


@pytest.fixture
def target():
    torch.manual_seed(2)
    return StagedNetwork("mobilenet_v3_small", 7)


def save(state, tmp_path, name="weights.pth"):
    torch.save(state, tmp_path / name)
    return str(tmp_path / name)


def test_everything_but_the_head_is_loaded(source, target, tmp_path):
    fresh_head = target.network.get_parameter(target.final + ".weight").clone()
    load_weights(target, save(source.network.state_dict(), tmp_path))
    for key, value in source.network.state_dict().items():
        if key.startswith(target.final):
            continue
        assert torch.equal(target.network.state_dict()[key], value), key
    assert torch.equal(target.network.get_parameter(target.final + ".weight"), fresh_head)


def test_a_dino_checkpoint_in_half_precision_is_loaded_and_what_it_took_is_told(source, target, tmp_path, capsys):
    features = {key: value for key, value in source.network.state_dict().items() if not key.startswith("classifier.3")}
    teacher = {f"module.backbone.{key}": value.half() for key, value in features.items()}
    teacher["module.head.mlp.0.weight"] = torch.zeros(2, 2)
    file = save({"student": {}, "teacher": teacher, "epoch": 7}, tmp_path)
    load_weights(target, file)
    loaded = target.network.features[3].block[0][0].weight
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, source.network.features[3].block[0][0].weight.half().float())
    assert capsys.readouterr().err == (
        f"Note: {file} is read as weights of mobilenet_v3_small: its teacher, without the prefix module.backbone., without "
        "module.head.mlp.0.weight, converted from float16.\n"
    )


def test_a_classifier_of_another_kind_is_left_out_and_told(source, target, tmp_path, capsys):
    state = source.network.state_dict() | {"classifier.5.weight": torch.ones(3, 3)}
    load_weights(target, save(state, tmp_path))
    assert "has classifier.5.weight, which mobilenet_v3_small has not: it is left out" in capsys.readouterr().err


def test_a_head_of_the_right_shape_is_not_taken_over_either(source, tmp_path):
    same_size = StagedNetwork("mobilenet_v3_small", 5)
    fresh_head = same_size.network.get_parameter(same_size.final + ".weight").clone()
    load_weights(same_size, save(source.network.state_dict(), tmp_path))
    assert torch.equal(same_size.network.get_parameter(same_size.final + ".weight"), fresh_head)


def test_null_keeps_random_weights(target):
    before = {key: value.clone() for key, value in target.network.state_dict().items()}
    load_weights(target, None)
    assert all(torch.equal(before[key], value) for key, value in target.network.state_dict().items())


def test_the_classifier_may_be_missing_and_a_random_neck_is_told(source, target, tmp_path, capsys):
    features = {key: value for key, value in source.network.state_dict().items() if key.startswith("features")}
    load_weights(target, save(features, tmp_path))
    assert torch.equal(target.network.features[0][0].weight, source.network.features[0][0].weight)
    assert "neck starts from random weights" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.1.block.0.0.weight"), "lacks features.1.block.0.0.weight"),
        (lambda state: state.update({"extra.weight": torch.zeros(1)}), "has the unknown extra.weight"),
        (
            lambda state: state.update({"features.0.0.weight": torch.zeros(1)}),
            "has another shape in features.0.0.weight",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(source, target, tmp_path, change, message):
    state = dict(source.network.state_dict())
    change(state)
    before = {key: value.clone() for key, value in target.network.state_dict().items()}
    with pytest.raises(UserError, match=message):
        load_weights(target, save(state, tmp_path))
    assert all(torch.equal(before[key], value) for key, value in target.network.state_dict().items())


def test_weights_of_another_network_are_refused(target, tmp_path):
    with pytest.raises(
        UserError, match=r"does not fit mobilenet_v3_small \(lacks .* and \d+ more, has the unknown .*: use others"
    ):
        load_weights(target, save(StagedNetwork("squeezenet1_1", 5).network.state_dict(), tmp_path))


def test_a_bare_file_name_is_looked_for_in_the_folder_of_weights(source, target, tmp_path, monkeypatch):
    save(source.network.state_dict(), tmp_path, "mine.pth")
    monkeypatch.setenv("FLOWERS_TL_WEIGHTS", str(tmp_path))
    load_weights(target, "mine.pth")
    assert torch.equal(target.network.features[0][0].weight, source.network.features[0][0].weight)


def test_an_official_file_in_the_folder_of_weights_is_not_downloaded(source, target, tmp_path, monkeypatch):
    save(source.network.state_dict(), tmp_path, "mobilenet_v3_small-047dcff4.pth")
    monkeypatch.setenv("FLOWERS_TL_WEIGHTS", str(tmp_path))
    load_weights(target, "IMAGENET1K_V1")
    assert torch.equal(target.network.features[0][0].weight, source.network.features[0][0].weight)


def test_without_a_network_the_file_and_its_place_are_named(target, monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.delenv("FLOWERS_TL_WEIGHTS", raising=False)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(
        UserError, match=r"can't be downloaded .*put https://.*mobilenet_v3_small-047dcff4.pth into .*checkpoints"
    ):
        load_weights(target, "IMAGENET1K_V1")


@pytest.mark.parametrize("name", ["IMAGENET1K_V9", "nothing.pth"])
def test_unknown_weights_are_refused(target, name, monkeypatch):
    monkeypatch.delenv("FLOWERS_TL_WEIGHTS", raising=False)
    with pytest.raises(
        UserError, match=r"is no file and no name of torchvision's weights for mobilenet_v3_small.*IMAGENET1K_V1"
    ):
        load_weights(target, name)


@pytest.mark.parametrize("content", [b"not a checkpoint", b""])
def test_a_file_that_holds_no_weights_is_refused(target, tmp_path, content):
    (tmp_path / "bad.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"bad.pth can't be read as weights"):
        load_weights(target, str(tmp_path / "bad.pth"))


def test_nothing_but_tensors_is_unpickled(target, tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ("unpickled",))

    with pytest.raises(UserError, match=r"can't be read as weights"):
        module.read_weights(target, save({"features.0.0.weight": Trap()}, tmp_path))


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
def test_real_weights_load(name):
    file = {"mobilenet_v2": "mobilenet_v2-imagenet-backbone.pth", "squeezenet1_1": "squeezenet1_1-imagenet.pth"}[name]
    backbone = StagedNetwork(name, 102)
    load_weights(backbone, file)
    state = module.read_weights(backbone, file)
    assert torch.equal(
        backbone.network.features[0].state_dict()["0.weight" if name == "mobilenet_v2" else "weight"],
        state["features.0.0.weight" if name == "mobilenet_v2" else "features.0.weight"],
    )


@pytest.mark.parametrize("change", [torch.zeros_like, lambda tensor: (100 * tensor).to(torch.int8)])
def test_zeros_and_whole_numbers_are_no_weights(source, target, tmp_path, change):
    state = {key: change(value) for key, value in source.network.state_dict().items()}
    with pytest.raises(UserError, match="holds only zeros or whole numbers, no weights: use a file of float"):
        load_weights(target, save(state, tmp_path))


def test_a_neck_that_would_stay_frozen_and_random_is_refused(source, target, tmp_path):
    state = {key: value for key, value in source.network.state_dict().items() if not key.startswith("classifier")}
    file = save(state, tmp_path)
    load_weights(target, file)
    target.network.requires_grad_(False)
    with pytest.raises(
        UserError, match=r"has no classifier\.0\.bias.* freezes, so it would stay random: train the neck too"
    ):
        load_weights(target, file)


def scripted(path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (scripted, "with TorchScript archives passed to ``torch.load``"),
        (lambda path: torch.save([{"a": torch.zeros(2)}], path), "it holds no plain tensors by name"),
        (lambda path: torch.save({"a": torch.eye(2).to_sparse()}, path), "it holds no plain tensors by name"),
        (lambda path: torch.save({"a": torch.zeros(2, 2, device="meta")}, path), "it holds no plain tensors by name"),
    ],
)
def test_what_is_no_state_dict_of_plain_tensors_is_refused_in_a_sentence(target, tmp_path, write, reason):
    write(tmp_path / "odd.pth")
    with pytest.raises(UserError) as caught:
        load_weights(target, str(tmp_path / "odd.pth"))
    assert reason in str(caught.value)
    assert str(caught.value).endswith("): use a state dict, saved by torch.save(model.state_dict(), FILE).")
    assert len(str(caught.value)) < 250 + len(str(tmp_path))


def test_numbers_that_are_too_large_or_nan_are_refused_in_any_precision(source, target, tmp_path):
    state = source.network.state_dict()
    name = "features.0.0.weight"
    for tensor in (state[name].double() * 1e300, (state[name] * torch.nan).to(torch.float8_e4m3fn)):
        with pytest.raises(UserError, match=f"holds NaN or infinite numbers in {name}"):
            load_weights(target, save(state | {name: tensor}, tmp_path))
    quantised = torch.quantize_per_tensor(state[name], 0.1, 0, torch.qint8)
    with pytest.raises(UserError, match="holds only zeros or whole numbers"):
        load_weights(target, save(state | {name: quantised}, tmp_path))


def test_position_embeddings_of_another_image_size_are_interpolated_and_told(tmp_path, capsys):
    with torch.device("meta"):
        source, target = (StagedNetwork("vit_b_16", 3, image_size=side) for side in (64, 96))
    state = {key: torch.zeros_like(value, device="cpu") for key, value in source.network.state_dict().items()}
    # Each place of the 4 x 4 patches has its column's number.
    columns = torch.arange(4.0).repeat(4)[None, :, None].expand(1, 16, 768)
    state["encoder.pos_embedding"] = torch.cat([torch.full((1, 1, 768), 9.0), columns], dim=1)
    state["conv_proj.weight"] += 1
    target.network.to_empty(device="cpu")
    load_weights(target, save(state, tmp_path))
    fitted = target.network.encoder.pos_embedding.detach()
    assert fitted.shape == (1, 37, 768)
    assert (fitted[0, 0] == 9).all()
    rows = fitted[0, 1:, 0].view(6, 6)
    torch.testing.assert_close(rows, rows[:1].expand(6, 6))
    assert (rows[0].diff() > 0).all()
    assert target.positions == {"positions": "interpolated from 4 x 4 to 6 x 6 patches"}
    assert "interpolated from 4 x 4 to 6 x 6 patches, for images of 96 pixels" in capsys.readouterr().err
