// One switch on each page opens or folds all of its code; the choice is kept. Answers to exercises are
// opened one by one. Printing opens all.
document.addEventListener("DOMContentLoaded", () => {
  // A page from a disk may not read others, so a search there shows titles alone.
  if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  // What scrolls in its own box can be reached, and scrolled, by the keyboard.
  const reachable = () => document.querySelectorAll("article :is(.plot, .math, table, .cell_output, figure)")
    .forEach(box => {
      const scrolls = box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX !== "visible";
      if (scrolls) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    });
  reachable();
  addEventListener("resize", reachable);
  new MutationObserver(reachable).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  const folds = [...document.querySelectorAll("details.fold")];
  const place = document.querySelector(".article-header-buttons");
  if (!folds.length || !place) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "btn btn-sm code-switch";
  const set = open => {
    folds.forEach(fold => { fold.open = open; });
    button.textContent = open ? "Fold all code" : "Show all code";
  };
  let open = false;
  try { open = localStorage.getItem("code") === "shown"; } catch { /* a browser that keeps nothing */ }
  set(open);
  button.addEventListener("click", () => {
    open = !open;
    set(open);
    try { localStorage.setItem("code", open ? "shown" : "folded"); } catch { /* as above */ }
  });
  place.prepend(button);

  // A link to a name of the package opens the code that defines it.
  const arrive = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const fold = target && target.closest("details.fold");
    if (fold) { fold.open = true; fold.scrollIntoView(); }
  };
  arrive();
  addEventListener("hashchange", arrive);

  let closed = [];
  addEventListener("beforeprint", () => {
    const all = [...document.querySelectorAll("article details")];
    closed = all.filter(fold => !fold.open);
    closed.forEach(fold => { fold.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach(fold => { fold.open = false; }));
});
