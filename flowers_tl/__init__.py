"""Transfer learning as an experiment: which layers should learn, how fast, and what does that buy?

Data flows one way: ``conf`` -> ``data`` -> ``model`` -> ``results``. The doors (``train``, ``compare``) are the only
modules that know both Hydra and the library; everything below them takes plain Python values.
"""

from importlib.metadata import version

__version__ = version("flowers_tl")
