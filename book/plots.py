"""Put the drawings of a built book into its pages.

A drawing in the page has the page's letters and the colours of its theme. The panels of a plot have
names (opembed_nb.hood.figures), so a narrow screen can stack them.
"""

import html
import math
import re
from urllib.parse import unquote

# What is drawn for a light ground → the same on a dark one. In drawings of architectures operations
# keep their colours, and the letters on them.
INK, LINE, GROUND = "#dfe4ea", "#9ca4af", "#14181e"
BRIGHT = {
    **{"#0072b2": "#4a9fe3", "#56b4e9": "#a5dbff", "#009e73": "#22c796", "#e69f00": "#e69f00"},
    **{"#d55e00": "#f27f2b", "#cc79a7": "#dd94bb", "#8c6d31": "#c39c50", "#6a51a3": "#ab94e6"},
}
DARK = {
    **BRIGHT,
    **{"#000000": INK, "#222222": INK, "#111111": INK, "#333333": INK, "#444444": LINE},
    **{"#555555": LINE, "#777777": "#a2abb5", "#999999": "#a2abb5", "#bbbbbb": "#5c6672"},
    **{"#cccccc": "#4d5661", "#dddddd": "#3c444e", "#eeeeee": "#2b323a", "#ffffff": GROUND},
}
NAMES = {light: f"--p{number}" for number, light in enumerate(DARK)}  # short: a page has thousands
IMAGE = re.compile(
    r'(?:<a class="[^"]*image-reference"[^>]*>)?'  # to the file alone
    r'(<img\b[^>]*\bsrc="([^"#?]+\.svg)"[^>]*>)(?:\s*</a>)?'
)
PANEL = re.compile(r'\bid="(panel-(-?\d+)-(-?\d+)-(\d+)-(\d+))"')
SIZE = re.compile(r"font-size[:=]\s*[\"']?([\d.]+)|font: *([\d.]+)px")
SMALLEST = 11  # pixels of the smallest letters


def long(colour):
    "#444 → #444444."
    return colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])


def themed(svg):
    """A drawing whose colours are those of the page's theme, where it has others in the dark.

    Variables, since they also reach what `use` repeats. Styles are of plots, attributes of
    architectures: there an operation keeps its colour, and the letters on it are in a style.
    """

    def style(found):
        name, colour = found.groups()
        return f"{name}: var({NAMES[colour]})" if colour in DARK else found[0]

    def mark(found):
        name, colour = found.groups()
        full = long(colour)
        kept = full in BRIGHT or full not in DARK or (name, full) == ("fill", "#ffffff")
        return found[0] if kept else f'{name}="var({NAMES[full]})"'

    svg = re.sub(r"\b(fill|stroke): (#\w{6})", style, svg)
    return re.sub(r'\b(fill|stroke)="(#\w{3}|#\w{6})"', mark, svg)


def colours():
    "What the names of colours stand for, in both themes."
    light = "".join(f"{name}:{colour};" for colour, name in NAMES.items())
    dark = "".join(f"{name}:{DARK[colour]};" for colour, name in NAMES.items())
    theme = 'html[data-theme="dark"]'
    return (
        f".plot{{{light}}}\n{theme} .plot{{{dark}}}\n"
        f"{theme} svg.drawn,{theme} svg.drawn text{{fill:{INK}}}\n"
        f'{theme} svg.drawn>rect[width="100%"]{{fill:none}}\n'
    )


def alone(svg, prefix):
    "The text of a drawing whose names and styles concern nothing else on the page."
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<title>\s*</title>", "", svg, flags=re.S)
    named = {a or b for a, b in re.findall(r"url\(['\"]?#([^)'\"]*)|href=\"#([^\"]*)", svg)}
    short = {name: f"{number}" for number, name in enumerate(sorted(named))}

    def name(found):
        kept = found[1] if found[1].startswith("panel-") else short.get(found[1])
        return f' id="{prefix}{kept}"' if kept else ""

    svg = re.sub(r"\s*(<[^<>]*>)\s+(?=<)", r"\1", svg)
    svg = re.sub(r"<g>(<[^<>]*/>)</g>", r"\1", svg)
    svg = re.sub(r' id="([^"]*)"', name, svg)
    svg = re.sub(r"url\(['\"]?#([^)'\"]*)['\"]?\)", lambda m: f"url(#{prefix}{short[m[1]]})", svg)
    svg = re.sub(r'\b(?:xlink:)?href="#([^"]*)"', lambda m: f'href="#{prefix}{short[m[1]]}"', svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)

    def scoped(style):
        rules = re.findall(r"([^{}]+)\{([^}]*)\}", style[1])
        own = (f":where(#{prefix}drawing) {name.strip()}{{{body}}}" for name, body in rules)
        return f"<style>{''.join(own)}</style>"

    return re.sub(r"<style[^>]*>(.*?)</style>", scoped, svg, flags=re.S)


def pixels(length):
    "460.8pt → 614.4."
    return float(re.match(r"[\d.]+", length)[0]) * (4 / 3 if length.endswith("pt") else 1)


def attribute(tag, name):
    "The value of an attribute in the text of a tag; nothing if it has none."
    found = re.search(rf'\b{name}="([^"]*)"', tag)
    return found[1] if found else ""


def placed(svg, image, number):
    "What takes the place of an image: its drawing, and its panels one by one."
    svg = svg[svg.index("<svg") :].strip()
    whole = themed(alone(svg, f"d{number}-"))
    opening, body = re.fullmatch(r"(<svg\b[^>]*>)(.*)</svg>", whole, re.S).groups()
    view = [float(x) for x in attribute(svg, "viewBox").split()]
    wide = pixels(attribute(opening.split("viewBox")[0], "width") or f"{view[2]:g}")
    sizes = [float(size) for pair in SIZE.findall(svg) for size in pair if size]
    scale = SMALLEST / min(sizes, default=SMALLEST)  # pixels of a unit, at least
    kept = "".join(
        f' {name}="{value}"'
        for name in ("font-family", "font-size", "text-anchor", "fill")
        if (value := attribute(opening, name))
    )

    def drawing(box, width, content, more=""):
        least = f"--least:{math.ceil(box[2] * scale)}px"
        view = " ".join(f"{x:g}" for x in box)
        return (
            f'<svg class="drawn" viewBox="{view}" width="{width:.0f}" style="{least}"'
            f' aria-hidden="true"{kept}{more}>{content}</svg>'
        )

    whole = drawing(view, wide, body, f' id="d{number}-drawing"')
    panels = [(name, [float(x) for x in box]) for name, *box in PANEL.findall(svg)]
    parts = ""
    if len(panels) > 1:
        ratio = wide / view[2]
        parts = "".join(
            drawing(box, box[2] * ratio, f'<use href="#d{number}-{name}"/>') for name, box in panels
        )
        parts = f'<span class="parts">{parts}</span>'
    names = " ".join(filter(None, ("plot", attribute(image, "class"))))
    said = f'role="img" aria-label="{attribute(image, "alt")}"'
    return f'<span class="{names}" {said}>{whole}{parts}</span>'


def inline(book):
    "Replace the SVG images of all pages in the folder `book`, and say how they look in the dark."
    used = set()
    for page in book.rglob("*.html"):
        text, number = page.read_text(encoding="utf-8"), 0

        def drawn(match, page=page):
            nonlocal number
            file = (page.parent / unquote(html.unescape(match[2]))).resolve()
            if not file.exists():
                return match[0]
            used.add(file)
            number += 1
            return placed(file.read_text(encoding="utf-8"), match[1], number)

        if (changed := IMAGE.sub(drawn, text)) != text:
            page.write_text(changed, encoding="utf-8")
    for file in used:
        file.unlink()
    with (book / "_static" / "opembed.css").open("a", encoding="utf-8") as css:
        css.write("\n" + colours())
