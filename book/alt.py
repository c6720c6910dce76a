"""A text for each picture of a notebook, for those who do not see it.

A cell's own comes first (`mystnb: {image: {alt: …}}`). Otherwise it is made: what is written in a
drawing, the kind and the axes of a plot from its code, and the claim from the caption.
"""

import html
import re

KINDS = [  # what a plot's code calls → how it is called in words
    (r"\.bar\(|\.barh\(", "Bar chart"),
    (r"boxplot|\.bxp\(|group_figure|recorded_figure", "Box plot"),
    (r"\.imshow\(|\.matshow\(|pcolormesh", "Grid of colours"),
    (r"scatter\(|latent_figure|plot_operations|plot_latents|plot_tables", "Scatter plot"),
    (r"plot_findings|\.errorbar\(", "Plot of differences with intervals"),
    (r"\.plot\(|semilog|\.fill_between\(|curves|history|regret|length_figure", "Line chart"),
    (r"plot_few\(|plot_taus\(", "Line chart"),
]
LONGEST = 400  # letters


def plain(text):
    "Markdown as plain text."
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"\{[\w:]+\}`([^`<]*)[^`]*`", r"\1", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\$([^$]*)\$", lambda found: found[1].replace("\\", "").strip(), text)
    return " ".join(re.sub(r"[`*]|^#+ .*$|^[-|>:].*$", "", text, flags=re.M).split())


def sentence(text):
    "The first sentence of a text."
    return re.match(r".*?[.!?](?=\s|$)|.*", text)[0]


def axes(code):
    "What a plot's code calls its axes, where it says so in so many words."
    found = {}
    for axis in "xy":
        called = re.search(rf"(?:\b{axis}label=|set_{axis}label\()\"([^\"{{]*)\"", code)
        if called:
            found[axis] = called[1].replace("\\n", " ").strip()
    if len(found) == 2:
        return f" of {found['y']} against {found['x']}"
    return f" with {' and '.join(found.values())} along an axis" if found else ""


def of_drawing(svg, caption):
    "The title of a drawing if it has one; else its caption, and what is written in it, in order."
    svg = "".join(svg)
    if title := re.search(r"<svg[^>]*>\s*<title[^>]*>(.*?)</title>", svg, re.S):
        return html.unescape(title[1]).strip()
    words = [re.sub(r"<[^>]*>", "", text) for text in re.findall(r"<text.*?</text>", svg, re.S)]
    words = [html.unescape(" ".join(word.split())) for word in words]
    graphs = {"input", "output"} <= set(words)
    head = (
        "Graphs of architectures, with their nodes in order"
        if graphs
        else "Drawing, with the words"
    )
    said = f"{sentence(plain(caption))} " if caption else ""
    return f"{said}{head}: " + ", ".join(word for word in words if word)


def of_plot(code, caption, above):
    "What kind of plot it is, of what, and what it shows."
    kind = next((name for pattern, name in KINDS if re.search(pattern, code)), "Picture")
    said = sentence(plain(caption or above))
    return f"{kind}{axes(code)}. {said}"


def cut(text):
    "A text that is not too long to be read aloud."
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"


def describe(cells):
    "Give each cell of a notebook that shows pictures a text for them, in place."
    above = ""
    for cell in cells:
        if cell.cell_type == "markdown":
            paragraphs = [p for p in cell.source.split("\n\n") if plain(p)]
            above = paragraphs[-1] if paragraphs else cell.source.lstrip("# ")
        if cell.cell_type != "code":
            continue
        shown = [output.get("data", {}) for output in cell.outputs]
        drawn = [data["image/svg+xml"] for data in shown if "image/svg+xml" in data]
        options = cell.metadata.get("mystnb", {})
        if not drawn and not any(kind.startswith("image/") for data in shown for kind in data):
            continue
        caption = options.get("figure", {}).get("caption", "")
        plot = not drawn or 'id="figure_1"' in "".join(drawn[0])
        text = of_plot(cell.source, caption, above) if plot else of_drawing(drawn[0], caption)
        image = {"alt": cut(text), **options.get("image", {})}
        cell.metadata["mystnb"] = {**options, "image": image}
