"What many tests say."

import re

from opembed_nb.hood.files import refused


def refused_as(words, act, *args, **kwargs):
    "The one line in which a call is refused; it holds these words, or fits them as a pattern."
    said = refused(act, *args, **kwargs)
    assert words in said or re.search(words, said), said
    assert "\n" not in said, said
    return said
