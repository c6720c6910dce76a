// A picture in steps (nbs/hood/steppers.ipynb): one frame at a time, by buttons, slider or arrow
// keys. Without this script, and on paper, all frames are shown, in order.
document.addEventListener("DOMContentLoaded", () => {
  const make = (kind, facts, ...children) => {
    const element = Object.assign(document.createElement(kind), facts);
    element.append(...children);
    return element;
  };
  for (const figure of document.querySelectorAll("figure.stepper")) {
    const frames = [...figure.querySelectorAll(".frames > li")];
    const previous = make("button", { type: "button", textContent: "‹", ariaLabel: "Previous step" });
    const next = make("button", { type: "button", textContent: "›", ariaLabel: "Next step" });
    const slider = make("input", {
      type: "range", min: 1, max: frames.length, value: 1, ariaLabel: figure.ariaLabel,
    });
    const place = make("span", { className: "place" });
    const said = make("p", { className: "said", ariaLive: "polite" });
    let at = 0;
    const show = to => {
      at = Math.min(Math.max(to, 0), frames.length - 1);
      frames.forEach((frame, i) => frame.classList.toggle("shown", i === at));
      slider.value = at + 1;
      slider.ariaValueText = place.textContent = `${at + 1} of ${frames.length}`;
      said.textContent = frames[at].querySelector(".claim").textContent;
      previous.disabled = at === 0;
      next.disabled = at === frames.length - 1;
    };
    previous.addEventListener("click", () => show(at - 1));
    next.addEventListener("click", () => show(at + 1));
    slider.addEventListener("input", () => show(slider.value - 1));
    figure.addEventListener("keydown", event => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || event.target === slider) return;  // a slider knows its keys
      event.preventDefault();
      show(at + step);
    });
    figure.prepend(make("div", { className: "steps" }, previous, slider, next, place), said);
    figure.classList.add("live");
    show(0);
  }
});
