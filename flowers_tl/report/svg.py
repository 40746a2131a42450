"""A matplotlib figure as SVG that can stand in a page, beside other figures and in the page's font and theme."""

import io
import json
import re
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from flowers_tl.report.palette import SETTINGS, VARIABLES

HREF = "{http://www.w3.org/1999/xlink}href"


def mark(**attributes: object) -> str:
    """An artist's gid from which :func:`to_svg` makes attributes; ``title`` becomes a tooltip, ``class_`` a class."""
    return json.dumps({key.rstrip("_").replace("_", "-"): str(value) for key, value in attributes.items()})


def to_svg(figure: Figure, description: str, **attributes: object) -> Markup:
    """Draw the figure without the ids, style sheets and namespaces that could collide with others in the page.

    Args:
        figure: what to draw.
        description: for readers who don't see it.
        attributes: of the svg element, as :func:`mark` takes them.
    """
    file = io.BytesIO()
    with rc_context(SETTINGS):
        figure.savefig(file, format="svg", transparent=True)
    root = ElementTree.fromstring(file.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    shapes = {f"#{path.get('id')}": path.get("d", "") for path in root.iter("path")}
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in ("defs", "metadata")]:
            parent.remove(child)
    for element in list(root.iter()):
        # A marker is drawn where it is used: an id may occur only once in a page.
        if shape := element.attrib.pop(HREF, None):
            element.tag = "path"
            x, y = element.attrib.pop("x"), element.attrib.pop("y")
            element.attrib |= {"d": shapes[shape], "transform": f"translate({x} {y})"}
        element.attrib.pop("clip-path", None)
        if (gid := element.attrib.pop("id", "")).startswith("{"):
            element.attrib |= json.loads(gid)
        if tooltip := element.attrib.pop("title", None):
            title = ElementTree.Element("title")
            title.text = tooltip
            element.insert(0, title)
        if style := element.get("style"):
            style = re.sub("#[0-9a-f]{6}", lambda colour: VARIABLES.get(colour[0], colour[0]), style)
            element.set("style", re.sub("font-family: [^;]*", "font-family: inherit", style))
    # As wide as drawn where there is room.
    width = f"max-width: {float(root.attrib['viewBox'].split()[2]):g}px"
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": description, "style": width}
    root.attrib |= json.loads(mark(**attributes))
    return Markup(ElementTree.tostring(root, encoding="unicode"))
