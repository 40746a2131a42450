"""timm's networks: cut by one rule, their stages are the whole, and what is wrong is told in a sentence."""

import copy
import sys
import threading
from importlib.util import find_spec

import pytest
import torch

from flowers_tl.models import cut, timm_networks
from flowers_tl.models.backbone import StagedNetwork
from flowers_tl.models.frozen_prefix import FrozenPrefix
from flowers_tl.models.partial_run import run_between
from flowers_tl.models.preprocessing import find_preprocessing
from flowers_tl.models.pretrained import load_weights
from flowers_tl.runs.run_id import fingerprint_weights
from flowers_tl.utils.errors import UserError

pytestmark = pytest.mark.skipif(
    not find_spec("timm"), reason="needs timm: pip install '.[timm]' in a checkout of the project"
)

# timm's smallest networks of three unlike families, and the side of their images.
SIZES = {"test_resnet": 64, "test_vit": 64, "test_efficientnet": 64}
# Unlike architectures of timm, each about the smallest of its family, with the side of its images.
UNLIKE = dict.fromkeys(
    [
        "beit_base_patch16_224",
        "cait_xxs24_224",
        "coat_lite_tiny",
        "convmixer_768_32",
        "convnext_atto",
        "convnextv2_atto",
        "cspresnet50",
        "davit_tiny",
        "deit3_small_patch16_224",
        "densenet121",
        "dla34",
        "dpn48b",
        "edgenext_xx_small",
        "efficientnet_lite0",
        "efficientvit_b0",
        "efficientvit_m0",
        "eva02_tiny_patch14_224",
        "fastvit_t8",
        "fbnetc_100",
        "gcvit_xxtiny",
        "ghostnet_050",
        "hgnetv2_b0",
        "hrnet_w18_small",
        "inception_next_atto",
        "lcnet_035",
        "mambaout_femto",
        "maxvit_rmlp_pico_rw_256",
        "mixer_s32_224",
        "mnasnet_small",
        "mobilenetv3_small_050",
        "mobilenetv4_conv_small_035",
        "mobilevit_xxs",
        "mvitv2_tiny",
        "nf_regnet_b0",
        "pit_ti_224",
        "poolformer_s12",
        "pvt_v2_b0",
        "regnetx_002",
        "repvgg_a0",
        "repvit_m0_9",
        "resmlp_12_224",
        "resnet18",
        "resnetv2_18",
        "rexnet_100",
        "shvit_s1",
        "skresnet18",
        "starnet_s1",
        "swin_tiny_patch4_window7_224",
        "swinv2_tiny_window8_256",
        "tiny_vit_5m_224",
        "vgg11",
        "vit_tiny_patch16_224",
        "xcit_nano_12_p16_224",
    ],
    64,
)
UNLIKE |= {"convit_tiny": 224, "levit_128s": 224, "convmixer_768_32": 56, "eva02_tiny_patch14_224": 56}
# Those that also become ONNX.
ONNX = (
    "convnext_atto", "efficientnet_lite0", "mobilenetv3_small_050", "regnetx_002", "repvgg_a0", "resnet18", "resmlp_12_224",
    "vit_tiny_patch16_224",
)  # fmt: skip


@pytest.fixture(scope="module", params=SIZES)
def backbone(request):
    torch.manual_seed(0)
    return StagedNetwork(f"timm/{request.param}", 7, SIZES[request.param]).eval()


def images(backbone: StagedNetwork, count: int = 3) -> torch.Tensor:
    return torch.randn(count, 3, *[SIZES[backbone.name.removeprefix("timm/")]] * 2)


@torch.no_grad()
def test_stages_in_a_row_equal_forward(backbone):
    x = images(backbone)
    expected = backbone(x)
    assert expected.shape == (3, 7)
    assert torch.equal(backbone.run(x), expected)
    for stage in (backbone.stage_names[1], "head"):
        assert torch.equal(backbone.run(backbone.run(x, stop=stage), start=stage), expected)
    assert [backbone.stage_names[0], *backbone.stage_names[-2:]] == ["stem", "neck", "head"]
    assert len(backbone.stages) >= 5


def test_every_tensor_belongs_to_one_stage_and_the_head_is_the_final_layer(backbone):
    owners = {
        key: [stage.name for stage in backbone.stages if stage.owns(key)] for key in backbone.network.state_dict()
    }
    assert {key: names for key, names in owners.items() if len(names) != 1} == {}
    counts = [sum(p.numel() for p in backbone.parameters_of(stage)) for stage in backbone.stages]
    assert sum(counts) == sum(p.numel() for p in backbone.parameters())
    final = backbone.network.get_submodule(backbone.final)
    assert counts[-1] == sum(p.numel() for p in final.parameters())
    assert final.weight.shape[0] == 7
    assert final.weight.any(), "a head that begins at zero"
    assert counts[backbone.stage_names.index("neck") - 1] > 0


@torch.no_grad()
def test_the_frozen_prefix_is_the_stages_and_leaves_the_network_as_it_is(backbone):
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    pixels = torch.randint(0, 256, (3, 3, *images(backbone).shape[2:]), dtype=torch.uint8)
    expected = backbone.run(backbone.normalise(pixels), stop="head")
    found = FrozenPrefix(backbone, "head", "fp32", torch.device("cpu"))(pixels)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert not any("forward" in vars(module) for module in backbone.modules())


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_batchnorm_is_folded_and_what_acts_behind_it_stays(name):
    torch.manual_seed(0)
    backbone = StagedNetwork(f"timm/{name}", 3, 64).eval()
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, least, most in (
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2),
                (module.bias, -1, 1),
            ):
                torch.nn.init.uniform_(tensor, least, most)
    pixels = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    for stop in backbone.stage_names[1:]:
        prefix = FrozenPrefix(backbone, stop, "fp32", torch.device("cpu"))
        expected = backbone.run(backbone.normalise(pixels), stop=stop)
        assert (prefix(pixels) - expected).abs().max() <= 1e-5 * expected.abs().max(), stop
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in prefix.network.modules())


def test_its_state_dict_is_timms(backbone):
    from timm import create_model

    plain = create_model(backbone.name.removeprefix("timm/"), num_classes=7, **backbone.arguments).eval()
    plain.load_state_dict(copy.deepcopy(backbone.network.state_dict()))
    x = images(backbone)
    with torch.no_grad():
        assert torch.equal(plain(x), backbone(x))


@pytest.mark.skipif(
    not find_spec("captum"), reason="needs captum: pip install '.[explain]' in a checkout of the project"
)
def test_a_heat_map_has_the_places_of_a_stage_or_is_refused(backbone):
    check_heat_map(backbone, images(backbone))


def check_heat_map(backbone, x):
    from flowers_tl.inference.grad_cam import grad_cam

    try:
        evidence = grad_cam(backbone, x, [*range(len(x))])
    except UserError as error:
        # A stage of theirs gives places in a row, without a side.
        assert backbone.name in str(error) and "no places" in str(error)  # noqa: PT017, PT018
    else:
        assert evidence.shape == (len(x), *[evidence.shape[-1]] * 2)
        assert evidence.isfinite().all()


def test_a_stage_that_lacks_something_is_refused(monkeypatch):
    with torch.device("meta"):
        network, _ = timm_networks.build_network("timm/test_resnet", cut.CLASSES, 64)
    found = cut.find_cut(network, 64)
    real, _ = timm_networks.build_network("timm/test_resnet", 3, 64)
    cut.check_cut(real, found)
    real.layer2.register_forward_hook(lambda module, inputs, output: output + 1e-3 * torch.rand(()))
    with pytest.raises(UserError, match="do not compute what the whole network does"):
        cut.check_cut(real, found)


def test_a_network_with_a_way_past_its_stages_is_cut_where_there_is_none():
    class Past(torch.nn.Module):
        """Its last block sees the stem too, and so do its logits, if they are asked to."""

        def __init__(self, logits_too: bool):
            super().__init__()
            self.logits_too = logits_too
            self.stem, self.fc = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, cut.CLASSES)
            self.blocks = torch.nn.ModuleList(torch.nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

        def forward(self, x):
            stem = self.stem(x)
            x = self.blocks[0](stem)
            x = self.blocks[2](self.blocks[1](x) + stem)
            return self.fc(x.mean(dim=(2, 3))) + (stem.mean() if self.logits_too else 0)

    with torch.device("meta"):
        found = cut.find_cut(Past(logits_too=False), 16)
        assert [(point.module, point.at_input) for point in found.points] == [("blocks.2", False), ("fc", True)]
        assert found.members == (("blocks", "stem"), (), ("fc",))
        with pytest.raises(UserError, match="more than one tensor leads to its classes"):
            cut.find_cut(Past(logits_too=True), 16)


def test_preprocessing_is_that_of_the_tag():
    assert find_preprocessing("timm/tf_efficientnet_lite0", "weights.pth") == {
        "resize": 256, "crop": 224, "interpolation": "bicubic", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]
    }  # fmt: skip
    assert find_preprocessing("timm/vit_small_patch14_dinov2.lvd142m", None)["crop"] == 518
    clip = find_preprocessing("timm/vit_base_patch32_clip_224.openai", None)
    assert clip["mean"][0] == pytest.approx(0.4815, abs=1e-3)


def test_weights_in_a_file_are_read_by_tag_or_path(tmp_path, monkeypatch):
    monkeypatch.setenv("FLOWERS_TL_WEIGHTS", str(tmp_path))
    source, target = (StagedNetwork("timm/test_vit", 1000, 160) for _ in range(2))
    torch.save(source.network.state_dict(), tmp_path / "test_vit.r160_in1k.pth")
    load_weights(target, "DEFAULT")
    assert torch.equal(target.network.pos_embed, source.network.pos_embed)
    smaller = StagedNetwork("timm/test_vit.r160_in1k", 3, 64)
    load_weights(smaller, str(tmp_path / "test_vit.r160_in1k.pth"))
    assert "interpolated from 1x" in smaller.positions["positions"]
    assert fingerprint_weights("timm/test_vit", "DEFAULT") == "test_vit.r160_in1k"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/vit_smal_patch14_dinov2", "There is no backbone 'timm/vit_smal_patch14_dinov2': did you mean"),
        ("timm/resnet18.a9_in1k", r"timm/resnet18 has no such tag: did you mean 'a\d_in1k'"),
        ("timm/deit_tiny_distilled_patch16_224", "can't be cut into stages"),
    ],
)
def test_what_is_no_network_or_can_not_be_cut_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        StagedNetwork(name, 3)


def test_a_size_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"data\.image_size=60 .*timm/test_vit|timm/test_vit .*data\.image_size=60"):
        StagedNetwork("timm/test_vit", 3, 60)


def test_weights_that_can_not_be_had_are_told_with_their_place(monkeypatch):
    backbone = StagedNetwork("timm/test_vit", 3, 160)

    def unreachable(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr("timm.models.load_state_dict_from_hf", unreachable)
    with pytest.raises(
        UserError, match=r"no route.*test_vit\.r160_in1k\.safetensors into the folder that FLOWERS_TL_WEIGHTS"
    ):
        load_weights(backbone, "DEFAULT")
    with pytest.raises(UserError, match="no weights tag of timm/test_vit"):
        load_weights(backbone, "IMAGENET1K_V1")


def test_another_thread_sees_the_network_as_it_is():
    backbone = StagedNetwork("timm/test_resnet", 3, 64).eval()
    x = torch.randn(2, 3, 64, 64)
    results = []

    @torch.no_grad()
    def predict():
        results.append(backbone(x))

    def meanwhile(*_):
        if threading.current_thread() is threading.main_thread():
            thread = threading.Thread(target=predict)
            thread.start()
            thread.join()

    predict()
    # At the module with which a stage ends no hook is called.
    backbone.network.layer3[0].conv1.register_forward_hook(meanwhile)
    with torch.no_grad():
        backbone.run(backbone.run(x, stop="stage2"), start="stage2")
    assert len(results) == 2
    assert torch.equal(*results)


def test_timm_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"backbone=timm/resnet18 needs timm: pip install '\.\[timm\]'"):
        timm_networks.find_tags("timm/resnet18")


def test_a_run_between_gives_gradients_to_what_is_behind():
    backbone = StagedNetwork("timm/test_vit", 3, 64)
    x = backbone.run(torch.randn(2, 3, 64, 64), stop="head").detach()
    backbone.run(x, start="head").sum().backward()
    assert {name for name, p in backbone.network.named_parameters() if p.grad is not None} == {
        f"{backbone.final}.weight", f"{backbone.final}.bias"
    }  # fmt: skip
    assert run_between(None, None, backbone.network, torch.randn(1, 3, 64, 64)).shape == (1, 3)


@torch.no_grad()
def test_of_two_classifiers_the_first_is_used_where_timm_builds_it_alone(tmp_path):
    from timm import create_model

    backbone = StagedNetwork("timm/repvit_m0_9", 3, 64).eval()
    assert backbone.arguments["distillation"] is False
    source = create_model("repvit_m0_9").eval()
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    load_weights(backbone, str(tmp_path / "weights.pth"))
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(backbone.run(x, stop="neck"), source.forward_features(x))
    levit = create_model("levit_128s").eval()
    torch.save(levit.state_dict(), tmp_path / "weights.pth")
    load_weights(other := StagedNetwork("timm/levit_128s", 3, 224).eval(), str(tmp_path / "weights.pth"))
    x = torch.randn(2, 3, 224, 224)
    assert torch.equal(other.run(x, stop="neck"), levit.forward_features(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", UNLIKE)
def test_unlike_architectures_keep_what_is_promised(name, tmp_path):
    from timm import create_model

    torch.manual_seed(0)
    side = UNLIKE[name]
    # It is refused here, unless its stages one after another are the whole, bit for bit.
    backbone = StagedNetwork(f"timm/{name}", 7, side).eval()
    pixels = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    x = backbone.normalise(pixels)
    with torch.no_grad():
        expected = backbone(x)
        assert torch.equal(backbone.run(x), expected)
        features = backbone.run(x, stop="head")
        found = FrozenPrefix(backbone, "head", "fp32", torch.device("cpu"))(pixels)
    assert (found - features).abs().max() <= 1e-4 * features.abs().max()
    counts = [sum(p.numel() for p in backbone.parameters_of(stage)) for stage in backbone.stages]
    assert sum(counts) == sum(p.numel() for p in backbone.parameters())
    before = {key: value.clone() for key, value in backbone.network.state_dict().items()}
    # Learning as the head alone does: what is frozen stays, bit for bit.
    for stage in backbone.stages[:-1]:
        for parameter in backbone.parameters_of(stage):
            parameter.requires_grad_(False)
    learner = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    backbone(x).logsumexp(1).sum().backward()
    learner.step()
    changed = {key for key, value in backbone.network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert changed <= {f"{backbone.final}.weight", f"{backbone.final}.bias"}
    plain = create_model(name, num_classes=7, **backbone.arguments).eval()
    plain.load_state_dict(before)
    with torch.no_grad():
        assert torch.equal(plain(x), expected)
    if find_spec("captum"):
        # Some have no places, or no stages besides stem and head.
        check_heat_map(backbone, x)
    if name in ONNX and find_spec("onnxruntime"):
        from flowers_tl.exporting.formats import read_onnx, write_onnx

        write_onnx(plain, side, {}, tmp_path / "model.onnx")
        assert torch.allclose(read_onnx(tmp_path / "model.onnx")(x), expected, rtol=1e-3, atol=1e-4)
