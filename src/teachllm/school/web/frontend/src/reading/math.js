/** Mathematics: what is near the screen first, the rest while the page is idle. KaTeX loads only where there is any. */

let katex = null;

/**
 * Renders every `.math` below `root` that has not been rendered yet.
 * @param {ParentNode} root
 */
export async function renderMath(root) {
  const spans = /** @type {HTMLElement[]} */ ([...root.querySelectorAll(".math:not([data-rendered])")]);
  if (!spans.length) return;
  katex ??= (await import("katex")).default;
  const later = [];
  for (const span of spans) {
    const { top } = span.getBoundingClientRect();
    if (top < innerHeight * 2 && top > -innerHeight) renderOne(span);
    else later.push(span);
  }
  if (!later.length) return;
  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) { observer.unobserve(target); renderOne(target); }
  }, { rootMargin: "900px 0px" });
  for (const span of later) observer.observe(span);
  idle(later);
}

function idle(spans) {
  const ask = window.requestIdleCallback ?? ((run) => setTimeout(() => run({ timeRemaining: () => 8 }), 60));
  ask((deadline) => {
    do { const span = spans.shift(); if (span) renderOne(span); } while (spans.length && deadline.timeRemaining() > 4);
    if (spans.length) idle(spans);
  });
}

function renderOne(span) {
  if ("rendered" in span.dataset) return;
  span.dataset.rendered = "";
  const tex = span.textContent.trim();
  try {
    katex.render(tex, span, { displayMode: span.dataset.display === "1", output: "htmlAndMathml", throwOnError: true, strict: "ignore" });
    if (span.dataset.display === "1") { span.tabIndex = span.scrollWidth > span.clientWidth ? 0 : -1; if (span.tabIndex < 0) span.removeAttribute("tabindex"); }
  } catch (error) {
    span.textContent = tex;
    span.classList.add("math-problem");
    span.title = error.message;
  }
}
