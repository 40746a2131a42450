"""Images that can't be read are told and counted, and so is what a figure leaves out."""

from pathlib import Path

import pytest

from flowers_tl.cli.image_arguments import UnreadableImages
from flowers_tl.utils.errors import UserError


def test_images_that_can_not_be_read_are_told_one_by_one_and_counted(capsys):
    unreadable = UnreadableImages()
    assert unreadable.exit_code(3) == 0
    assert capsys.readouterr().err == ""
    for name in "ab":
        unreadable(UserError(f"{name}.jpg can't be read."))
    assert unreadable.exit_code(3) == 1
    assert capsys.readouterr().err.splitlines() == [
        "Error: a.jpg can't be read.",
        "Error: b.jpg can't be read.",
        "Error: 2 of 3 images could not be read.",
    ]


@pytest.mark.parametrize(
    ("images", "told"),
    [(13, "Drawn: f.png."), (14, "Drawn: f.png, with the first 12 of 13 images.")],
)
def test_a_figure_says_how_many_readable_images_it_leaves_out(images, told, capsys):
    unreadable = UnreadableImages([UserError("One is bad.")])
    unreadable.print_figure(Path("f.png"), 12, images)
    assert capsys.readouterr() == ("", f"{told}\n")
