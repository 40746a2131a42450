"""Decoded images equal the article's transforms of the files, bit for bit, and are decoded once."""

import os
import pickle
import shutil
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from flowers_tl.config.ranges import RANGES
from flowers_tl.data.cached import content_hash, decode_files
from flowers_tl.data.cached.decoded_images import decoded_size, has_room, open_images
from flowers_tl.data.cached.disk_cache import Cache
from flowers_tl.data.image_crops import ImageCrops
from flowers_tl.data.image_folder import FolderDataModule
from flowers_tl.data.image_io import Undecodable, read_image
from flowers_tl.data.sampling import derive_seed
from flowers_tl.data.transforms import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    augment,
    eval_transform,
    normalise,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Images of ragged shapes, as JPEG and one grey PNG."""
    folder = tmp_path_factory.mktemp("pictures")
    torch.manual_seed(0)
    paths = []
    for k, (height, width) in enumerate([(37, 90), (80, 37), (64, 51), (51, 51), (41, 53)]):
        noise = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8).numpy()
        paths.append(folder / f"{k}.{'png' if k == 4 else 'jpg'}")
        Image.fromarray(noise).convert("L" if k == 4 else "RGB").save(paths[-1])
    return paths


normalised = v2.Compose([
    v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD), v2.ToPureTensor(),
])  # fmt: skip


def article(size: int) -> v2.Compose:
    """The training transforms as the article writes them."""
    return v2.Compose([
        v2.Resize(round(size * 256 / 224)), v2.RandomCrop(size), v2.RandomHorizontalFlip(),
        normalised,
    ])  # fmt: skip


def test_random_windows_equal_the_articles_transforms(files, tmp_path):
    store = open_images(Cache(tmp_path), files, 37, "images")
    images = ImageCrops(store, range(5), 32, seed=7)
    keys = [(epoch, k) for epoch in range(8) for k in range(5)]
    batch, labels = images.__getitems__(keys)
    assert batch.dtype == torch.uint8
    assert labels.tolist() == list(range(5)) * 8
    found = normalise(batch)
    for (epoch, k), image in zip(keys, found, strict=True):
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(7, epoch, k))
            assert torch.equal(article(32)(read_image(files[k])), image)


def test_centre_crops_equal_the_articles_transforms(files, tmp_path):
    store = open_images(Cache(tmp_path), files, 37, "images")
    found = normalise(ImageCrops(store, range(5), 32).__getitems__(range(5))[0])
    for file, image in zip(files, found, strict=True):
        assert torch.equal(eval_transform(32)(read_image(file)), image)


def test_ragged_images_keep_their_shape(files, tmp_path):
    store = open_images(Cache(tmp_path), files, 37, "images")
    assert [tuple(image.shape) for image in store] == [(37, 90, 3), (80, 37, 3), (46, 37, 3), (37, 37, 3), (37, 47, 3)]


CHANGES = {
    "none": eval_transform(24),
    "crop": article(24),
    "random_resized_crop": v2.Compose([v2.RandomResizedCrop(24), v2.RandomHorizontalFlip(), normalised]),
    "trivial_augment": v2.Compose([
        v2.Resize(27), v2.RandomCrop(24), v2.RandomHorizontalFlip(), v2.TrivialAugmentWide(), normalised
    ]),
}  # fmt: skip


@pytest.mark.parametrize("augmentation", RANGES["data.augmentation"].choices)
@pytest.mark.parametrize(("cached", "workers"), [(True, 0), (False, 0), (False, 2)])
def test_batches_are_what_transforms_make_of_the_files(photos, tmp_path, augmentation, cached, workers):
    arguments = {"augmentation": augmentation, "image_size": 24, "num_workers": workers, "batch_size": 5, "seed": 3}
    # Images are larger than what they are resized to.
    root = photos({"aster": 7, "rose": 9})
    data = FolderDataModule(str(root), **arguments, cache=Cache(tmp_path / "cache") if cached else None)
    data.setup()

    def expected(transform, split, index):
        return transform(read_image(data.images[split].files[index]))

    for epoch in (0, 3):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        keys = list(loader.sampler)
        images = torch.cat([normalise(batch) for batch, _ in loader])
        for key, image in zip(keys, images, strict=True):
            with torch.random.fork_rng():
                torch.manual_seed(derive_seed(3, *key))
                assert torch.equal(expected(CHANGES[augmentation], "train", key[1]), image)
    for split in ("train", "val", "test"):
        images = torch.cat([normalise(batch) for batch, _ in data.in_order(split)])
        for index, image in enumerate(images):
            assert torch.equal(expected(eval_transform(24), split, index), image)
        labels = [label for _, batch in data.in_order(split) for label in batch.tolist()]
        assert labels == data.images[split].labels


def test_a_changed_image_is_decoded_again_and_no_other_time(files, tmp_path, monkeypatch):
    read = []

    def counting(file, **options):
        read.append(file.name)
        return read_image(file, **options)

    monkeypatch.setattr(decode_files, "read_image", counting)
    copies = [tmp_path / file.name for file in files]
    for file, copy in zip(files, copies, strict=True):
        copy.write_bytes(file.read_bytes())
    cache = Cache(tmp_path / "cache")
    before = open_images(cache, copies, 37, "images")
    open_images(cache, copies, 37, "images")
    assert len(read) == 5
    state = copies[0].stat()
    Image.open(copies[3]).rotate(180).save(copies[0])
    os.utime(copies[0], ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
    after = open_images(cache, copies, 37, "images")
    assert len(read) == 10
    assert after[0].shape == (37, 37, 3) != before[0].shape
    open_images(cache, copies, 38, "images")
    assert len(read) == 15


def test_images_that_change_places_are_other_images(tmp_path):
    """Files of one size and one time of change, as an archive may leave them: only their bytes tell them apart."""
    for name, grey in (("a", 0), ("b", 255)):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40), (grey,) * 3).save(tmp_path / name / "0.bmp")
        os.utime(tmp_path / name / "0.bmp", (1.7e9, 1.7e9))
    files, cache = [tmp_path / name / "0.bmp" for name in "ab"], Cache(tmp_path / "cache")
    before = open_images(cache, files, 37, "images")
    for old, new in (("a", "c"), ("b", "a"), ("c", "b")):
        (tmp_path / old).rename(tmp_path / new)
    after = open_images(cache, files, 37, "images")
    assert torch.equal(after[0], before[1])
    assert torch.equal(after[1], before[0])


def test_a_copy_of_the_images_is_not_decoded_again(files, tmp_path, monkeypatch):
    cache = Cache(tmp_path / "cache")
    before = open_images(cache, files, 37, "images")
    copies = [shutil.copy(file, tmp_path) for file in files]  # with other times
    monkeypatch.setattr(decode_files, "read_image", pytest.fail)
    after = open_images(cache, [tmp_path / file.name for file in files], 37, "images")
    assert len(copies) == len(after) == len(before)
    assert all(torch.equal(after[k], before[k]) for k in range(5))


def test_other_versions_of_the_decoder_have_another_key(files, monkeypatch):
    before = content_hash.describe_images(files, 37, None)
    monkeypatch.setattr(content_hash.PIL, "__version__", "0.0")
    assert content_hash.describe_images(files, 37, None) != before


def test_a_damaged_image_is_named(files, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(files[0].read_bytes()[:200])
    with pytest.raises(Exception, match=r"bad.jpg can't be read as an image"):
        open_images(Cache(tmp_path / "cache"), [files[0], bad], 37, "images")
    assert not list((tmp_path / "cache").glob("pictures-*"))


def test_a_damaged_image_may_be_one_without_pixels(files, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"words")
    paths = [files[0], bad, files[1]]
    store = open_images(Cache(tmp_path / "cache"), paths, 37, "images", lenient=True)
    assert store.undecodable == [bad]
    assert store[1].shape == (0, 0, 3)
    part = store.part([paths[2], paths[0]])
    assert [image.shape for image in part.take([0, 1])] == [store[2].shape, store[0].shape]
    assert torch.equal(part[0], store[2])
    for _ in range(2):  # kept by one that was lenient, and of another who is not
        with pytest.raises(Undecodable, match=r"bad.jpg can't be read as an image"):
            open_images(Cache(tmp_path / "cache"), paths, 37, "images")


def test_a_store_of_damaged_images_alone_can_be_kept(tmp_path):
    for k in range(2):
        (tmp_path / f"{k}.jpg").write_bytes(b"words")
    files = [tmp_path / f"{k}.jpg" for k in range(2)]
    for _ in range(2):
        assert open_images(Cache(tmp_path / "cache"), files, 37, "images", True).undecodable == files


@pytest.mark.parametrize("short_side", [37, None])
def test_the_size_of_a_store_is_known_before(files, short_side, tmp_path):
    store = open_images(Cache(tmp_path), files * 100, short_side, "images")
    assert decoded_size(files * 100, short_side) == pytest.approx(sum(image.nbytes for image in store), rel=0.03)


def test_training_transforms_are_the_articles(files):
    for seed in range(6):
        found = []
        for transform in (lambda image: normalise(augment(32, "crop")(image)), article(32)):
            torch.manual_seed(seed)
            found.append(transform(read_image(files[0])))
        assert torch.equal(*found)


def test_a_gpu_holds_what_takes_less_than_a_quarter_of_its_free_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (400, 10_000))
    sizes = (99, 100, 101)
    assert [has_room(torch.device("cuda"), size) for size in sizes] == [True, False, False]
    assert not any(has_room(torch.device("cpu"), size) for size in sizes)


@pytest.mark.parametrize("removed", [False, True])
def test_a_process_that_was_not_forked_maps_the_file_or_decodes_again(files, tmp_path, removed):
    images = open_images(Cache(tmp_path), files, 37, "images").part(files[3:0:-1])
    handed = ForkingPickler.dumps(images)
    assert len(handed) < 2000
    if removed:
        shutil.rmtree(images.mapped.parent)
    there = pickle.loads(handed)
    assert (there.kept is None) == removed
    assert [image.tolist() for image in there] == [image.tolist() for image in images]
