"""Equations as MathML, written when the book is built: a page needs no script to show them."""

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

# What docutils does not know, in words that it does.
SPELLED = [
    (r"\\([bB]igg?)(?=[(\[]|\\\{)", r"\\\1l"),
    (r"\\([bB]igg?)(?=[)\]]|\\\})", r"\\\1r"),
    (r"\\dots(?![a-z])", r"\\ldots"),
    (r"\\\|", r"\\parallel "),
    # Room around the name of a function.
    (r"(?<=[\w})])\s*\\(?=(log|exp|max|operatorname)\b)", r"\\,\\"),
    (r"\\(log|max)\s+(?![(\[])", r"\\\1\\,"),
    # It takes the digits of \tfrac12 for one number, and the next thing for the denominator.
    (r"\\([dt]?frac)\s*(\w)\s*(\w)", r"\\\1{\2}{\3}"),
]
TAG = r"\\tag\{([^}]*)\}"  # an equation's number in the paper


def mathml(tex, block):
    "TeX as MathML; a ValueError says what cannot be written."
    tex = re.sub(TAG, "", tex).strip()
    for theirs, known in SPELLED:
        tex = re.sub(theirs, known, tex)
    try:
        return re.sub(r"\n\s*", "", tex2mathml(tex, as_block=block))
    except MathError as error:
        raise ValueError(f"{error}: {tex}") from None


def visit(self, node, block, number):
    "Write an equation, with its number if it has one."
    try:
        written = mathml(node.astext(), block)
    except ValueError as error:
        logging.getLogger(__name__).warning(f"equation: {error}", location=node)
        raise nodes.SkipNode from None
    kind = "div" if block else "span"
    self.body.append(self.starttag(node, kind, "", CLASS="math notranslate nohighlight"))
    if number:
        self.body.append(f'<span class="eqno">({number})')
        if node.get("number"):
            self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(f"{written}</{kind}>" + ("\n" if block else ""))
    raise nodes.SkipNode


def visit_inline(self, node):
    "An equation in a line of text."
    visit(self, node, False, None)


def visit_block(self, node):
    "An equation in a line of its own."
    tag = re.search(TAG, node.astext())
    ours = get_node_equation_number(self, node) if node.get("number") else None
    visit(self, node, True, ours or (tag and tag[1]))


def setup(app):
    "Lets Sphinx write equations so; _config.yml chooses it by name."
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
