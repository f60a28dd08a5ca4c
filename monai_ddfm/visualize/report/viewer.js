// niivue draws the volumes; this unpacks them and joins it to the page: what is shown, windows,
// opacity, scales and the values under the cross. See volumes.py for how values are packed.
(async () => {
  const at = (id) => document.getElementById(id);
  const make = (name, kind = "", text = "") =>
    Object.assign(document.createElement(name), { className: kind, textContent: text });
  if (!document.createElement("canvas").getContext("webgl2")) return; // the still picture stays

  const data = JSON.parse(at("data").textContent);
  const [nx, ny, nz] = data.size;
  const count = nx * ny * nz;
  const decoded = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const inflated = async (text) => {
    const stream = new Blob([decoded(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  /* The volumes. */
  const line = (xs, ys) => (x) => { // through all points, and on beyond the first and the last
    let n = 1;
    while (n < xs.length - 1 && x > xs[n]) n++;
    return ys[n - 1] + ((x - xs[n - 1]) * (ys[n] - ys[n - 1])) / (xs[n] - xs[n - 1]);
  };
  const nifti = (header, body) => {
    const file = new Uint8Array(header.length + body.byteLength);
    file.set(header);
    file.set(new Uint8Array(body.buffer), header.length);
    return file.buffer;
  };
  /** Add to each code that of the voxel one row before. */
  const summed = (codes) => {
    for (let i = nx; i < codes.length; i++) codes[i] += codes[i - nx];
    return codes;
  };
  async function unpack(panel, n) {
    const packed = await inflated(panel.codes);
    const plane = (k) => packed.subarray(k * count, (k + 1) * count);
    let codes;
    if (!panel.knots) {
      const [red, green, blue] = [0, 1, 2].map((c) => summed(plane(c)));
      codes = new Uint8Array(3 * count);
      for (let i = 0; i < count; i++) {
        codes[3 * i] = red[i] + green[i];
        codes[3 * i + 1] = green[i];
        codes[3 * i + 2] = blue[i] + green[i];
      }
    } else if (packed.length === count) {
      codes = summed(packed);
    } else {
      const [low, high] = [plane(0), plane(1)];
      codes = summed(Uint16Array.from(low, (byte, i) => {
        const folded = byte | (high[i] << 8);
        return (folded >> 1) ^ -(folded & 1);
      }));
    }
    const about = { ...panel, codes, name: panel.title.split(" (")[0] };
    if (panel.knots) {
      about.toShown = line(panel.knots, panel.levels);
      about.toUnits = line(panel.levels, panel.knots);
      about.table = decoded(panel.colors);
      const channel = (c) => Array.from({ length: 256 }, (_, i) => (i ? about.table[3 * i + c] : 0));
      const ramp = (f) => Array.from({ length: 256 }, (_, i) => f(i));
      nv.addColormap(`panel${n}`, {
        R: channel(0), G: channel(1), B: channel(2), A: ramp((i) => 1 + i / 3), I: ramp((i) => i),
      });
    }
    about.image = await niivue.NVImage.new(
      nifti(decoded(panel.header), codes), `${about.name}.nii`, panel.knots ? `panel${n}` : "");
    if (panel.knots) reset(about);
    return about;
  }
  function setWindow(panel, low, high) {
    panel.window = [low, Math.max(high, low + panel.step)];
    // What is not more than the lower end is black; half a step keeps the end itself in its color.
    panel.image.cal_min = panel.window[0] - panel.step / 2;
    panel.image.cal_max = panel.window[1];
  }
  const reset = (panel) => setWindow(panel, panel.levels[0], panel.levels.at(-1));

  /** Color of a voxel, by the window. */
  function painter(panel) {
    if (!panel.knots) return (i, c) => panel.codes[3 * i + c];
    const [low, high] = panel.window;
    const levels = Uint8ClampedArray.from({ length: 65536 }, (_, code) =>
      (255 * (panel.first + (code - 1) * panel.step - low)) / (high - low));
    return (i, c) => panel.table[3 * levels[panel.codes[i]] + c];
  }
  /** MRI and other volume in one of colors: mixed by the opacity, or taking turns in squares. */
  function join(image, [below, above], squares) {
    const [first, second] = [painter(below), painter(above)];
    const mm = Number(at("tile").value);
    const steps = data.size.map((size, axis) =>
      Array.from({ length: size }, (_, n) => Math.floor((n * data.spacing[axis]) / mm)));
    let share = Number(at("opacity").value);
    for (let i = 0, k = 0; k < nz; k++) {
      for (let j = 0; j < ny; j++) {
        for (let h = 0; h < nx; h++, i++) {
          if (squares) share = (steps[0][h] + steps[1][j] + steps[2][k]) % 2;
          for (let c = 0; c < 3; c++) {
            image.img[3 * i + c] = (1 - share) * first(i, c) + share * second(i, c);
          }
        }
      }
    }
  }
  /** The header of a volume of colors on the same grid. */
  function inColors(header) {
    const about = new DataView(header.buffer);
    about.setInt16(70, 128, true);
    about.setInt16(72, 24, true);
    about.setFloat32(112, 1, true);
    about.setFloat32(116, 0, true);
    return header;
  }

  /* The viewer. */
  const script = make("script");
  script.textContent = new TextDecoder().decode(await inflated(data.library));
  document.head.append(script);
  const drags = niivue.DRAG_MODE;
  const nv = new niivue.Niivue({
    isRadiologicalConvention: true, sagittalNoseLeft: true, dragAndDropEnabled: false,
    multiplanarLayout: 2, multiplanarShowRender: 1, multiplanarPadPixels: 4, show3Dcrosshair: true,
    crosshairWidth: 0.8, crosshairWidthUnit: "mm", crosshairColor: [0.56, 0.84, 1, 0.6], showAllOrientationMarkers: true,
    fontColor: [1, 0.82, 0.4, 1],
    fontMinPx: 12, fontSizeScaling: 0.25, backColor: [0, 0, 0, 1], clipPlaneColor: [0, 0, 0, 0],
    mouseEventConfig: {
      leftButton: { primary: drags.crosshair }, rightButton: drags.none, centerButton: drags.pan,
    },
    loadingText: "", logLevel: "error",
  });
  at("viewer").hidden = false;
  const canvas = at("canvas");
  await nv.attachToCanvas(canvas);
  const panels = await Promise.all(data.panels.map(unpack));
  // The MRI, the moving volumes, the fusion, and a weight for each of them.
  const moving = Math.max(1, Math.floor((panels.length - 2) / 2));
  const [mri, fused] = [panels[0], panels[1 + moving]];
  const others = panels.slice(1, 1 + moving), weights = panels.slice(2 + moving);
  const named = (name, other) => (moving > 1 ? `${name} ${other?.name}` : name);
  const joined = await niivue.NVImage.new(
    nifti(inColors(decoded(data.panels[0].header)), new Uint8Array(3 * count)), "joined.nii");

  const layers = [
    { name: "Fusion", panels: [fused],
      caption: `Fusion of ${["MRI", ...others.map((other) => other?.name)].join(" and ")}` },
    { name: "MRI", panels: [mri], caption: mri.title },
    ...others.map((other) => ({ name: other?.name, panels: [other], caption: other?.title })),
    ...others.map((other) => ({
      name: named("Overlay", other), panels: [mri, other], controls: "blend",
      caption: `Overlay of the sources, not the fusion: ${other?.name} over MRI` })),
    ...others.map((other) => ({
      name: named("Checkerboard", other), panels: [mri, other], controls: "board",
      caption: "Do outlines run on from square to square? Then the volumes are aligned." })),
    ...others.map((other, n) => ({
      name: named("Weight", other), panels: [weights[n]],
      caption: `Share of the ${other?.name} in the fusion` })),
  ].filter((layer) => layer.panels.every(Boolean));
  let layer = layers[0];

  function show(next) {
    layer = next;
    at("caption").textContent = layer.caption;
    at("other").textContent = layer.panels.at(-1).name;
    for (const id of ["blend", "board"]) at(id).hidden = layer.controls !== id;
    at("scales").replaceChildren(...layer.panels.map(scale).filter(Boolean));
    press("layers", layers.indexOf(layer));
    draw();
  }
  function draw() {
    at("tile-mm").textContent = `${at("tile").value} mm`;
    if (layer.controls) join(joined, layer.panels, layer.controls === "board");
    nv.volumes = [layer.controls ? joined : layer.panels[0].image];
    [nv.back, nv.overlays] = [nv.volumes[0], []];
    nv.updateGLVolume();
  }
  let waiting = false;
  function drawSoon() { // once for each picture that the screen shows
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }

  /* Buttons, of which one is pressed. */
  function choice(id, names, act) {
    at(id).append(...names.map((name, n) => {
      const button = make("button", "", name);
      button.type = "button";
      button.addEventListener("click", () => act(n));
      return button;
    }));
  }
  function press(id, pressed) {
    [...at(id).children].forEach((button, n) => button.setAttribute("aria-pressed", n === pressed));
  }
  choice("layers", layers.map(({ name }) => name), (n) => show(layers[n]));
  const views = [["All", 3], ["Axial", 0], ["Coronal", 1], ["Sagittal", 2], ["3-D", 4]];
  choice("views", views.map(([name]) => name), (n) => {
    nv.setSliceType(views[n][1]);
    press("views", n);
  });
  press("views", 0);

  /* Scales: a bar whose ends can be set, or the legend of colors that stand for two values. */
  const stepAt = (panel, shown) =>
    Math.abs(panel.toUnits(shown + panel.step) - panel.toUnits(shown));
  const fixed = (value, step) =>
    value.toFixed(Math.min(6, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9))));
  const inUnits = (panel, shown) => fixed(panel.toUnits(shown), stepAt(panel, shown));
  const measured = (panel, shown) => {
    const half = stepAt(panel, shown) / 2; // what was lost when the value became a code
    const value = fixed(panel.toUnits(shown), half);
    return panel.units ? `${value} ± ${fixed(half, half)} ${panel.units}` : value;
  };
  function scale(panel) {
    if (!panel.knots) return panel.legend ? legend(panel.legend) : null;
    const box = make("div", "scale");
    const colors = Array.from({ length: 33 }, (_, i) => {
      const at = 3 * Math.min(255, 8 * i);
      return `rgb(${panel.table.slice(at, at + 3).join(" ")})`;
    });
    const strip = make("div", "strip");
    strip.style.background = `linear-gradient(to right, ${colors})`;
    const ends = make("div", "ends");
    panel.fields = [0, 1].map((end) => {
      const field = Object.assign(make("input"), { type: "number", step: "any" });
      field.setAttribute("aria-label", `${panel.name}: ${end ? "upper" : "lower"} end of the window`);
      field.addEventListener("change", () => {
        const ends = panel.fields.map((one) => panel.toShown(Number(one.value)));
        if (ends.every(Number.isFinite) && ends[0] < ends[1]) setWindow(panel, ...ends);
        told(panel);
        drawSoon();
      });
      return field;
    });
    panel.middle = make("span", "hint");
    ends.append(panel.fields[0], panel.middle, panel.fields[1]);
    box.append(make("span", "", panel.name + (panel.units && `, ${panel.units}`)), strip, ends);
    told(panel);
    return box;
  }
  function told(panel) {
    const [low, high] = panel.window;
    panel.fields.forEach((field, end) => { field.value = inUnits(panel, end ? high : low); });
    // A scale with a bend does not have the middle value in the middle.
    panel.middle.textContent = panel.bent ? inUnits(panel, (low + high) / 2) : "";
  }
  function legend({ png, gray, low, high, units }) {
    const figure = make("figure", "legend");
    const up = make("span", "up"), along = make("span", "along"), picture = make("img");
    up.append(make("span", "", "0"), make("span", "", gray), make("span", "", "1"));
    along.append(make("span", "", low), make("span", "", units), make("span", "", high));
    picture.src = `data:image/png;base64,${png}`;
    picture.alt = `Colors of the fusion: to the right ${units} from ${low} to ${high}, upward ${gray}`;
    const rest = `Its colors are fixed; ${others[0].name}, MRI and overlay have windows.`;
    figure.append(up, picture, along, make("figcaption", "along", rest));
    return figure;
  }

  const inRender = (event) => nv.inRenderTile(
    event.offsetX * nv.uiData.dpr, event.offsetY * nv.uiData.dpr) >= 0;
  canvas.addEventListener("mousemove", (event) => {
    const panel = layer.panels.findLast((one) => one.knots);
    if (!(event.buttons & 2) || !panel || inRender(event)) return;
    const [low, high] = panel.window;
    const half = ((high - low) / 2) * Math.exp(event.movementX / 200);
    const middle = (low + high) / 2 + ((high - low) * event.movementY) / 400;
    setWindow(panel, middle - half, middle + half);
    told(panel);
    drawSoon();
  });
  canvas.addEventListener("dblclick", (event) => {
    if (inRender(event)) return;
    for (const panel of layer.panels.filter((one) => one.knots)) { reset(panel); told(panel); }
    drawSoon();
  });
  for (const id of ["opacity", "tile"]) at(id).addEventListener("input", drawSoon);
  at("cut").addEventListener("change", () =>
    nv.setClipPlane(at("cut").checked ? [0, 270, 0] : [2, 0, 0]));

  /* What lies under the cross. */
  const cells = panels.filter((panel) => panel.knots).map((panel) => {
    const row = make("tr"), cell = make("td");
    row.append(make("th", "", panel.name), cell);
    at("values").append(row);
    return [panel, cell];
  });
  nv.onLocationChange = ({ vox, mm }) => {
    const [i, j, k] = vox.map((n, axis) => Math.min(data.size[axis] - 1, Math.max(0, Math.round(n))));
    for (const [panel, cell] of cells) {
      const code = panel.codes[i + nx * (j + ny * k)];
      const shown = panel.first + (code - 1) * panel.step;
      cell.textContent = code ? measured(panel, shown) : "no value";
    }
    const voxel = data.spacing.map((n) => Number(n.toPrecision(3))).join(" × ");
    at("place").textContent = `at ${Array.from(mm).slice(0, 3).map((n) => n.toFixed(1)).join(", ")} mm RAS; `
      + (data.averaged ? `means over ${voxel} mm` : `voxels of ${voxel} mm`);
  };

  /* Keys and full screen. */
  at("full").addEventListener("click", () =>
    (document.fullscreenElement ? document.exitFullscreen() : at("viewer").requestFullscreen()));
  document.addEventListener("keydown", (event) => {
    if (event.target.type === "number" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "f") at("full").click();
    else if (layers[event.key - 1]) show(layers[event.key - 1]);
  });

  show(layers[0]);
  nv.setClipPlane([0, 270, 0]);
  nv.scene.crosshairPos = nv.vox2frac(data.start);
  nv.drawScene();
  nv.createOnLocationChange();
  at("still").hidden = true;
  at("why").hidden = true;
  window.report = { nv, panels };
  document.body.dataset.ready = "true";
})();
