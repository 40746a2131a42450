"""The page answers an upload, and says in a sentence what it can't do."""

import sys

import pytest

from flowers_tl.utils.errors import UserError


def test_gradio_that_is_missing_is_told(monkeypatch):
    from flowers_tl.inference.web_demo import import_gradio

    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(UserError, match=r"flowers_tl\[serve\]"):
        import_gradio()
