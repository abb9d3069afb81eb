/** A picture for a product without one, drawn from its id, so that it never changes. */

import { svg } from "/web/shared/dom.js";

const WIDTH = 800;
const HEIGHT = 1000;
// Sky above, sky below, sun, and the hills from far to near.
const PALETTES = [
  ["#f3c9a5", "#f8e7d0", "#e4572e", ["#c98a6b", "#9c5a4a", "#5f3440", "#2b1b2e"]],
  ["#a9c8d8", "#f1ead9", "#f2a541", ["#7fa6a8", "#4f7f86", "#2c5560", "#14303a"]],
  ["#c9bfe3", "#f7e3e0", "#f26a5b", ["#a48fc4", "#77629f", "#4a3d73", "#251f45"]],
  ["#bcd7b4", "#f4efd8", "#f4c03d", ["#8fb48a", "#5f8f68", "#376349", "#16372b"]],
];

/** An SVG element for an id; purely decorative. */
export function picture(id) {
  const random = generator(id);
  const [top, bottom, sun, hills] = PALETTES[Math.floor(random() * PALETTES.length)];
  const root = svg("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true",
    focusable: "false",
  });
  root.append(
    svg("defs", {}, svg("linearGradient", { id: "sky", x1: 0, y1: 0, x2: 0, y2: 1 },
      svg("stop", { offset: 0, "stop-color": top }), svg("stop", { offset: 0.75, "stop-color": bottom }))),
    svg("rect", { width: WIDTH, height: HEIGHT, fill: "url(#sky)" }),
  );
  const [x, y] = [WIDTH * (0.3 + 0.4 * random()), HEIGHT * (0.3 + 0.1 * random())];
  const radius = 120 + 60 * random();
  for (let ring = 4; ring >= 1; ring -= 1) {
    root.append(svg("circle", {
      cx: x, cy: y, r: radius + ring * 46, fill: "none", stroke: sun, "stroke-width": 1.5, opacity: 0.5 / ring,
    }));
  }
  root.append(svg("circle", { cx: x, cy: y, r: radius, fill: sun }));
  hills.forEach((fill, index) => {
    const base = HEIGHT * (0.5 + 0.125 * index);
    root.append(svg("path", { d: ridge(random, base, 90 - 12 * index), fill }));
  });
  return root;
}

/** One line of hills, closed below. */
function ridge(random, base, swing) {
  const waves = [1, 2, 3].map((order) => [
    (order + random()) * 0.9, random() * 2 * Math.PI, (swing * (0.5 + random())) / order,
  ]);
  let path = `M0 ${HEIGHT}`;
  for (let x = 0; x <= WIDTH; x += 10) {
    const lift = waves.reduce((sum, [f, p, a]) => sum + a * Math.sin((f * 2 * Math.PI * x) / WIDTH + p), 0);
    path += `L${x} ${(base - lift).toFixed(1)}`;
  }
  return `${path}L${WIDTH} ${HEIGHT}Z`;
}

/** Random-looking numbers in [0, 1) that depend on a text alone (mulberry32 over an FNV-1a hash).
*/
function generator(text) {
  let state = 0x811c9dc5;
  for (const letter of text) state = Math.imul(state ^ letter.codePointAt(0), 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
