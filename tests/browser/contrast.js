// Every text that is seen with too little contrast, and every target that is too small.
() => {
  const channels = (text) => {
    const found = text.match(/[\d.]+/g).map(Number);
    return { rgb: found.slice(0, 3), alpha: found.length > 3 ? found[3] : 1 };
  };
  const over = (top, bottom) => top.rgb.map((c, i) => c * top.alpha + bottom[i] * (1 - top.alpha));
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) {
      const layer = channels(getComputedStyle(at).backgroundColor);
      if (layer.alpha > 0) layers.unshift(layer);
      if (layer.alpha === 1) break;
    }
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);

  let texts = 0;
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !node.checkVisibility() || node.closest(".hidden, .skip, :disabled, noscript, title")) continue;
    texts += 1;
    const style = getComputedStyle(node);
    const ink = channels(node instanceof SVGElement ? style.fill : style.color);
    const below = ground(node);
    const contrast = ratio(over(ink, below), below);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${node.className.baseVal ?? node.className} ${text.slice(0, 30)}`);
  }
  const small = [...document.querySelectorAll("button, a[href], summary, .chip, .verdict, .hit")]
    .filter((node) => node.checkVisibility() && !node.closest(".skip"))
    .map((node) => [node, node.getBoundingClientRect()])
    .filter(([, box]) => box.width > 0 && (box.width < 23.5 || box.height < 23.5))
    .map(([node, box]) => `${Math.round(box.width)}x${Math.round(box.height)} ${node.className.baseVal ?? node.className} ${node.textContent.slice(0, 20)}`);
  return { texts, faint, small };
}
