"use strict";
// The volumes lie in one mosaic of axial slices each; a plane is cut out of it whenever the place,
// the mixture or the checkerboard changes. Axes: 0 right, 1 anterior, 2 superior.
(async () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { size, spacing, columns } = data;
  const place = [...data.start];
  const mix = document.getElementById("mix");
  const tile = document.getElementById("tile");

  const decoded = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));

  /** RGB of every voxel, 3 bytes each, and the levels of scalar volumes. */
  async function unpack(panel) {
    const image = new Image();
    image.src = `data:image/png;base64,${panel.png}`;
    await image.decode();
    const sheet = document.createElement("canvas");
    [sheet.width, sheet.height] = [image.width, image.height];
    const context = sheet.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, sheet.width, sheet.height).data;
    const [nx, ny, nz] = size;
    const rgb = new Uint8ClampedArray(3 * nx * ny * nz);
    const levels = panel.color ? null : new Uint8Array(nx * ny * nz);
    const table = panel.color ? null : decoded(panel.table);
    for (let k = 0, at = 0; k < nz; k++) {
      const top = Math.floor(k / columns) * ny;
      const left = (k % columns) * nx;
      for (let j = 0; j < ny; j++) {
        for (let i = 0; i < nx; i++, at++) {
          const from = 4 * ((top + j) * sheet.width + left + i);
          const level = pixels[from];
          if (levels) levels[at] = level;
          for (let c = 0; c < 3; c++) {
            rgb[3 * at + c] = !levels ? pixels[from + c] : level ? table[3 * level + c] : 0;
          }
        }
      }
    }
    return { ...panel, rgb, levels };
  }

  const volumes = await Promise.all(data.panels.map(unpack));

  /** Colors that the mixture slider asks for: two neighbors and the share of the second. */
  function mixture(at) {
    const position = Number(mix.value);
    const first = Math.min(Math.floor(position), volumes.length - 1);
    const share = position - first;
    const one = volumes[first].rgb;
    const other = volumes[Math.min(first + 1, volumes.length - 1)].rgb;
    return (c) => one[3 * at + c] * (1 - share) + other[3 * at + c] * share;
  }

  function checkers(at, index) {
    const mm = Number(tile.value);
    const odd = index.reduce((sum, n, axis) => sum + Math.floor((n * spacing[axis]) / mm), 0) % 2;
    const { rgb } = volumes[odd && volumes.length > 1 ? 1 : 0];
    return (c) => rgb[3 * at + c];
  }

  const planes = [
    { name: "Axial", across: 0, up: 1, letters: ["R", "L", "A", "P"] },
    { name: "Coronal", across: 0, up: 2, letters: ["R", "L", "S", "I"] },
    { name: "Sagittal", across: 1, up: 2, letters: ["A", "P", "S", "I"] },
  ].map((plane) => ({ ...plane, through: 3 - plane.across - plane.up }));
  const screens = [];

  /** One picture with its crosshair, letters and, if wished, a slider for the slice. */
  function makeScreen(holder, plane, colors, withSlider) {
    const { across, up, through, name } = plane;
    const figure = document.createElement("figure");
    figure.className = "plane";
    const frame = document.createElement("div");
    frame.className = "screen";
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [size[across], size[up]];
    canvas.style.aspectRatio = `${size[across] * spacing[across]} / ${size[up] * spacing[up]}`;
    canvas.setAttribute("aria-label", `${name} plane`);
    const lines = [document.createElement("i"), document.createElement("i")];
    const spots = ["left:4px;top:45%", "right:4px;top:45%", "left:48%;top:2px", "left:48%;bottom:2px"];
    frame.append(canvas, ...lines, ...plane.letters.map((letter, n) => {
      const mark = document.createElement("b");
      mark.textContent = letter;
      mark.style.cssText = spots[n];
      return mark;
    }));
    const caption = document.createElement("figcaption");
    const slice = document.createElement("span");
    caption.append(name, slice);
    figure.append(frame, caption);
    const slider = document.createElement("input");
    if (withSlider) {
      Object.assign(slider, { type: "range", min: 0, max: size[through] - 1, step: 1 });
      slider.id = `slice-${name.toLowerCase()}`;
      slider.setAttribute("aria-label", `${name} slice`);
      slider.addEventListener("input", () => { place[through] = Number(slider.value); show(); });
      figure.append(slider);
    }
    canvas.addEventListener("pointerdown", (event) => {
      const box = canvas.getBoundingClientRect();
      const x = Math.floor(((event.clientX - box.left) / box.width) * size[across]);
      const y = Math.floor(((event.clientY - box.top) / box.height) * size[up]);
      // R, A and S grow to the left, the left and the top.
      place[across] = Math.min(size[across] - 1, Math.max(0, size[across] - 1 - x));
      place[up] = Math.min(size[up] - 1, Math.max(0, size[up] - 1 - y));
      show();
    });
    holder.append(figure);
    screens.push({ plane, canvas, lines, slice, slider, colors });
  }

  function draw({ plane, canvas, lines, slice, slider, colors }) {
    const { across, up, through } = plane;
    const [nx, ny] = size;
    const context = canvas.getContext("2d");
    const picture = context.createImageData(canvas.width, canvas.height);
    const index = [0, 0, 0];
    index[through] = place[through];
    for (let y = 0, to = 0; y < canvas.height; y++) {
      index[up] = size[up] - 1 - y;
      for (let x = 0; x < canvas.width; x++, to += 4) {
        index[across] = size[across] - 1 - x;
        const color = colors(index[0] + nx * (index[1] + ny * index[2]), index);
        for (let c = 0; c < 3; c++) picture.data[to + c] = color(c);
        picture.data[to + 3] = 255;
      }
    }
    context.putImageData(picture, 0, 0);
    const left = (100 * (size[across] - place[across] - 0.5)) / size[across];
    const top = (100 * (size[up] - place[up] - 0.5)) / size[up];
    lines[0].style.cssText = `left:${left}%;top:0;bottom:0;width:1px`;
    lines[1].style.cssText = `top:${top}%;left:0;right:0;height:1px`;
    slice.textContent = `slice ${place[through] + 1} of ${size[through]}`;
    slider.value = place[through];
  }

  /** The value that a level of 1..255 stands for, by the panel's gray scale. */
  function valueOf({ values, levels }, level) {
    const height = (level - 1) / 254;
    let n = 1;
    while (n < levels.length - 1 && height > levels[n]) n++;
    const share = (height - levels[n - 1]) / (levels[n] - levels[n - 1]);
    return values[n - 1] + share * (values[n] - values[n - 1]);
  }

  function read() {
    const at = place[0] + size[0] * (place[1] + size[1] * place[2]);
    const parts = volumes.map((volume, n) => {
      if (!volume.levels) return "";
      const level = volume.levels[at];
      if (!level) return `${volume.title}: nothing`;
      const value = valueOf(data.panels[n], level);
      const sign = level === 1 ? "\u2264 " : level === 255 ? "\u2265 " : "about ";
      return `${volume.title}: ${sign}${Number(value.toPrecision(3))}`;
    });
    document.getElementById("reading").textContent =
      `At the cross: ${parts.filter(Boolean).join("; ")}`;
  }

  function show() {
    screens.forEach(draw);
    read();
    document.getElementById("tile-mm").textContent = `${tile.value} mm`;
    document.querySelectorAll("[data-stop]").forEach((button) => {
      button.setAttribute("aria-pressed", Math.round(Number(mix.value)) === Number(button.dataset.stop));
    });
  }

  for (const plane of planes) {
    makeScreen(document.getElementById("mixed"), plane, mixture, true);
    makeScreen(document.getElementById("checkered"), plane, checkers, false);
  }
  mix.addEventListener("input", show);
  tile.addEventListener("input", show);
  document.querySelectorAll("[data-stop]").forEach((button) => {
    button.addEventListener("click", () => { mix.value = button.dataset.stop; show(); });
  });
  show();
  document.body.dataset.ready = "true";
})();
